"""The noise level estimated from an image alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locreg.degradation.estimate_noise import estimate_sigma, estimate_sigma_of_known
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.2])
def test_noise_level_of_a_photograph_is_found(photograph, sigma):
    clean = torch.from_numpy(photograph.transpose(2, 0, 1)[None, :, :256, :256] / 255.0)
    found = estimate_sigma(add_noise(clean, sigma, seed=0))
    assert found == pytest.approx(sigma, rel=0.1)


@settings(max_examples=15)
@given(sigma=st.floats(0.001, 1), seed=st.integers(0, 99))
def test_noise_level_of_a_constant_image_is_found(sigma, seed):
    image = torch.full((1, 1, 96, 96), 0.5, dtype=torch.float64)
    assert estimate_sigma(add_noise(image, sigma, seed)) == pytest.approx(sigma, rel=0.1)


def test_a_noiseless_constant_image_has_no_noise():
    assert estimate_sigma(torch.full((1, 3, 64, 64), 0.5)) == pytest.approx(0, abs=1e-7)


def test_hot_and_dead_pixels_of_a_dim_frame_are_left_out():
    x = 0.005 + 0.0006 * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    spoilt = x.clone()
    spoilt[..., 50, 60], spoilt[..., 0, 7], spoilt[..., 90, 127] = 1.0, 0.5, 0.0
    assert estimate_sigma(spoilt) == pytest.approx(estimate_sigma(x), rel=0.05)


def test_hot_pixels_are_found_in_every_row_of_a_high_image():
    x = 0.3 + 0.01 * torch.randn(1, 1, 600, 40, generator=torch.Generator().manual_seed(0))
    spoilt = x.clone()
    for number, row in enumerate((0, 254, 255, 256, 257, 511, 512, 599)):
        spoilt[..., row, 2 + 5 * number] = 1.0
    assert estimate_sigma(spoilt) == pytest.approx(estimate_sigma(x), rel=0.02)


def test_noise_of_a_grey_photograph_stored_as_colour_is_found(photograph):
    """Equal channels make three quarters of a joint covariance's eigenvalues vanish."""
    grey = torch.from_numpy(photograph[None, None, :256, :256, 0] / 255.0)
    noisy = add_noise(grey, 0.1, seed=0)
    found = estimate_sigma(noisy.expand(1, 3, -1, -1))
    assert found == pytest.approx(estimate_sigma(noisy), rel=1e-6)
    assert found == pytest.approx(0.1, rel=0.1)


def test_an_image_too_small_for_an_estimate_is_refused():
    with pytest.raises(LocregError, match=r"9x18 pixels is too small.*give sigma"):
        estimate_sigma(torch.rand(1, 1, 18, 9))
    with pytest.raises(LocregError, match="7x200 pixels is too small"):
        estimate_sigma(torch.rand(1, 1, 200, 7))


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_noise_is_found_among_the_known_pixels(sigma):
    """What the missing pixels hold does not matter."""
    known = torch.rand(128, 128, generator=torch.Generator().manual_seed(0)) > 0.3
    y = add_noise(torch.full((1, 3, 128, 128), 0.5), sigma, seed=1)
    level = estimate_sigma_of_known(y, known)
    assert level == pytest.approx(sigma, rel=0.15)
    assert estimate_sigma_of_known(torch.where(known, y, 9.0), known) == pytest.approx(level)


def test_without_known_neighbours_no_noise_is_estimated():
    with pytest.raises(LocregError, match="Too few neighbouring pixels"):
        estimate_sigma_of_known(torch.zeros(1, 1, 20, 20), torch.eye(20) > 0)
    with pytest.raises(LocregError, match="Too few neighbouring pixels"):
        estimate_sigma_of_known(torch.zeros(1, 1, 2, 2), torch.ones(2, 2) > 0)


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_the_noise_level_is_found_where_half_of_the_pixels_are_missing(photograph, sigma):
    x = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255
    known = torch.rand(512, 512, generator=torch.Generator().manual_seed(0)) > 0.5
    hidden = torch.where(known, add_noise(x, sigma, 0), 7.0)
    assert estimate_sigma_of_known(hidden, known) == pytest.approx(sigma, rel=0.25)


def test_the_message_about_too_few_known_neighbours_asks_for_sigma():
    with pytest.raises(LocregError, match="sigma: give it"):
        estimate_sigma_of_known(torch.zeros(1, 1, 20, 20), torch.eye(20) > 0)


def test_missing_pixels_do_not_make_the_estimate_less_exact(photograph):
    """As long as whole patches are known."""
    clean = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255
    known = torch.ones(clean.shape[-2:], dtype=torch.bool)
    known[:, 200:260] = False
    for sigma in (0.0, 0.05):
        y = add_noise(clean, sigma, seed=1) if sigma else clean
        found = estimate_sigma(torch.where(known, y, 9.0), known)
        assert found == pytest.approx(estimate_sigma(y), rel=0.1)
    assert estimate_sigma(clean, known) < estimate_sigma_of_known(clean, known)


def test_an_estimate_needs_no_whole_patches():
    y = add_noise(torch.full((1, 1, 80, 80), 0.5), 0.1, seed=1)
    known = torch.rand(80, 80, generator=torch.Generator().manual_seed(0)) < 0.5
    assert estimate_sigma(y, known) == estimate_sigma_of_known(y, known)
