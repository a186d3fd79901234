"""The noise of one picture, measured from the picture alone: its level, and how it varies.

The network of `locreg.degradation.noise_network` measures the level everywhere. Places without
noise of their own are left out: clipped skies and shadows, letterbox bars, transparent or constant
areas. The rest is averaged with the network's weights. If the noise is independent between pixels
and grows with brightness, as on a sensor, gain and read noise are fitted to the levels. The ratio
of the network's level and that of `estimate_sigma` tells white noise from other noise; between the
two, means of 2x2 pixels decide. If the network is in doubt, as in textures, where noise and scene
look alike, the level is lowered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from locreg.arrays import Array, as_array
from locreg.degradation.estimate_noise import estimate_sigma
from locreg.degradation.noise import NoiseKind
from locreg.degradation.noise_network import FIELD, STEP, measured_everywhere
from locreg.errors import LocregError

if TYPE_CHECKING:
    from torch import Tensor

_WINDOW = 125  # side of the windows that a large image is sampled with, in pixels
_MOST_PIXELS = 600_000  # a larger image is sampled
_MOST_SPOILT = 0.1  # share of clipped or constant pixels around a place that leaves it out
_FEWEST_PLACES = 20  # fewer usable places give no level
_MOST_WEIGHT = 4.0  # largest log weight of a place
_WHITE_SHARE = 0.85  # noise is white if its white part has at least this share of its level
_LEAST_WHITE_SHARE = 0.5  # from this share on, `_white_at_half` decides
_MOST_AT_HALF = 1.14  # largest level at half the resolution, as a multiple of that of white noise
_AROUND = 13  # side of the middle of a window whose brightness counts, in pixels
_MOST_MISFIT = 0.25  # relative error of the fitted variances from which noise does not grow so
_CERTAIN = -0.1  # doubt up to which a level counts in full; see `_Places`
_PER_DOUBT = 2.0  # by how much the logarithm of the level falls with further doubt
_BINS = 8  # groups of places by brightness
_GROWTH = (
    1.6  # ratio of the levels of bright and dark places from which noise grows with brightness
)


@dataclass(frozen=True, kw_only=True)
class MeasuredNoise:
    """What was found.

    Attributes:
        kind: white; camera (correlated, coloured or compressed); or poisson-gaussian, whose
            variance is gain x + read_noise^2.
        level: standard deviation on the [0, 1] scale, as the root mean square over the image.
        gain, read_noise: of Poisson-Gaussian noise; otherwise None.
    """

    kind: NoiseKind
    level: float
    gain: float | None = None
    read_noise: float | None = None

    def scaled_to(self, level: float) -> MeasuredNoise:
        """Noise that grows in the same way, at another level."""
        if self.gain is None or self.read_noise is None or self.level == 0:
            return replace(self, level=level)
        ratio = level / self.level
        return replace(
            self, level=level, gain=ratio**2 * self.gain, read_noise=ratio * self.read_noise
        )


@dataclass(frozen=True)
class _Places:
    """Measurements around many places of an image, each (N,).

    Attributes:
        log_level: logarithm of the noise level.
        weight: how much the measurement counts.
        brightness: mean of the pixels around the place.
    """

    log_level: NDArray[np.float64]
    weight: NDArray[np.float64]
    brightness: NDArray[np.float64]

    def mean(self) -> float:
        """The weighted mean of the logarithms of the level."""
        return float(np.average(self.log_level, weights=self.weight))

    def share_of_noise(self) -> float:
        """How much of the level counts as noise: all of it, if the network is certain.

        The doubt is the standard deviation of the logarithms of the level, less the mean logarithm
        of the weights. It is far below 0 where there is nothing but noise, and near 0 or above in
        textures that look like noise.
        """
        spread = np.average((self.log_level - self.mean()) ** 2, weights=self.weight)
        certainty = np.average(np.log(self.weight), weights=self.weight)
        doubt = math.sqrt(spread) - float(certainty)
        return math.exp(-_PER_DOUBT * max(doubt - _CERTAIN, 0.0))


def measure_noise(
    x: Tensor | Array,
    kind: NoiseKind | Literal["auto"] = "auto",
    known: Tensor | Array | None = None,
) -> MeasuredNoise:
    """The noise of an image x (1, C, H, W), nominally in [0, 1].

    The level of noise that is independent between pixels is measured by `estimate_sigma`, which is
    more exact for it in colour. In grey it takes texture for noise, so the network may lower it.

    Args:
        x: the image.
        kind: kind of the noise; "auto" finds it.
        known: (H, W), True where a pixel is known; by default everywhere.

    Raises:
        LocregError: when the image is too small, or too little of it is known.
    """
    x, known = as_array(x), None if known is None else as_array(known)
    white = estimate_sigma(x, known)
    grey = bool((x == x[:, :1]).all())
    if kind == "white" and not grey:
        return MeasuredNoise(kind="white", level=white)
    places = _measure(x[0], known)
    if len(places.weight) < _FEWEST_PLACES or not places.weight.any():
        return MeasuredNoise(kind="white", level=white)
    usual, groups = math.exp(places.mean()), _by_brightness(places)
    alone = white >= _WHITE_SHARE * usual  # no texture that the network takes for noise
    independent = alone or (white >= _LEAST_WHITE_SHARE * usual and _white_at_half(x, white, known))
    growth = _fit_growth(groups)
    if kind == "poisson-gaussian" or (kind == "auto" and alone and growth.clear):
        found = growing_noise(x, growth.gain, growth.read_noise, known)
        return found.scaled_to(white) if independent else found
    share = places.share_of_noise()
    if kind == "white" or (kind == "auto" and independent):
        # In grey, the texture of a scene also fills the smallest eigenvalues.
        return MeasuredNoise(kind="white", level=min(white, share * usual) if grey else white)
    # A root mean square is at least the geometric mean; if it is not, the groups' weights differ.
    level = share * max(groups.root_mean_square(), usual)
    return MeasuredNoise(kind="camera", level=level)


def _white_at_half(x: Array, white: float, known: Array | None) -> bool:
    """Whether means of 2x2 pixels have half the level, as they have if the noise is white.

    The network takes some textures, such as grass, for noise that is not.
    """
    height, width = (n // 2 for n in x.shape[2:])
    halves = (height, 2, width, 2)
    means = x[:, :, : 2 * height, : 2 * width].reshape(*x.shape[:2], *halves).mean((3, 5))
    seen = None
    if known is not None:
        seen = np.asarray(known[: 2 * height, : 2 * width].reshape(halves).all((1, 3)))
    try:
        return estimate_sigma(means, seen) <= _MOST_AT_HALF * white / 2
    except LocregError:  # too small
        return False


def growing_noise(
    x: Array, gain: float, read_noise: float, known: Array | None = None
) -> MeasuredNoise:
    """Noise of variance gain b + read_noise^2 at brightness b, where images x are known (H, W)."""
    brightness = x if known is None else x[..., known]
    level = math.sqrt(gain * max(float(brightness.mean()), 0.0) + read_noise**2)
    return MeasuredNoise(kind="poisson-gaussian", level=level, gain=gain, read_noise=read_noise)


def _measure(x: Array, known: Array | None = None) -> _Places:
    """Measure an image x (C, H, W) at its usable places, around which every pixel is known."""
    seen = repeat(None) if known is None else _windows(known[None])
    parts = list[tuple[Array, Array, Array]]()
    for window, seen_window in zip(_windows(x), seen, strict=False):
        colour = np.broadcast_to(window, (3, *window.shape[1:]))
        log_level, log_weight = measured_everywhere(colour[None])
        usable = _middles(_spoilt(window)) <= _MOST_SPOILT
        if seen_window is not None:
            usable &= _all_known(seen_window[0])
        brightness = _middles(window.mean(0))
        parts.append((log_level[0][usable], log_weight[0][usable], brightness[usable]))
    levels, log_weights, around = (
        np.concatenate(values).astype(float) for values in zip(*parts, strict=True)
    )
    return _Places(levels, np.exp(np.minimum(log_weights, _MOST_WEIGHT)), around)


def _windows(x: Array) -> Iterator[Array]:
    """The image x (C, H, W) itself, or windows of it at equal distances if it is large.

    The border of an image smaller than the network's field is repeated.
    """
    missing = [max(FIELD - n, 0) for n in x.shape[1:]]
    if any(missing):  # padding copies, and images may be large
        x = np.pad(x, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")
    height, width = x.shape[1:]
    if height * width > _MOST_PIXELS:
        apart = _WINDOW * math.sqrt(height * width / _MOST_PIXELS)
        tops, lefts = (
            np.linspace(0, max(n - _WINDOW, 0), max(round(n / apart), 1)).astype(int)
            for n in (height, width)
        )
        for top in tops:
            for left in lefts:
                yield x[:, top : top + _WINDOW, left : left + _WINDOW]
        return
    yield x


def _spoilt(x: Array) -> Array:
    """(H, W), 1 where a pixel of x (C, H, W) is clipped or equals its neighbours, else 0."""
    clipped = ((x == 0) | (x == 1)).any(0)
    apart, beside = np.zeros(x.shape[1:], x.dtype), np.zeros(x.shape[1:], x.dtype)
    apart[:-1, :-1] = np.abs(x[:, 1:, 1:] - x[:, :-1, :-1]).max(0)
    beside[:, :-1] = np.abs(x[:, :, 1:] - x[:, :, :-1]).max(0)
    spoilt: Array = clipped | ((apart == 0) & (beside == 0))
    return spoilt.astype(np.float32)


def _all_known(seen: Array) -> Array:
    """Whether all of seen (H, W) is True in each of the network's windows: (H', W')."""
    windows = sliding_window_view(seen, (FIELD, FIELD))[::STEP, ::STEP]
    return np.asarray(windows.all((2, 3)))


def _middles(x: Array) -> Array:
    """Means of x (H, W) over 13x13 pixels in the middle of the network's windows: (H', W')."""
    margin = (FIELD - _AROUND) // 2
    inner = x[margin : x.shape[0] - margin, margin : x.shape[1] - margin]
    means: Array = sliding_window_view(inner, (_AROUND, _AROUND))[::STEP, ::STEP].mean((2, 3))
    return means


@dataclass(frozen=True)
class _Growth:
    """The fit of gain b + read_noise^2 to the variances at each brightness b.

    Attributes:
        gain, read_noise: both at least 0.
        clear: whether the noise grows strongly, and as the fit says.
    """

    gain: float
    read_noise: float
    clear: bool


@dataclass(frozen=True)
class _Groups:
    """The measurements of places that are about equally bright: weighted means, each (groups,).

    Attributes:
        brightness, log_level: as in `_Places`.
        weight: the sum of the weights.
        count: number of places.
    """

    brightness: NDArray[np.float64]
    log_level: NDArray[np.float64]
    weight: NDArray[np.float64]
    count: NDArray[np.float64]

    def root_mean_square(self) -> float:
        """The level over all places: those of one brightness have the level measured best there."""
        return math.sqrt(np.average(np.exp(2 * self.log_level), weights=self.count))


def _by_brightness(places: _Places) -> _Groups:
    """Equally many places in each of `_BINS` groups, by brightness."""
    edges = np.quantile(places.brightness, np.linspace(0, 1, _BINS + 1))
    groups = np.clip(np.searchsorted(edges, places.brightness, side="right") - 1, 0, _BINS - 1)
    weights = np.bincount(groups, places.weight, _BINS).astype(float)
    used = weights > 0
    brightness, log_level = (
        (np.bincount(groups, places.weight * values, _BINS) / np.maximum(weights, 1e-12))[used]
        for values in (places.brightness, places.log_level)
    )
    counts = np.bincount(groups, minlength=_BINS).astype(float)
    return _Groups(brightness, log_level, weights[used], counts[used])


def _fit_growth(groups: _Groups) -> _Growth:
    """Fit gain and read noise to the mean variances of groups of places."""
    b = groups.brightness
    variances, weights = np.exp(2 * groups.log_level), np.sqrt(groups.weight)
    scale = weights / variances  # so that relative errors count
    columns = np.stack([b, np.ones_like(b)], axis=1)
    gain, offset = _nonnegative(columns * scale[:, None], variances * scale)
    fitted = np.maximum(columns @ (gain, offset), 1e-12)
    misfit = math.sqrt(np.average((variances / fitted - 1) ** 2, weights=weights))
    clear = math.sqrt(fitted[-1] / fitted[0]) > _GROWTH and misfit < _MOST_MISFIT
    return _Growth(float(gain), math.sqrt(offset), clear)


def _nonnegative(columns: Array, values: Array) -> tuple[float, float]:
    """Two coefficients, at least 0, of the columns (N, 2) that fit the values (N,) best.

    SciPy's `nnls` does this for any number, but takes half a second to load.
    """
    both = np.linalg.lstsq(columns, values, rcond=None)[0]
    if both.min() >= 0:
        return float(both[0]), float(both[1])
    alone = np.maximum(columns.T @ values / np.maximum((columns**2).sum(0), 1e-30), 0)
    fits = [np.array([alone[0], 0.0]), np.array([0.0, alone[1]])]
    best = min(fits, key=lambda fit: float(((columns @ fit - values) ** 2).sum()))
    return float(best[0]), float(best[1])
