"""Noise that grows with brightness, made white."""

import numpy as np
import pytest

from locreg.degradation.stabilize_variance import Stabilisation


def noisy_levels(gain, read_noise, count=40_000):
    """Brightnesses, and many noisy pixels of each."""
    x = np.array([0.1, 0.3, 0.6, 0.9])
    random = np.random.default_rng(0)
    counts = random.poisson((x / gain)[:, None], (4, count))
    noise = random.standard_normal((4, count))
    return x, gain * counts + read_noise * noise


@pytest.mark.parametrize(("gain", "read_noise"), [(0.01, 0.0), (0.01, 0.05), (0.002, 0.02)])
def test_the_variance_is_the_same_at_any_brightness(gain, read_noise):
    _, y = noisy_levels(gain, read_noise)
    stabilised = Stabilisation.of(y, gain, read_noise)
    levels = stabilised.forward(y).std(1)
    np.testing.assert_allclose(levels, stabilised.level, rtol=0.05)


@pytest.mark.parametrize(("gain", "read_noise"), [(0.05, 0.0), (0.01, 0.05), (0.002, 0.02)])
def test_the_inverse_is_unbiased(gain, read_noise):
    x, y = noisy_levels(gain, read_noise)
    stabilised = Stabilisation.of(y, gain, read_noise)
    found = stabilised.inverse(stabilised.forward(y).mean(1))
    np.testing.assert_allclose(found, x, rtol=0.02)


def test_transformed_values_fill_the_range_and_stay_finite():
    y = np.array([-0.2, 0.0, 0.5, 1.5])
    stabilised = Stabilisation.of(y, 0.02, 0.01)
    z = stabilised.forward(y)
    assert (z.min(), z.max()) == (0, 1)
    assert np.isfinite(stabilised.inverse(np.linspace(-1, 2, 9))).all()
    constant = Stabilisation.of(np.full((3,), 0.4), 0.02, 0.01)
    assert np.isfinite(constant.forward(np.full((3,), 0.4))).all()
