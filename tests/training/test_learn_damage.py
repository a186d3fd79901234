"""`locreg.damage`: a critic tells how strongly to smooth."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import locreg
from locreg.damage import critic_path, learn_damage, strength_of_damage
from locreg.errors import LocregError, UsageError
from locreg.images import write_image
from locreg.measurements import parameter_checksum
from locreg.options import NoiseRange
from locreg.ready_recipes import recipe_for_damage
from locreg.training_options import CriticOptions
from test_noise_model import scenes


@pytest.fixture(scope="module")
def energy():
    return locreg.load("denoise-rgb")


@pytest.fixture(scope="module")
def critic():
    return locreg.load("ridge-rgb").at(0.1)


def noisy(sigma):
    return [
        x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(100 + index))
        for index, x in enumerate(scenes(6, seed=1, side=72))
    ]


@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_the_strength_of_white_noise_is_its_level(energy, critic, sigma):
    clean = scenes(6, seed=2, side=72)
    level = strength_of_damage(energy, critic, clean, noisy(sigma), progress=False)
    assert 0.75 * sigma < level < 1.35 * sigma


def blurred(x):
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)


@pytest.mark.parametrize("change", [lambda x: x, blurred], ids=["none", "blur"])
def test_without_damage_to_smooth_away_the_critic_says_so(energy, critic, change):
    clean, others = (scenes(6, seed=seed, side=72) for seed in (2, 3))
    with pytest.raises(LocregError, match="does not find the degraded images worse"):
        strength_of_damage(energy, critic, clean, [change(x) for x in others], progress=False)


def test_damage_that_smoothing_leaves_is_refused(energy, critic):
    def grad(x, level):
        return energy.grad(x, level) if level == 0.3 else torch.zeros_like(x)

    with pytest.raises(LocregError, match="No strength of smoothing"):
        strength_of_damage(
            SimpleNamespace(grad=grad),
            critic,
            scenes(6, seed=2, side=72),
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
            learn_damage(tmp_path / "learned.safetensors", other)


def test_a_trained_critic_is_not_trained_again(tmp_path, monkeypatch):
    for name, images in (("clean", scenes(8, seed=2, side=72)), ("noisy", noisy(0.1))):
        (tmp_path / name).mkdir()
        for index, x in enumerate(images):
            write_image(tmp_path / name / f"{index}.tif", x[0].numpy())
    recipe = recipe_for_damage((tmp_path / "clean",), tmp_path / "noisy", 3, iterations=20)
    output = tmp_path / "learned.safetensors"

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("locreg.damage.strength_of_damage", interrupt)
        with pytest.raises(KeyboardInterrupt):
            learn_damage(output, recipe, progress=False)
    assert critic_path(output).exists()
    assert not output.exists()
    longer = replace(recipe, training=replace(recipe.training, iterations=21))
    with pytest.raises(LocregError, match="with other options"):
        learn_damage(output, longer, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr("locreg.damage.train_from_folders", interrupt)
        weights = learn_damage(output, recipe, resume=True, progress=False)
    learned = locreg.load(output)
    assert learned.learned_level == weights.criterion["level"]
    x, y = scenes(6, seed=1, side=72)[0], noisy(0.1)[0]
    found = locreg.restore(y, learned)
    assert found.sigma == learned.learned_level
    assert (found.image - x).square().mean() < 0.5 * (y - x).square().mean()
    assert locreg.restore(y, learned, sigma=0.01).sigma == 0.01
    symmetric = locreg.load(output, symmetric=True)  # the energy is one for white noise
    assert parameter_checksum(symmetric) != parameter_checksum(locreg.load("denoise-rgb"))
    with pytest.raises(LocregError, match="exists already"):
        learn_damage(output, recipe, resume=True, progress=False)
