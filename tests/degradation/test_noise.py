"""White Gaussian noise: its levels and its statistics."""

import numpy as np
import pytest
import torch

from conftest import random_image
from locreg.degradation.noise import NoiseRange, add_noise, add_noise_in_range, check_sigma
from locreg.errors import UsageError


@pytest.mark.parametrize(
    ("text", "words"),
    [("25", "25/255"), ("-1", "at least 0"), ("0.3:0.1", "low <= high"), ("a:b", "0.05:0.3"),
     ("nan", "at least 0"), ("1000", "above 1")],
)  # fmt: skip
def test_impossible_noise_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        NoiseRange.parse(text)


def test_noise_levels_are_uniform_in_the_range():
    random = np.random.default_rng(0)
    zeros = np.zeros((2000, 3, 15, 15), np.float32)
    levels = add_noise_in_range(zeros, NoiseRange(low=0.05, high=0.3), random).std(axis=(1, 2, 3))
    assert levels.min() == pytest.approx(0.05, abs=0.006)
    assert levels.max() == pytest.approx(0.3, abs=0.03)
    assert levels.mean() == pytest.approx(0.175, abs=0.005)
    assert levels.std() == pytest.approx(0.25 / 12**0.5, abs=0.005)


@pytest.mark.parametrize(
    ("text", "low", "high"), [("0.1", 0.1, 0.1), ("0.05:0.3", 0.05, 0.3), ("0:1", 0, 1)]
)
def test_a_range_is_read_from_text(text, low, high):
    noise = NoiseRange.parse(text)
    assert noise == NoiseRange(low=low, high=high)
    assert noise.one_level == (low == high)
    assert noise.middle == (low + high) / 2
    assert NoiseRange.parse(str(noise)) == noise


def test_a_range_without_noise_is_refused():
    with pytest.raises(UsageError, match="above 0"):
        NoiseRange(low=0, high=0)


@pytest.mark.parametrize("sigma", [0, 0.5, 1, np.float32(0.1)])
def test_a_possible_noise_level_is_accepted(sigma):
    check_sigma(sigma)


@pytest.mark.parametrize(
    ("sigma", "words"),
    [(-0.1, "at least 0"), (float("nan"), "at least 0"), (25, "if you mean 25/255, give 0.098"),
     (1000, r"above 1.*scale\.$"), (float("inf"), "above 1")],
)  # fmt: skip
def test_an_impossible_noise_level_is_refused(sigma, words):
    with pytest.raises(UsageError, match=words):
        check_sigma(sigma)


def test_white_noise_has_its_standard_deviation_and_is_not_clipped():
    x = random_image(1, 3, 100, 100)
    noise = add_noise(x, 0.2, seed=0) - x
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean().item()
    assert neighbours == pytest.approx(0, abs=0.001)
    assert (x + noise).min() < 0 < 1 < (x + noise).max()


def test_the_seed_alone_decides_the_noise():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    assert torch.equal(add_noise(x, 0.1, seed=3), add_noise(x, 0.1, seed=3))
    assert not torch.equal(add_noise(x, 0.1, seed=3), add_noise(x, 0.1, seed=4))
    torch.testing.assert_close(add_noise(x, 0.3, seed=3), 3 * add_noise(x, 0.1, seed=3))
    assert add_noise(x.float(), 0.1, seed=3).dtype == torch.float32
