"""``locreg evaluate``: tables, summaries, and refusals before any work."""

import contextlib
import importlib.metadata
import json
import os
import sys

import pytest
import pyvips


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_command_writes_table_and_summary(
    three_images, tmp_path, weight_file, locreg, processes
):
    out = tmp_path / "out"
    methods = f"noisy,tv,locreg:{weight_file}"
    arguments = ["--test", three_images, "-o", out, "--sigma", "0.1", "--methods", methods]
    status, printed, _ = locreg(
        "evaluate", *arguments, "--processes", processes, "--task", "inpaint"
    )
    assert status == 0
    assert printed.strip() == (out / "table.md").read_text().strip()
    assert "For tv the parameter that is best for each image" in printed
    summary = json.loads((out / "summary.json").read_text())
    assert [s["method"] for s in summary["summaries"]] == [
        "noisy",
        "tv",
        "locreg:small.safetensors",
    ]
    assert all(s["images"] == 3 for s in summary["summaries"])
    assert len((out / "cells.csv").read_text().splitlines()) == 10


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_test_folder_may_have_any_name(three_images, tmp_path, locreg):
    folder = three_images.rename(tmp_path / os.fsdecode(b"na\xffme"))
    out = tmp_path / "out"
    arguments = ["--test", folder, "-o", out, "--methods", "noisy", "--sigma", "0.1"]
    with contextlib.suppress(UnicodeEncodeError):  # of the test's standard output, which is strict
        locreg("evaluate", *arguments)
    assert "na?me" in (out / "table.md").read_text()
    assert json.loads((out / "summary.json").read_text())["task"] == "denoise"


def test_a_single_image_has_no_interval(tmp_path, locreg, photograph):
    folder = tmp_path / "one"
    folder.mkdir()
    pyvips.Image.new_from_array(photograph[:32, :32]).write_to_file(str(folder / "a.png"))
    arguments = ["--test", folder, "-o", tmp_path / "out", "--methods", "noisy,nlm"]
    status, table, _ = locreg("evaluate", *arguments)
    assert status == 0
    assert "[" not in table.split("| --- |")[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--methods", "bm4d"], 2, "no method 'bm4d'"),
        (["--methods", "wiener"], 2, "does not denoise"),
        (["--sigma", "25"], 2, "25/255"),
        (["--sigma", "x"], 2, "noise levels such as"),
        (["--processes", "0"], 2, "at least 1"),
        (["--methods", "noisy", "--reference", "tv"], 2, "none of the methods"),
        (["--methods", "noisy", "--lpips", "missing.pth"], 1, "does not exist"),
        (["--methods", "noisy,locreg:missing"], 1, "missing"),
        (["--methods", "locreg:alr-rgb", "--channels", "1"], 2, "these are grey"),
        (["--task", "deblur", "--methods", "tv", "--kernel", "gaussian:4:1"], 2, "odd"),
        (["--kernel", "gaussian:3:1"], 2, "belongs to --task deblur"),
        (["--sigma", "0"], 2, "nothing to denoise"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    arguments, status, said, three_images, tmp_path, locreg
):
    out = tmp_path / "out"
    found, _, error = locreg("evaluate", "--test", three_images, "-o", out, *arguments)
    assert found == status
    assert said in error
    assert not (out / "cells.csv").exists()


def test_a_missing_folder_of_images_leaves_no_folder_of_results(tmp_path, locreg):
    status, _, error = locreg("evaluate", "--test", tmp_path / "missing", "-o", tmp_path / "out")
    assert status == 1
    assert "missing" in error
    assert not (tmp_path / "out").exists()


def test_a_peer_that_is_not_installed_is_left_out(three_images, tmp_path, locreg, monkeypatch):
    def missing(name):
        if name in ("bm3d", "ptwt", "scikit-image"):
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    found = importlib.metadata.Distribution.from_name
    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", missing)
    arguments = ["--test", three_images, "-o", tmp_path / "out", "--sigma", "0.1"]
    status, table, said = locreg("evaluate", *arguments, "--methods", "noisy,bm3d,nlm")
    assert status == 0
    assert "bm3d is not installed and left out: pip install bm3d" in said
    assert 'nlm is not installed and left out: pip install "locreg[evaluate]"' in said
    assert "| noisy | 3 |" in table
    assert locreg("evaluate", *arguments, "--methods", "bm3d")[0] == 2
