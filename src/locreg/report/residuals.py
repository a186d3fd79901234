"""Does what a restoration removed look like noise? Autocorrelation and a whiteness test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from locreg.arrays import Array, as_array
from locreg.errors import LocregError

if TYPE_CHECKING:
    from torch import Tensor

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

    correlation: Array
    largest: float
    deviation: float
    p_value: float


def whiteness(residual: Tensor | Array) -> Whiteness:
    """Test a residual (C, H, W) for correlations; NaN marks pixels that were not observed.

    The statistic is that of Box and Pierce, *Distribution of residual autocorrelations*, 1970, in
    two dimensions: the number of pairs times the squared correlation, summed over one half of the
    lags (the other half mirrors it) and over the channels, which are treated as independent.

    Raises:
        LocregError: when fewer than 100 pixels of a channel were observed, or all are equal.
    """
    residual = as_array(residual)
    observed = np.isfinite(residual)
    values = np.where(observed, residual, 0).astype(float)
    counts = observed.sum((1, 2), keepdims=True)
    if counts.min() < 100:
        raise LocregError("The residual has fewer than 100 pixels: too few to test.")
    centred = np.where(observed, values - values.sum((1, 2), keepdims=True) / counts, 0)
    pairs = _correlate(observed.astype(float)).round()
    usable = pairs >= _FEWEST_PAIRS
    covariance = np.where(usable, _correlate(centred) / np.maximum(pairs, 1), 0)
    variance = covariance[:, REACH, REACH]
    if not (variance > 0).all():
        raise LocregError("The residual is constant: nothing was removed.")
    correlation = covariance / variance[:, None, None]
    # The lags after the middle, in reading order; the lags before it have the same correlations.
    later = slice((2 * REACH + 1) ** 2 // 2 + 1, None)
    rho, number, used = (
        x.reshape(len(residual), -1)[:, later] for x in (correlation, pairs, usable)
    )
    statistic = (number * rho**2).sum()  # lags with too few pairs have rho = 0
    freedom = used.sum()
    mean = correlation.mean(0)
    return Whiteness(
        correlation=mean,
        largest=float(np.abs(mean.ravel()[later]).max()),
        deviation=math.sqrt(float(variance.mean())),
        p_value=chi_square_tail(float(statistic), int(freedom)),
    )


def chi_square_tail(value: float, freedom: int) -> float:
    """The probability that a chi-square variable exceeds a value, by the finite sum for it.

    SciPy has it for any real number of degrees of freedom, but is larger than all else together
    that a restoration needs.
    """
    half = value / 2
    if half <= 0:
        return 1.0
    odd = freedom % 2
    start = math.erfc(math.sqrt(half)) if odd else 0.0
    exponents = (i + odd / 2 for i in range((freedom - odd) // 2))
    terms = (math.exp(e * math.log(half) - half - math.lgamma(e + 1)) for e in exponents)
    return min(start + sum(terms), 1.0)


def _correlate(x: Array) -> Array:
    """sum_p x(p) x(p + lag) for lags up to REACH: (C, H, W) to (C, 2 REACH + 1, 2 REACH + 1)."""
    # Padding with zeros keeps opposite edges apart, and makes room for all lags of a narrow image.
    height, width = (max(n, REACH + 1) + REACH for n in x.shape[1:])
    power = np.abs(np.fft.rfft2(x, s=(height, width))) ** 2
    full = np.roll(np.fft.irfft2(power, s=(height, width)), (REACH, REACH), (1, 2))
    return full[:, : 2 * REACH + 1, : 2 * REACH + 1]
