"""The kinds of noise that training draws, and their levels."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locreg.degradation.noise import NoiseShares
from locreg.degradation.noise_kinds import degrade, level_map, single_channel
from locreg.errors import UsageError

KINDS = [field.name for field in fields(NoiseShares)]


def alone(kind):
    """Shares with one kind of noise."""
    return NoiseShares(**{name: float(name == kind) for name in KINDS})


@pytest.fixture(scope="module")
def scene(photograph):
    return torch.from_numpy(photograph.transpose(2, 0, 1)[:, 100:228, 60:188].copy()).float() / 255


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_the_level_is_that_of_the_noise(scene, kind, seed):
    y, level = degrade(scene, alone(kind), np.random.default_rng(seed))
    measured = float((y - scene).square().mean().sqrt())
    # Clipping takes away some of the noise of sensors, and less than 0.002 counts as that.
    least = 0.5 if kind == "poisson_gaussian" else 0.95
    expected = float(level.square().mean().sqrt())
    assert least * expected - 0.002 <= measured <= 1.1 * expected + 1e-3
    assert level.shape == (1, *scene.shape[1:])


def test_weaker_white_noise_keeps_its_level(scene):
    random = np.random.default_rng(1)
    y, level = degrade(scene, alone("white"), random, weaker=1.0)
    assert (y - scene).square().mean().sqrt() < level.mean()


def test_the_level_of_a_sensor_grows_with_brightness():
    y = torch.full((1, 3, 40, 40), 0.25)
    y[..., 20:] = 1.0
    levels = level_map(y, gain=0.04, read_noise=0.1)
    assert levels[0, 0, 20, 5] == pytest.approx(np.sqrt(0.04 * 0.25 + 0.01), rel=1e-4)
    assert levels[0, 0, 20, 35] == pytest.approx(np.sqrt(0.04 + 0.01), rel=1e-4)
    assert torch.equal(levels[:, :, :, :5], level_map(y[..., :40], 0.04, 0.1)[:, :, :, :5])


def test_noise_of_a_sensor_has_the_variance_of_its_level_map():
    x = torch.linspace(0.1, 0.9, 256).expand(3, 256, 256).contiguous()
    for seed in range(3):
        y, level = degrade(x, alone("poisson_gaussian"), np.random.default_rng(seed))
        relative = (y - x) / level
        for half in (relative[..., :128], relative[..., 128:]):
            assert 0.5 < half.square().mean() < 1.3


def test_a_grey_image_gets_one_noise(scene):
    grey = scene.mean(0, keepdim=True).expand(3, -1, -1)
    y, level = single_channel(grey, *degrade(grey, alone("white"), np.random.default_rng(0)))
    assert torch.equal(y[0], y[1])
    assert torch.equal(y[0], y[2])
    assert float((y - grey).square().mean().sqrt()) == pytest.approx(float(level.mean()), rel=0.05)


@pytest.mark.parametrize("change", [{"white": -0.1}, {"camera": 0.9}])
def test_shares_that_are_no_shares_are_refused(change):
    with pytest.raises(UsageError, match="add up to 1"):
        replace(NoiseShares(), **change)
