"""Fill missing pixels with the averages of known ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from locreg.arrays import Array


def fill(y: Array, known: Array) -> Array:
    """Fill the missing pixels of images y (B, C, H, W), where known (H, W) is 0: a rough guess.

    A missing pixel gets the mean of the known pixels in the smallest square of 2, 4, 8, ... pixels
    that holds any, interpolated between squares.
    """
    weight = (known > 0).astype(y.dtype)
    return _fill(y * weight, weight)


def _fill(y: Array, weight: Array) -> Array:
    if (weight > 0).all() or max(y.shape[-2:]) == 1:
        return y
    total, share = (_sums_of_squares(x) for x in (y * weight, weight))
    coarse = _fill(total / np.maximum(share, 1e-12), (share > 0).astype(y.dtype))
    filled: Array = np.where(weight > 0, y, _enlarged(coarse, y.shape[-2], y.shape[-1]))
    return filled


def _sums_of_squares(x: Array) -> Array:
    """Sums of x (..., H, W) over squares of 2x2 pixels; those at the border may be smaller."""
    for axis in (-2, -1):
        x = np.add.reduceat(x, np.arange(0, x.shape[axis], 2), axis=axis)
    return x


def _enlarged(x: Array, height: int, width: int) -> Array:
    """x (..., h, w) interpolated linearly to (..., H, W); pixels beyond the border are repeated."""
    for axis, length in ((-2, height), (-1, width)):
        first, second, share = _between(x.shape[axis], length)
        share = share.astype(x.dtype).reshape((-1, 1) if axis == -2 else (-1,))
        x = (1 - share) * x.take(first, axis) + share * x.take(second, axis)
    return x


def _between(short: int, long: int) -> tuple[Array, Array, NDArray[np.float64]]:
    """For each place of a long line: its neighbours on a short one, and the second one's share."""
    place = ((np.arange(long) + 0.5) * short / long - 0.5).clip(0, short - 1)
    first = np.floor(place).astype(int)
    return first, np.minimum(first + 1, short - 1), place - first
