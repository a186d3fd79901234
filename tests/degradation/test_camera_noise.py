"""The simulated camera."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locreg.degradation.camera_noise import add_camera_noise, blur, compress, draw_camera


@pytest.fixture(scope="module")
def scene(photograph):
    return torch.from_numpy(photograph.transpose(2, 0, 1)[:, 100:228, 60:188].copy()).float() / 255


def quiet(random):
    """A random camera without noise and without compression."""
    return replace(draw_camera(random), shot=0.0, read=0.0, quality=None)


@pytest.mark.parametrize("seed", range(5))
def test_without_noise_the_scene_stays(scene, seed):
    random = np.random.default_rng(seed)
    taken = add_camera_noise(scene, quiet(random), random)
    assert (taken - scene).abs().max() <= 0.5 / 255 + 1e-6


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_a_photograph_is_a_picture_of_8_bits(scene, seed):
    random = np.random.default_rng(seed)
    y = add_camera_noise(scene, draw_camera(random), random)
    assert y.shape == scene.shape
    assert torch.allclose(y * 255, (y * 255).round(), atol=1e-3)
    assert y.min() >= 0
    assert y.max() <= 1


def test_the_same_seed_gives_the_same_photograph(scene):
    taken = []
    for _ in range(2):
        random = np.random.default_rng(3)
        taken.append(add_camera_noise(scene, draw_camera(random), random))
    assert torch.equal(*taken)


def correlation(noise, lag):
    left, right = noise[:, :, lag:], noise[:, :, :-lag]
    return float((left * right).mean() / noise.square().mean())


def test_noise_is_as_strong_and_correlated_as_in_photographs(scene):
    """On real photographs of three cameras: levels of 0.014 to 0.033, correlations of 0.55 to 0.74
    at distance 1 and of 0.18 to 0.44 at distance 2."""
    found = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        noise = add_camera_noise(scene, draw_camera(random), random) - scene
        found.append((noise.square().mean().sqrt(), correlation(noise, 1), correlation(noise, 2)))
    quartiles = np.quantile(np.array(found), [0.25, 0.75], axis=0)
    for (low, high), (least, most) in zip(
        quartiles.T, [(0.01, 0.06), (0.2, 0.85), (0.05, 0.6)], strict=True
    ):
        assert least < low < high < most


def test_more_light_sensitivity_means_more_noise(scene):
    camera = replace(draw_camera(np.random.default_rng(0)), quality=None)
    levels = []
    for shot in (1e-4, 1e-3, 1e-2):
        random = np.random.default_rng(1)
        y = add_camera_noise(scene, replace(camera, shot=shot, read=0.0), random)
        levels.append(float((y - scene).square().mean()))
    assert levels[0] < levels[1] < levels[2]


@pytest.mark.parametrize("deviation", [0.0, 0.4, 2.0])
def test_smoothing_keeps_a_constant_and_spreads_a_point(deviation):
    assert torch.allclose(blur(torch.full((2, 9, 11), 0.3), deviation), torch.tensor(0.3))
    point = torch.zeros(1, 31, 31)
    point[0, 15, 15] = 1
    spread = blur(point, deviation)[0]
    places = torch.arange(31.0) - 15
    variance = float((spread.sum(0) * places**2).sum())
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    assert variance == pytest.approx(deviation**2, rel=0.15, abs=0.1)


def test_compression_changes_more_at_lower_quality(scene):
    errors = [
        float((compress(scene, quality, False, np.random.default_rng(0)) - scene).square().mean())
        for quality in (20, 60, 100)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5
