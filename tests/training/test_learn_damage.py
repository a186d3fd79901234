"""A critic finds how strongly to smooth, for damage that is known by examples."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import locreg
from conftest import shaded_scenes
from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError, UsageError
from locreg.evaluation.methods import parameter_checksum
from locreg.images.image_file import write_image
from locreg.training.learn_damage import critic_path, learn_damage, strength_of_damage
from locreg.training.options import CriticOptions, RidgeCriticOptions
from locreg.training.output import TrainingRun
from locreg.training.recipes import recipe_for_damage
from locreg.training.train_critic import train_critic

SIDE = 48  # of the images, in pixels


@pytest.fixture(scope="module")
def energy():
    return locreg.load("denoise-rgb")


@pytest.fixture(scope="module")
def critic():
    return locreg.load("ridge-rgb").at(0.1)


def noisy(sigma):
    return [
        x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(100 + index))
        for index, x in enumerate(shaded_scenes(6, seed=1, side=SIDE))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_the_strength_found_for_white_noise_is_about_its_level(energy, critic, sigma):
    clean = shaded_scenes(6, seed=2, side=SIDE)
    level = strength_of_damage(energy, critic, clean, noisy(sigma), progress=False)
    assert 0.75 * sigma < level < 1.35 * sigma


def blurred(x):
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)


@pytest.mark.parametrize("change", [lambda x: x, blurred], ids=["none", "blur"])
def test_images_without_damage_to_smooth_away_are_refused(energy, critic, change):
    clean, others = (shaded_scenes(6, seed=seed, side=SIDE) for seed in (2, 3))
    with pytest.raises(LocregError, match="does not find the degraded images worse"):
        strength_of_damage(energy, critic, clean, [change(x) for x in others], progress=False)


def test_damage_that_smoothing_leaves_is_refused(energy, critic):
    def grad(x, level):
        return energy.grad(x, level) if level == 0.3 else torch.zeros_like(x)

    with pytest.raises(LocregError, match="No strength of smoothing"):
        strength_of_damage(
            SimpleNamespace(grad=grad),
            critic,
            shaded_scenes(6, seed=2, side=SIDE),
            noisy(0.1),
            progress=False,
        )


def test_another_recipe_is_refused(tmp_path):
    recipe = recipe_for_damage((tmp_path / "clean",), tmp_path / "noisy", 3)
    for other in (
        replace(recipe, critic=CriticOptions(channels=3)),
        replace(recipe, degraded=None, noise=NoiseRange(low=0.1, high=0.1)),
    ):
        with pytest.raises(UsageError, match="by a ridge critic"):
            learn_damage(other, TrainingRun(output=tmp_path / "learned.safetensors"))


@pytest.fixture
def recipe(tmp_path):
    """For two folders of small images, with a small critic."""
    clean, degraded = shaded_scenes(8, seed=2, side=SIDE), noisy(0.1)
    for name, images in (("clean", clean), ("noisy", degraded)):
        (tmp_path / name).mkdir()
        for index, x in enumerate(images):
            write_image(tmp_path / name / f"{index}.tif", x[0].numpy())
    made = recipe_for_damage((tmp_path / "clean",), tmp_path / "noisy", 3, iterations=20)
    training = replace(made.training, patch_size=32, checkpoint_every=5)
    return replace(made, critic=RidgeCriticOptions(filters=24), training=training)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_does_not_train_the_critic_again(recipe, tmp_path):
    output = tmp_path / "learned.safetensors"

    def interrupt(done):
        if done == 7:
            raise KeyboardInterrupt

    run = TrainingRun(output=output, progress=False, on_iteration=interrupt)
    with pytest.raises(KeyboardInterrupt):
        learn_damage(recipe, run)
    found = critic_path(output)
    assert TrainingRun(output=found).checkpoint.exists()
    assert not found.exists()
    iterations = []
    run = replace(run, resume=True, on_iteration=iterations.append)
    train_critic(recipe, replace(run, output=found))  # as if interrupted after the training
    assert iterations == list(range(6, 21))
    longer = replace(recipe, training=replace(recipe.training, iterations=21))
    with pytest.raises(LocregError, match="with other options"):
        learn_damage(longer, run)
    assert not output.exists()
    before = found.read_bytes(), found.stat().st_mtime_ns, TrainingRun(output=found).log.read_text()
    weights = learn_damage(recipe, run)
    after = found.read_bytes(), found.stat().st_mtime_ns, TrainingRun(output=found).log.read_text()
    assert after == before
    assert iterations == list(range(6, 21))
    learned = locreg.load(output)
    assert learned.learned_level == weights.criterion.level
    x, y = shaded_scenes(6, seed=1, side=SIDE)[0], noisy(0.1)[0]
    restored = locreg.restore(y, learned)
    assert restored.sigma == learned.learned_level
    assert (restored.image - x).square().mean() < 0.5 * (y - x).square().mean()
    assert locreg.restore(y, learned, options=locreg.RestoreOptions(sigma=0.01)).sigma == 0.01
    symmetric = locreg.load(output, symmetric=True)  # the energy is one for white noise
    assert parameter_checksum(symmetric) != parameter_checksum(locreg.load("denoise-rgb"))
    with pytest.raises(LocregError, match="exists already"):
        learn_damage(recipe, run)
