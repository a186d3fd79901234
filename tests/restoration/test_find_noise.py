"""The noise that the options give or leave open."""

import numpy as np
import pytest
import torch

from locreg.degradation.noise import add_noise
from locreg.errors import LocregError
from locreg.restoration.find_noise import check_estimate, find_noise, noise_of_level
from locreg.restoration.options import RestoreOptions


@pytest.fixture(scope="module")
def noisy(photograph):
    clean = torch.from_numpy(photograph.transpose(2, 0, 1)[None, :, :200, :220].copy()) / 255
    return add_noise(clean.float(), 0.1, seed=0).numpy()


def test_what_is_given_is_taken(noisy):
    assert find_noise(noisy, RestoreOptions(sigma=0.07)).level == 0.07
    assert find_noise(noisy, RestoreOptions(sigma=0.07, noise="camera")).kind == "camera"
    given = find_noise(noisy, RestoreOptions(gain=0.01, read_noise=0.02))
    assert (given.kind, given.gain, given.read_noise) == ("poisson-gaussian", 0.01, 0.02)


def test_what_is_left_open_is_measured(noisy):
    assert find_noise(noisy, RestoreOptions()).kind == "white"
    forced = find_noise(noisy, RestoreOptions(noise="poisson-gaussian"))
    assert forced.level == pytest.approx(0.1, rel=0.1)
    half = find_noise(noisy, RestoreOptions(gain=0.01))
    assert half.kind == "poisson-gaussian"
    assert half.gain == 0.01


def test_the_levels_of_a_batch_are_averaged(noisy):
    weaker = 0.5 + 0.5 * (noisy - 0.5)
    alone = [find_noise(y, RestoreOptions(noise="white")).level for y in (noisy, weaker)]
    both = find_noise(np.concatenate([noisy, weaker]), RestoreOptions(noise="white"))
    assert both.level == pytest.approx(sum(alone) / 2)


def test_the_kind_of_noise_of_a_given_level_is_found(noisy):
    assert noise_of_level(noisy, 0.2).kind == "white"
    assert noise_of_level(noisy, 0.2).level == 0.2
    assert noise_of_level(noisy[..., :4, :4], 0.2).kind == "white"  # too small to find it


def test_a_level_above_1_is_refused(noisy):
    with pytest.raises(LocregError, match="pixels are expected"):
        find_noise(255 * noisy, RestoreOptions(noise="white"))
    with pytest.raises(LocregError, match="--white"):
        check_estimate(1.5)
