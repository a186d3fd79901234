"""Whiteness of what was removed."""

import math

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st

from locreg.errors import LocregError
from locreg.report.residuals import REACH, chi_square_tail, whiteness


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_p_values_of_white_noise_are_uniform():
    values = np.array([whiteness(noise(3, 40, 50, seed=k)).p_value for k in range(200)])
    # Kolmogorov and Smirnov's distance stays below 1.63 / sqrt(n) in 99 of 100 cases.
    ranks = (np.arange(200) + 0.5) / 200
    assert np.abs(np.sort(values) - ranks).max() < 1.63 / math.sqrt(200)


@given(value=st.floats(0, 400), freedom=st.integers(1, 180))
def test_the_tail_of_chi_square_is_that_of_scipy(value, freedom):
    assert chi_square_tail(value, freedom) == pytest.approx(
        scipy.special.gammaincc(freedom / 2, value / 2), rel=1e-9, abs=1e-300
    )


def test_correlation_is_that_of_the_filter():
    """Noise through (1, 1) along the rows: neighbours in a row have correlation 1/2."""
    x = noise(1, 300, 301)
    found = whiteness(x[..., 1:] + x[..., :-1])
    assert found.correlation[REACH, REACH + 1] == pytest.approx(0.5, abs=0.01)
    assert found.correlation[REACH, REACH - 1] == found.correlation[REACH, REACH + 1]
    assert found.correlation[REACH + 1, REACH] == pytest.approx(0, abs=0.02)
    assert found.largest == pytest.approx(0.5, abs=0.01)
    assert found.p_value < 1e-12
    assert found.deviation == pytest.approx(math.sqrt(2), rel=0.02)


@given(seed=st.integers(0, 50), share=st.floats(0.3, 1))
def test_pixels_that_were_not_observed_take_no_part(seed, share):
    x = noise(1, 60, 60, seed=seed)
    known = torch.rand(60, 60, generator=torch.Generator().manual_seed(seed)) < share
    found = whiteness(torch.where(known, x, torch.nan))
    assert found.correlation[REACH, REACH] == pytest.approx(1)
    assert found.deviation == pytest.approx(x[:, known].std(correction=0).item())
    assert found.p_value > 1e-6


def test_the_correlation_agrees_with_its_definition_in_loops():
    x = noise(2, 14, 15)
    centred = x - x.mean((1, 2), keepdim=True)
    found = whiteness(x).correlation
    for down, right in ((0, 1), (3, -2), (5, 5)):
        expected = []
        for channel in centred:
            pairs = [
                channel[i, j] * channel[i + down, j + right]
                for i in range(14)
                for j in range(15)
                if 0 <= i + down < 14 and 0 <= j + right < 15
            ]
            expected.append(sum(pairs) / len(pairs) / channel.square().mean())
        assert found[REACH + down, REACH + right] == pytest.approx(sum(expected).item() / 2)


@pytest.mark.parametrize("width", [1, 2, 5, 6])
def test_a_narrow_residual_is_tested_like_its_transpose(width):
    x = noise(1, 400, width)
    x = x + x.roll(1, 1)
    narrow, wide = whiteness(x), whiteness(x.transpose(1, 2))
    torch.testing.assert_close(narrow.correlation, wide.correlation.T)
    assert narrow.largest == pytest.approx(wide.largest) == pytest.approx(0.5, abs=0.1)
    assert narrow.p_value == pytest.approx(wide.p_value)
    assert narrow.p_value < 1e-6


def test_residuals_too_small_or_constant_are_refused():
    with pytest.raises(LocregError, match="fewer than 100 pixels"):
        whiteness(noise(1, 5, 5))
    with pytest.raises(LocregError, match="nothing was removed"):
        whiteness(torch.zeros(1, 20, 20))


def test_lags_that_no_pair_has_take_no_part():
    """On a checkerboard no two neighbours are observed; of few pixels hardly any lag has pairs."""
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    board = (rows + columns) % 2 == 0
    values = [
        whiteness(torch.where(board, noise(1, 60, 60, seed=k), torch.nan)).p_value
        for k in range(100)
    ]
    assert 0.3 < np.mean(values) < 0.7
    few = torch.rand(120, 120, generator=torch.Generator().manual_seed(0)) < 0.01
    found = whiteness(torch.where(few, noise(1, 120, 120), torch.nan))
    assert found.largest < 0.7
