"""Which pixels a mirrored image repeats, and the weights that halve a resolution."""

from __future__ import annotations

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
