"""Denoising energies trained for noise that is learned from a folder."""

from dataclasses import replace

import pytest
import torch

from conftest import NOISE_KERNELS, Scaling, noise_model, shaded_scenes
from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError, UsageError
from locreg.images.image_file import ImageFile, write_image
from locreg.images.metrics import psnr
from locreg.regularizer.local_regularizer import LocalRegularizer, load
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.training.options import DenoiserCriticOptions, DenoisingOptions, SplitOptions
from locreg.training.output import TrainingRun
from locreg.training.recipes import DenoiserRecipe
from locreg.training.train_denoiser import train_denoiser

GRAINY = NOISE_KERNELS["grainy"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Clean photographs, and others with grainy noise, in two folders."""
    found = []
    noise = noise_model(GRAINY, 0.1 * torch.eye(3))
    for name, seed in (("clean", 7), ("noisy", 8)):
        folder = tmp_path_factory.mktemp(name)
        for index, x in enumerate(shaded_scenes(14, seed, side=240)):
            degraded = noise.degrade(x, index) if name == "noisy" else x
            pixels = degraded[0].numpy()
            source = ImageFile(pixels, None, "float32")
            write_image(folder / f"{index}.tif", pixels, source)
        found.append(folder)
    return found


def recipe(folders):
    return DenoiserRecipe(
        clean=folders[0],
        degraded=folders[1],
        critic=DenoiserCriticOptions(widths=(12,) * 6),
        data=SplitOptions(held_out=2, validation_size=48),
        training=DenoisingOptions(
            iterations=75, batch=4, patch_size=24, weight_average=0.9, validate_every=25,
            last_learning_rate=1e-3, precision="float32",
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_an_energy_of_learned_noise_denoises_at_its_own_level(folders, tmp_path):
    path = tmp_path / "own.safetensors"
    trained = train_denoiser(recipe(folders), TrainingRun(output=path, progress=False))
    regularizer = load(path)
    level = regularizer.learned_level
    assert level == trained.criterion.level == pytest.approx(0.1, rel=0.1)
    assert "cut off" in trained.training["noise"]
    clean = shaded_scenes(1, seed=9)[0][..., :64, :64]
    y = noise_model(GRAINY, 0.1 * torch.eye(3)).degrade(clean, 99)
    found = restore(y, regularizer)
    assert found.sigma == level
    assert torch.equal(
        found.image, restore(y, regularizer, options=RestoreOptions(sigma="auto")).image
    )
    assert psnr(found.image, clean).item() > psnr(y, clean).item() + 2
    weaker = restore(y, regularizer, options=RestoreOptions(sigma=0.75 * level)).image
    assert (weaker - y).norm() < (found.image - y).norm()
    with pytest.raises(UsageError, match="give a sigma from"):
        restore(y, regularizer, options=RestoreOptions(sigma=0.5 * level))
    with pytest.raises(UsageError, match="white noise"):
        restore(y, regularizer, options=RestoreOptions(lam="sure"))
    with pytest.raises(UsageError, match="denoising alone"):
        restore(y, regularizer, operator=Scaling(1.0))
    with pytest.raises(LocregError, match="direction"):
        LocalRegularizer(trained, symmetric=True)


def test_white_noise_and_noisy_images_exclude_each_other(folders):
    with pytest.raises(UsageError, match="not both"):
        replace(recipe(folders), noise=NoiseRange(low=0, high=0.1))
    with pytest.raises(UsageError, match="overlap"):
        replace(recipe(folders), degraded=folders[0])


def test_clean_folders_hold_no_noise(folders, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for index, x in enumerate(shaded_scenes(14, seed=10, side=240)):
        write_image(other / f"{index}.png", x[0].numpy())
    with pytest.raises(LocregError, match="In smooth places"):
        train_denoiser(
            replace(recipe(folders), degraded=other),
            TrainingRun(output=tmp_path / "w.safetensors", progress=False),
        )
    assert not list(tmp_path.glob("w.*"))
