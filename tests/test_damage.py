"""`locreg.damage`: a critic tells how strongly to smooth."""

import pytest
import torch
import torch.nn.functional as F

import locreg
from locreg.damage import critic_path, learn_damage, strength_of_damage
from locreg.errors import LocregError
from locreg.images import write_image
from locreg.training_options import recipe_for_damage
from test_noise_model import scenes


@pytest.fixture(scope="module")
def energy():
    return locreg.load("denoise-rgb")


@pytest.fixture(scope="module")
def critic():
    return locreg.load("ridge-rgb").at(0.1)


def noisy(sigma):
    return [
        x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(index))
        for index, x in enumerate(scenes(6, seed=1, side=72))
    ]


@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_the_strength_of_white_noise_is_its_level(energy, critic, sigma):
    clean = scenes(6, seed=2, side=72)
    level = strength_of_damage(energy, critic, clean, noisy(sigma), progress=False)
    assert 0.75 * sigma < level < 1.35 * sigma


def test_blurred_images_are_not_smoothed(energy, critic):
    clean = scenes(6, seed=2, side=72)
    for degraded in (clean, [F.avg_pool2d(x, 5, 1, 2) for x in clean]):
        with pytest.raises(LocregError, match="may be a blur"):
            strength_of_damage(energy, critic, clean, degraded, progress=False)


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
    with monkeypatch.context() as patch:
        patch.setattr("locreg.damage.train_from_folders", interrupt)
        weights = learn_damage(output, recipe, resume=True, progress=False)
    learned = locreg.load(output)
    assert learned.learned_level == weights.criterion["level"]
    x, y = scenes(6, seed=1, side=72)[0], noisy(0.1)[0]
    restored = locreg.restore(y, learned).image
    assert (restored - x).square().mean() < 0.5 * (y - x).square().mean()
    with pytest.raises(LocregError, match="exists already"):
        learn_damage(output, recipe, resume=True, progress=False)
