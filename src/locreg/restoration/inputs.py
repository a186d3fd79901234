"""Arrays and tensors as people have them, made into observations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locreg.errors import LocregError, UsageError
from locreg.regularizer.local_regularizer import LocalRegularizer

_MOST_CHANNELS = 4  # a last axis so short holds channels, not columns

Observation = Tensor | NDArray[Any]


def as_observation(y: Observation, regularizer: LocalRegularizer) -> Tensor:
    """y as a tensor without gradient, in the precision of the regularizer.

    Raises:
        UsageError: when y is no array or tensor, or does not hold floats.
    """
    if isinstance(y, np.ndarray):
        if y.dtype.kind == "f":
            # In the byte order of this machine, and without negative strides.
            y = torch.from_numpy(np.ascontiguousarray(y, dtype=y.dtype.newbyteorder("=")))
        else:
            raise UsageError(_not_floats(y.dtype.name))
    if not isinstance(y, Tensor):
        raise UsageError(f"y must be a tensor or a numpy array, got {type(y).__name__}.")
    if not y.is_floating_point():
        raise UsageError(_not_floats(str(y.dtype).removeprefix("torch.")))
    return y.detach().to(next(regularizer.critic.parameters()).dtype)


def as_images(y: Observation, regularizer: LocalRegularizer) -> Tensor:
    """y as images (B, C, H, W).

    Raises:
        UsageError: as `as_observation`.
        LocregError: when y has another shape.
    """
    images = as_observation(y, regularizer)
    shape = tuple(images.shape)
    if images.dim() == 4 and not (shape[3] <= _MOST_CHANNELS < shape[1]):
        return images
    ways = {
        2: "y[None, None]",
        3: "y.permute(2, 0, 1)[None]" if shape[-1] <= _MOST_CHANNELS else "y[None]",
        4: "y.permute(0, 3, 1, 2)",
    }
    way = f", such as torch.as_tensor(y){ways[len(shape)][1:]}" if len(shape) in ways else ""
    raise LocregError(f"The image must have the shape (B, C, H, W), got {shape}: give it so{way}.")


def check_finite(y: Tensor) -> None:
    """Refuse NaN and infinite values.

    Raises:
        LocregError: when y holds any.
    """
    if not torch.isfinite(y).all():
        raise LocregError("The image holds NaN or infinite pixels: replace them first.")


def _not_floats(kind: str) -> str:
    divisor = {"uint8": 255, "uint16": 65535}.get(kind)
    way = f", such as y / {divisor}" if divisor else ""
    return f"y holds values of type {kind}: give floats, where 1 is white{way}."
