"""EXIF orientations: pixels as a file stores them, and as viewers turn and flip them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _transposed(x: Array) -> Array:
    return np.swapaxes(x, -2, -1)


# What a viewer does with the pixels (..., H, W), by the code of EXIF 2.32, table 6.
_SEEN: dict[int, Callable[[Array], Array]] = {
    1: lambda x: x,
    2: lambda x: x[..., :, ::-1],
    3: lambda x: x[..., ::-1, ::-1],
    4: lambda x: x[..., ::-1, :],
    5: _transposed,
    6: lambda x: _transposed(x)[..., :, ::-1],
    7: lambda x: _transposed(x)[..., ::-1, ::-1],
    8: lambda x: _transposed(x)[..., ::-1, :],
}
_INVERSE = {6: 8, 8: 6}  # the others are their own inverse


def as_seen(x: Array, orientation: int) -> Array:
    """Stored pixels (..., H, W) as viewers show them."""
    return np.ascontiguousarray(_SEEN[orientation](x))


def as_stored(x: Array, orientation: int) -> Array:
    """Seen pixels (..., H, W) as a file with this orientation stores them."""
    return as_seen(x, _INVERSE.get(orientation, orientation))
