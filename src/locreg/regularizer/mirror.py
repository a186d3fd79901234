"""Mirroring of arrays at their borders, its adjoint, and the weights that halve a resolution.

`locreg.regularizer.borders` does the same to tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HALVING = (1 / 8, 3 / 8, 3 / 8, 1 / 8)  # weights of the pixels of a line, at half the resolution


def mirror_indices(length: int, field: int) -> NDArray[np.int64]:
    """Source pixel of each pixel of a padded line: (length + field - 1,).

    The mirror lies between pixels (... 1 0 | 0 1 2 ...). With an odd receptive ``field`` every
    pixel, counted with its copies, then lies in exactly ``field`` windows, also at the border.
    Lines shorter than the padding are mirrored repeatedly.
    """
    position = (np.arange(length + field - 1) - (field - 1) // 2) % (2 * length)
    return np.minimum(position, 2 * length - 1 - position)


def mirrored(x: NDArray[Any], field: int) -> NDArray[Any]:
    """Mirror x (..., H, W) at its borders: (..., H + field - 1, W + field - 1).

    The result has one window of side ``field`` for each pixel of x.
    """
    rows, columns = (mirror_indices(n, field) for n in x.shape[-2:])
    return np.ascontiguousarray(x[..., rows, :][..., columns])


def mirrored_adjoint(z: NDArray[Any], height: int, width: int, field: int) -> NDArray[Any]:
    """The adjoint of `mirrored`: add each pixel of z to its source pixel.

    z is (..., height + field - 1, width + field - 1), and the result (..., height, width).
    """
    lines = _folded(z.swapaxes(-1, -2), width, field).swapaxes(-1, -2)
    return np.ascontiguousarray(_folded(lines, height, field))


def _folded(z: NDArray[Any], length: int, field: int) -> NDArray[Any]:
    """Add each row of z (..., length + field - 1, n) to its source row: (..., length, n)."""
    start = (field - 1) // 2
    result = z[..., start : start + length, :].copy()
    sources = mirror_indices(length, field)
    for row in (*range(start), *range(start + length, len(sources))):
        result[..., sources[row], :] += z[..., row, :]
    return result
