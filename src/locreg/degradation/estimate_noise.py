"""The noise level of an image, estimated from the image alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from locreg.arrays import Array, as_array
from locreg.errors import LocregError

if TYPE_CHECKING:
    from torch import Tensor

_PATCH = 8  # side of the patches whose covariance is computed, in pixels
_BLOCK = 16  # side of the blocks whose smoothest give the noise level, in pixels
_MOST_CLIPPED = 0.1  # share of clipped values from which a patch is left out
_FAR_AWAY = 4.0  # ranges of its neighbours by which a hot pixel is away from them
_LEAST_DISTANCE = 0.02  # and more than this, on the [0, 1] scale
_FEWEST_DIFFERENCES = 24  # a block with fewer known differences is ignored
_MOST_PATCHES = 100_000  # a larger image is sampled in steps of 2, 3, ... pixels
_ROWS = 256  # rows in which hot pixels are looked for at a time
_TOGETHER = 8_192  # patches whose covariance is added at a time, since float64 needs much memory


def estimate_sigma(x: Tensor | Array, known: Tensor | Array | None = None) -> float:
    """Standard deviation of the white noise in an image (1, C, H, W), on the [0, 1] scale.

    The smallest eigenvalues of the covariance of 8x8 patches contain noise only. The largest
    eigenvalue is dropped until the mean of the rest is no larger than their median: then none
    stands out as signal. Patches without noise of their own are left out: constant ones, such as
    letterbox bars, clipped ones, and those with a hot or dead pixel. If the channels are linearly
    dependent, as in a grey image stored as colour, some eigenvalues are 0 whatever the noise; then
    each channel is measured on its own, and the variances are averaged.

    Chen, Zhu, Heng, *An efficient statistical method for image noise level estimation*, ICCV 2015.

    Args:
        x: the image; missing pixels may have any finite value.
        known: (H, W), True where a pixel is known; by default everywhere. If too few patches are
            known, the level is that of `estimate_sigma_of_known`.

    Raises:
        LocregError: when the image is too small to hold 2 patches per eigenvalue, or too few
            neighbours are known.
    """
    pixels = as_array(x)[0]
    where = None if known is None else as_array(known)
    channels, height, width = pixels.shape
    positions = (height - _PATCH + 1) * (width - _PATCH + 1)
    if min(height, width) < _PATCH or positions < 2 * channels * _PATCH**2:
        if where is not None:
            return estimate_sigma_of_known(x, where)
        raise LocregError(
            f"An image of {width}x{height} pixels is too small to estimate its noise level: give "
            "sigma."
        )
    apart = math.ceil(math.sqrt(positions / _MOST_PATCHES))
    patches, spoilt = _patches(pixels, apart), _patches(_isolated(pixels), apart)[0].any(0)
    if where is not None:
        whole = _patches(where[None], apart)[0].all(0)
        if whole.sum() < 2 * channels * _PATCH**2:
            return estimate_sigma_of_known(x, where)
        patches, spoilt = np.compress(whole, patches, axis=2), spoilt[whole]
    patches = _with_noise(patches, spoilt)
    if patches.shape[2] < 2 * patches.shape[0] * patches.shape[1]:
        return 0.0
    joint = _covariance_eigenvalues(patches)
    if joint[0] > 1e-12 * joint[-1]:
        return math.sqrt(_noise_variance(joint))
    return math.sqrt(np.mean([_noise_variance(_covariance_eigenvalues(c[None])) for c in patches]))


def estimate_sigma_of_known(x: Tensor | Array, known: Tensor | Array) -> float:
    """Standard deviation of the white noise in an image (1, C, H, W) with missing pixels.

    It is measured on second differences of three known neighbours, along rows and columns. Where
    the image is smooth, their root mean square over a block of 16x16 pixels is that of the noise;
    the 20% quantile of the blocks' variances is taken as the noise variance. This is less exact
    than `estimate_sigma`.

    Args:
        x: the image, on the [0, 1] scale; missing pixels may have any finite value.
        known: (H, W), True where a pixel is known.

    Raises:
        LocregError: when there are too few known neighbours.
    """
    pixels, where = as_array(x)[0], as_array(known).astype(bool)
    squares, counts = np.zeros_like(pixels), np.zeros_like(pixels[0])
    for axis in (1, 2):
        if pixels.shape[axis] < 3:
            continue
        before, here, after = _three_in_a_row(pixels, axis)
        usable = np.logical_and.reduce(_three_in_a_row(where, axis - 1))
        inner = tuple(slice(1, -1) if a == axis - 1 else slice(None) for a in range(2))
        second = before - 2 * here + after
        squares[:, *inner] += usable * second**2 / 6  # 6 = 1 + 4 + 1
        counts[inner] += usable
    counts = _sums_of_blocks(counts[None])[0]
    enough = counts >= _FEWEST_DIFFERENCES
    if not enough.any():
        raise LocregError("Too few neighbouring pixels are known to estimate sigma: give it.")
    variances = _sums_of_blocks(squares)[:, enough] / counts[enough]
    return math.sqrt(np.quantile(variances.astype(float), 0.2, axis=1).mean())


def _three_in_a_row(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """Each pixel but the first and last along an axis, between the one before and after it."""
    rows = np.moveaxis(x, axis, 0)
    before, here, after = (np.moveaxis(part, 0, axis) for part in (rows[:-2], rows[1:-1], rows[2:]))
    return before, here, after


def _sums_of_blocks(x: Array) -> Array:
    """Sums of x (C, H, W) over blocks of 16x16 pixels; those at the border may be smaller."""
    rows, columns = (np.arange(0, n, _BLOCK) for n in x.shape[1:])
    sums: Array = np.add.reduceat(np.add.reduceat(x, rows, axis=1), columns, axis=2)
    return sums


def _patches(x: Array, apart: int) -> Array:
    """The 8x8 patches of x (C, H, W), ``apart`` pixels from each other: (C, 64, N)."""
    windows = sliding_window_view(x, (_PATCH, _PATCH), axis=(1, 2))[:, ::apart, ::apart]
    return windows.transpose(0, 3, 4, 1, 2).reshape(len(x), _PATCH**2, -1)


def _isolated(x: Array) -> Array:
    """(1, H, W), True at pixels of x (C, H, W) that stand out from all eight neighbours.

    They do if they are away from them by more than `_FAR_AWAY` times the neighbours' range, which
    noise never is. Some rows at a time, since images may be large.
    """
    height = x.shape[1]
    found = np.empty((1, *x.shape[1:]), bool)
    for top in range(0, height, _ROWS):
        first, bottom = max(top - 1, 0), min(top + _ROWS, height)
        part = _isolated_rows(x[:, first : bottom + 1])
        found[0, top:bottom] = part[top - first : bottom - first]
    return found


def _isolated_rows(x: Array) -> Array:
    """(H, W) of `_isolated`, for a few rows."""
    highest, lowest = np.full_like(x, -np.inf), np.full_like(x, np.inf)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            if row or column:
                here, there = _overlap(x, row, column)
                np.maximum(highest[here], x[there], out=highest[here])
                np.minimum(lowest[here], x[there], out=lowest[here])
    distance = np.maximum(x - highest, lowest - x)
    found: Array = (distance > _FAR_AWAY * (highest - lowest) + _LEAST_DISTANCE).any(0)
    return found


def _overlap(x: Array, row: int, column: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where x (C, H, W) has a pixel that lies a row and a column further, and where that one is."""
    here, there = [slice(None)], [slice(None)]
    for step, length in zip((row, column), x.shape[1:], strict=True):
        here.append(slice(max(-step, 0), length - max(step, 0)))
        there.append(slice(max(step, 0), length - max(-step, 0)))
    return tuple(here), tuple(there)


def _with_noise(patches: Array, spoilt: Array) -> Array:
    """Those of the patches (C, 64, N) that are not constant, clipped for a tenth or spoilt (N,)."""
    constant = (patches.max(1) == patches.min(1)).all(0)
    clipped = ((patches == 0) | (patches == 1)).mean((0, 1)) > _MOST_CLIPPED
    kept = ~constant & ~clipped & ~spoilt
    # Where all is clipped, as with noise that is stronger than the image, the rest is too special.
    if kept.sum() < 2 * patches.shape[0] * patches.shape[1]:
        kept = ~constant
    return patches if kept.all() else np.compress(kept, patches, axis=2)  # in the same order


def _covariance_eigenvalues(patches: Array) -> NDArray[np.float64]:
    """Ascending eigenvalues of the covariance of patches (C, 64, N): (64 C,)."""
    samples = patches.reshape(-1, patches.shape[2])
    number = samples.shape[1]
    mean = samples.mean(1, keepdims=True, dtype=np.float64)
    total = np.zeros((mean.size, mean.size))
    for first in range(0, number, _TOGETHER):
        centred = samples[:, first : first + _TOGETHER] - mean
        total += centred @ centred.T
    eigenvalues = np.linalg.eigvalsh(total / (number - 1))
    return np.asarray(eigenvalues.clip(0), np.float64)


def _noise_variance(eigenvalues: NDArray[np.float64]) -> float:
    """The mean of the smallest eigenvalues, after dropping the largest until mean <= median."""
    for count in range(len(eigenvalues), 0, -1):
        smallest = eigenvalues[:count]
        if smallest.mean() <= np.median(smallest):
            break
    return float(smallest.mean())
