"""Does what a restoration removed look like noise? Autocorrelation and a whiteness test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from locreg.errors import LocregError

REACH = 5  # largest lag that is tested, in pixels, along rows and columns
_FEWEST_PAIRS = 30  # pairs of pixels that a lag needs to be tested


@dataclass(frozen=True)
class Whiteness:
    """How white a residual is.

    Attributes:
        correlation: (2 * REACH + 1, 2 * REACH + 1), by lag along rows and columns; 1 in the middle.
        largest: the largest absolute correlation, except that of a pixel with itself.
        deviation: standard deviation of the residual.
        p_value: the probability that white noise has correlations this large. In a large photograph
            tiny correlations are significant, so look at ``largest`` too.
    """

    correlation: Tensor
    largest: float
    deviation: float
    p_value: float


def whiteness(residual: Tensor) -> Whiteness:
    """Test a residual (C, H, W) for correlations; NaN marks pixels that were not observed.

    The statistic is that of Box and Pierce, *Distribution of residual autocorrelations*, 1970, in
    two dimensions: the number of pairs times the squared correlation, summed over one half of the
    lags (the other half mirrors it) and over the channels, which are treated as independent.

    Raises:
        LocregError: when fewer than 100 pixels of a channel were observed, or all are equal.
    """
    observed = torch.isfinite(residual)
    values = torch.where(observed, residual, 0).double()
    counts = observed.double().sum((1, 2), keepdim=True)
    if counts.min() < 100:
        raise LocregError("The residual has fewer than 100 pixels: too few to test.")
    centred = torch.where(observed, values - values.sum((1, 2), keepdim=True) / counts, 0)
    pairs = _correlate(observed.double()).round()
    usable = pairs >= _FEWEST_PAIRS
    covariance = torch.where(usable, _correlate(centred) / pairs.clamp_min(1), 0)
    variance = covariance[:, REACH, REACH]
    if not (variance > 0).all():
        raise LocregError("The residual is constant: nothing was removed.")
    correlation = covariance / variance.view(-1, 1, 1)
    # The lags after the middle, in reading order; the lags before it have the same correlations.
    later = slice((2 * REACH + 1) ** 2 // 2 + 1, None)
    rho, number = correlation.flatten(1)[:, later], pairs.flatten(1)[:, later]
    statistic = (number * rho.square()).sum()  # lags with too few pairs have rho = 0
    freedom = usable.flatten(1)[:, later].sum().double()
    mean = correlation.mean(0)
    return Whiteness(
        correlation=mean,
        largest=float(mean.flatten()[later].abs().max()),
        deviation=math.sqrt(float(variance.mean())),
        p_value=float(torch.special.gammaincc(freedom / 2, statistic / 2)),
    )


def _correlate(x: Tensor) -> Tensor:
    """sum_p x(p) x(p + lag) for lags up to REACH: (C, H, W) to (C, 2 REACH + 1, 2 REACH + 1)."""
    # Padding with zeros keeps opposite edges apart, and makes room for all lags of a narrow image.
    height, width = (max(n, REACH + 1) + REACH for n in x.shape[1:])
    power = torch.fft.rfft2(x, s=(height, width)).abs().square()
    full: Tensor = torch.fft.irfft2(power, s=(height, width)).roll((REACH, REACH), (1, 2))
    return full[:, : 2 * REACH + 1, : 2 * REACH + 1]
