"""The kinds of noise that training draws, and their levels."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locreg.degradation.noise import NoiseShares
from locreg.degradation.noise_kinds import degrade, single_channel
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
    # Less than 0.002 counts as that, but for white noise.
    assert 0.95 * level - 0.002 <= measured <= 1.05 * level + 1e-4


def test_weaker_white_noise_keeps_its_level(scene):
    random = np.random.default_rng(1)
    y, level = degrade(scene, alone("white"), random, weaker=1.0)
    assert (y - scene).square().mean().sqrt() < level


def test_noise_of_a_sensor_grows_with_brightness():
    x = torch.linspace(0.05, 0.95, 256).expand(3, 256, 256).contiguous()
    for seed in range(3):
        y, _ = degrade(x, alone("poisson_gaussian"), np.random.default_rng(seed))
        dark, bright = (
            (y - x)[..., half].square().mean() for half in (slice(128), slice(128, 256))
        )
        assert bright > dark


def test_a_grey_image_gets_one_noise(scene):
    grey = scene.mean(0, keepdim=True).expand(3, -1, -1)
    y, level = single_channel(grey, *degrade(grey, alone("white"), np.random.default_rng(0)))
    assert torch.equal(y[0], y[1])
    assert torch.equal(y[0], y[2])
    assert float((y - grey).square().mean().sqrt()) == pytest.approx(level, rel=0.05)


@pytest.mark.parametrize("change", [{"white": -0.1}, {"camera": 0.9}])
def test_shares_that_are_no_shares_are_refused(change):
    with pytest.raises(UsageError, match="add up to 1"):
        replace(NoiseShares(), **change)
