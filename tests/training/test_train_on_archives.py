"""Training on tar files of photographs."""

import tarfile

import pytest

from locreg.degradation.noise import NoiseRange
from locreg.errors import UsageError
from locreg.regularizer.weights import load_weights
from locreg.training.options import DenoiserCriticOptions, DenoisingOptions, SplitOptions
from locreg.training.output import TrainingRun
from locreg.training.recipes import CriticRecipe, DenoiserRecipe
from locreg.training.train_denoiser import train_denoiser


@pytest.fixture
def archive(tmp_path, folder):
    """A tar file with eight photographs."""
    path = tmp_path / "images_000.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, "0")
    return path


def test_a_denoising_energy_is_trained_on_an_archive(archive, tmp_path):
    recipe = DenoiserRecipe(
        clean=archive,
        noise=NoiseRange(low=0, high=0.1),
        critic=DenoiserCriticOptions(widths=(2,) * 6),
        data=SplitOptions(held_out=1, validation_size=16),
        training=DenoisingOptions(iterations=2, batch=2, patch_size=16),
    )
    out = tmp_path / "w.safetensors"
    train_denoiser(recipe, TrainingRun(output=out, progress=False))
    assert load_weights(out).training["clean"] == "images_000.tar, 7 images"


def test_the_command_trains_a_critic_on_an_archive(archive, tmp_path, locreg):
    out = tmp_path / "w.safetensors"
    done = locreg(
        "train", "--clean", archive, "--noise", "0.1", "-o", out, "--iterations", 2, "--widths", 2,
        "--held-out", 1, "--validation-size", 16, "--calibration-images", 0,
    )  # fmt: skip
    assert done[0] == 0, done
    assert load_weights(out).training["clean"] == "images_000.tar, 3 images"


def test_a_recipe_refuses_images_that_would_come_twice(tmp_path):
    a, b, noise = tmp_path / "a.tar", tmp_path / "b.tar", NoiseRange(low=0.1, high=0.1)
    assert CriticRecipe(clean=(a, b), noise=noise).clean_paths == (a, b)
    for clean, degraded in (((a, a), None), ((a, b), (tmp_path,)), ((tmp_path,), (b,)), ((), None)):
        with pytest.raises(UsageError, match=r"overlap|at least one"):
            CriticRecipe(clean=clean, degraded=degraded, noise=None if degraded else noise)
