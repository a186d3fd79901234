"""Arrays of numpy, which restoring computes with, and tensors of PyTorch, which users may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]


def as_array(x: Tensor | Array) -> Array:
    """An array with the values of an array or tensor; not a copy, unless x is on a GPU."""
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    if str(x.dtype) == "torch.bfloat16":  # which numpy does not know
        x = x.float()
    array: Array = x.detach().cpu().numpy()
    return array
