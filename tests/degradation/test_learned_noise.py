"""Noise learned from folders: its statistics, how it is drawn, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import NOISE_KERNELS, noise_model, shaded_scenes
from locreg.degradation.learned_noise import NoiseModel, learn_noise
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError

WHITE, GRAINY = NOISE_KERNELS["white"], NOISE_KERNELS["grainy"]


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_noise_is_drawn_with_the_covariance_of_the_model(seed):
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn((3, 3), generator=generator)
    mixing = 0.1 * torch.randn((3, 3), generator=generator)
    model = noise_model(kernel, mixing)
    noise = model.degrade(torch.zeros(8, 3, 96, 96), seed)
    for down, right in ((0, 0), (0, 1), (2, 1), (1, -2), (4, 0)):
        here, there = noise[..., 4:-4, 4:-4], noise.roll((-down, -right), (2, 3))[..., 4:-4, 4:-4]
        found = torch.einsum("bchw,bdhw->cd", here, there) / here[:, 0].numel()
        lag = (min(down, 3) + 2, right + 2)  # beyond 2 there is none
        expected = model.covariance[:, :, lag[0], lag[1]] if down < 3 else torch.zeros(3, 3)
        assert (found - expected).abs().max() < 0.05 * model.level**2 * 3


def test_the_strength_follows_brightness_and_ends_are_cut_off():
    white = noise_model(WHITE, 0.1 * torch.eye(1), slope=1.5)
    for brightness in (0.1, 0.5, 0.9):
        x = torch.full((1, 1, 200, 200), brightness)
        variance = white.degrade(x, 0).var().item()
        assert variance == pytest.approx(0.01 * (1 + 1.5 * (brightness - 0.5)), rel=0.05)
    cut = NoiseModel(white.covariance, 0.0, True).degrade(torch.ones(1, 1, 50, 50), 0)
    assert cut.max() == 1
    assert cut.min() > 0.4
    twice = white.degrade(x, 3, torch.tensor(2.0)) - x
    torch.testing.assert_close(twice, 2 * (white.degrade(x, 3) - x))


@pytest.mark.parametrize("name", NOISE_KERNELS)
def test_noise_is_learned_from_unpaired_folders(name):
    kernel = NOISE_KERNELS[name]
    mixing = torch.tensor([[0.1, 0, 0], [0.05, 0.08, 0], [0, 0, 0.06]])
    true = noise_model(kernel, mixing)
    noisy = [true.degrade(x, 1000 + index) for index, x in enumerate(shaded_scenes(12, seed=1))]
    found = learn_noise(shaded_scenes(12, seed=2), noisy)
    assert found.level == pytest.approx(true.level, rel=0.05)
    assert abs(found.slope) < 0.3
    assert not found.clipped
    reach, own = found.reach, true.reach
    for down in range(min(own, 3) + 1):
        for right in range(-min(own, 3), min(own, 3) + 1):
            expected = true.covariance[:, :, own + down, own + right]
            near = found.covariance[:, :, reach + down, reach + right]
            assert (near - expected).abs().max() < 0.12 * true.level**2


def test_the_noise_of_a_single_photograph_is_learned():
    true = noise_model(GRAINY, 0.1 * torch.eye(3))
    noisy = true.degrade(shaded_scenes(1, seed=7, side=480)[0], 1000)
    found = learn_noise(shaded_scenes(12, seed=2), [noisy])
    assert found.level == pytest.approx(true.level, rel=0.1)
    neighbours = found.covariance[0, 0, found.reach, found.reach + 1]
    assert neighbours / found.level**2 == pytest.approx(2 / 3, abs=0.1)


def test_noise_that_grows_with_brightness_is_learned():
    true = noise_model(WHITE, 0.08 * torch.eye(3), slope=1.5)
    noisy = [
        true.degrade(x, 1000 + index).clamp(0, 1)
        for index, x in enumerate(shaded_scenes(20, seed=3))
    ]
    found = learn_noise(shaded_scenes(20, seed=4), noisy)
    assert found.level == pytest.approx(true.level, rel=0.1)
    assert found.slope == pytest.approx(1.5, abs=0.35)
    assert found.clipped


def test_a_thumbnail_among_the_images_is_left_out():
    clean = shaded_scenes(12, seed=5)
    noisy = [add_noise(x, 0.1, k) for k, x in enumerate(shaded_scenes(12, seed=6))]
    found = learn_noise(clean, noisy)
    again = learn_noise([torch.rand(1, 3, 5, 9), *clean], [torch.rand(1, 3, 60, 60), *noisy])
    assert again.level == pytest.approx(found.level, rel=1e-3)


def test_what_is_no_noise_is_refused():
    with pytest.raises(LocregError, match="no noise"):
        learn_noise(shaded_scenes(12, seed=5), shaded_scenes(12, seed=6))
    with pytest.raises(LocregError, match=r"too few.*a single one: 216"):
        learn_noise(shaded_scenes(12, seed=5), shaded_scenes(1, seed=6, side=215))
    with pytest.raises(LocregError, match="no noise"):  # large enough
        learn_noise(shaded_scenes(2, seed=5, side=192), shaded_scenes(1, seed=6, side=216))
    with pytest.raises(LocregError, match="too few"):
        learn_noise([torch.rand(1, 3, 60, 60)] * 9, [torch.rand(1, 3, 60, 60)] * 9)


def test_white_noise_of_the_model_is_that_of_the_field():
    x = torch.full((1, 1, 64, 64), 0.5)
    model = noise_model(WHITE, 0.1 * torch.eye(1))
    assert model.degrade(x, 0).std() == pytest.approx(add_noise(x, 0.1, 0).std().item(), rel=0.05)
