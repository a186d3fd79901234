"""Methods are found by name; peers restore, and missing packages are said how to install."""

import importlib.metadata
from dataclasses import replace

import pytest
import torch

from conftest import conditioned_critic, random_image
from locreg.errors import LocregError, UsageError
from locreg.evaluation.epll import Mixture, save_mixture
from locreg.evaluation.methods import (
    check_method,
    denoiser_version,
    find_method,
    how_to_install,
    label,
    parameter_checksum,
)
from locreg.evaluation.simulation import Photograph, denoising
from locreg.images.metrics import psnr
from locreg.regularizer.criterion_record import DenoisingRecord
from locreg.regularizer.local_regularizer import load
from locreg.regularizer.weights import Weights, load_weights, save_weights


def photograph_problem(photograph, side, *, channels=3):
    """A crop of the photograph with noise of level 0.1."""
    crop = photograph[:side, 200 : 200 + side].copy()
    clean = torch.from_numpy(crop).permute(2, 0, 1)[None] / 255
    clean = clean if channels == 3 else clean.mean(1, keepdim=True)
    return denoising(Photograph(clean, "x"), 0.1)


@pytest.mark.parametrize(
    ("name", "task", "problem"),
    [("bm4d", "denoise", "no method"), ("wiener", "denoise", "does not"), ("nlm", "deblur", "tv"),
     ("epll:x.safetensors", "deblur", "does not")],
)  # fmt: skip
def test_unknown_methods_are_refused_with_the_known_ones(name, task, problem):
    with pytest.raises(UsageError, match=problem):
        check_method(name, task)


def test_the_best_total_variation_denoises(photograph):
    problem = photograph_problem(photograph, 96)
    found = find_method("tv", "deblur")
    assert found.informed
    assert psnr(found.restore(problem).image, problem.clean) > psnr(problem.y, problem.clean) + 4


@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_bm3d_in_colour_and_grey(photograph, channels):
    pytest.importorskip("bm3d", reason="bm3d is not free: the user installs it")
    problem = photograph_problem(photograph, 64, channels=channels)
    found = find_method("bm3d", "denoise").restore(problem).image
    assert psnr(found, problem.clean) > psnr(problem.y, problem.clean) + 6


def test_a_package_that_is_missing_is_said_how_to_install(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    assert how_to_install("noisy") is None
    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", missing)
    assert how_to_install("nlm") == 'pip install "locreg[evaluate]"'
    assert how_to_install("locreg:anything") is None
    with pytest.raises(UsageError, match="nlm is not installed: pip install"):
        find_method("nlm", "denoise")


def test_labels_are_names_without_folders():
    assert label("tv") == "tv"
    assert label("locreg:/somewhere/mine.safetensors") == "locreg:mine.safetensors"


def test_versions_tell_weights_and_mixtures_apart(tmp_path):
    colour, grey = load("ridge-rgb"), load("denoise-gray")
    assert parameter_checksum(colour) != parameter_checksum(grey)
    assert denoiser_version(colour) == parameter_checksum(colour)  # of the paper's solver
    assert find_method("locreg:ridge-rgb", "denoise").channels == 3
    assert parameter_checksum(colour) in find_method("locreg:ridge-rgb", "deblur").version
    path, versions = tmp_path / "m.safetensors", set()
    for variance in (0.1, 0.2):
        save_mixture(Mixture(torch.ones(1), torch.full((1, 1, 1), variance), 1, {}), path)
        versions.add(find_method(f"epll:{path}", "denoise").version)
    assert len(versions) == 2


def test_weights_restore_with_their_own_lam(weight_file):
    found = find_method(f"locreg:{weight_file}", "denoise")
    problem = denoising(Photograph(random_image(1, 3, 20, 20, dtype=torch.float32), "x"), 0.1)
    assert found.restore(problem).lam > 0


def test_weights_that_cannot_remove_white_noise_are_refused(weight_file, tmp_path):
    weights = load_weights(weight_file)
    save_weights(replace(weights, calibration=None), weight_file)
    with pytest.raises(LocregError, match="no calibration"):
        find_method(f"locreg:{weight_file}", "denoise")
    learned = tmp_path / "grain.safetensors"
    critic = conditioned_critic().float()
    save_weights(Weights(critic=critic, criterion=DenoisingRecord(level=0.1)), learned)
    with pytest.raises(LocregError, match="noise of one folder"):
        find_method(f"locreg:{learned}", "denoise")
    with pytest.raises(LocregError, match="missing"):
        find_method(f"locreg:{tmp_path / 'missing.safetensors'}", "denoise")
