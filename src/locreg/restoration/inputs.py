"""Arrays and tensors as people have them, made into observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from locreg.arrays import Array, as_array
from locreg.errors import LocregError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from locreg.regularizer.local_regularizer import LocalRegularizer

Observation: TypeAlias = "Tensor | NDArray[Any]"

_MOST_CHANNELS = 4  # a last axis so short holds channels, not columns


def as_observation(y: Observation, regularizer: LocalRegularizer) -> Tensor:
    """y as a tensor without gradient, in the precision of the regularizer.

    Raises:
        UsageError: when y is no array or tensor, or does not hold floats.
    """
    import torch

    _check_floats(y)
    if isinstance(y, np.ndarray):
        y = torch.from_numpy(_native(y))
    return y.detach().to(next(regularizer.critic.parameters()).dtype)


def as_images(y: Observation, regularizer: LocalRegularizer) -> Tensor:
    """y as images (B, C, H, W).

    Raises:
        UsageError: as `as_observation`.
        LocregError: when y has another shape.
    """
    images = as_observation(y, regularizer)
    _check_shape(y)
    return images


def as_image_arrays(y: Observation) -> Array:
    """y as images (B, C, H, W), an array in single or double precision.

    Raises:
        UsageError, LocregError: as `as_images`.
    """
    _check_floats(y)
    if not isinstance(y, np.ndarray):
        y = y.detach().float() if y.element_size() < 4 else y.detach()
    images = _native(as_array(y))
    _check_shape(images)
    return images if images.dtype == np.float64 else images.astype(np.float32, copy=False)


def check_finite(y: Observation) -> None:
    """Refuse NaN and infinite values.

    Raises:
        LocregError: when y holds any.
    """
    if not np.isfinite(as_array(y)).all():
        raise LocregError("The image holds NaN or infinite pixels: replace them first.")


def _native(y: NDArray[Any]) -> Array:
    """In the byte order of this machine, and without negative strides."""
    return np.ascontiguousarray(y, dtype=y.dtype.newbyteorder("="))


def _check_floats(y: Any) -> None:
    if isinstance(y, np.ndarray):
        floats, kind = y.dtype.kind == "f", y.dtype.name
    elif hasattr(y, "is_floating_point"):
        floats, kind = y.is_floating_point(), str(y.dtype).removeprefix("torch.")
    else:
        raise UsageError(f"y must be a tensor or a numpy array, got {type(y).__name__}.")
    if floats:
        return
    divisor = {"uint8": 255, "uint16": 65535}.get(kind)
    way = f", such as y / {divisor}" if divisor else ""
    raise UsageError(f"y holds values of type {kind}: give floats, where 1 is white{way}.")


def _check_shape(y: Observation) -> None:
    shape = tuple(y.shape)
    if len(shape) == 4 and min(shape[1:]) == 0:
        raise LocregError(f"The image has no pixels: its shape is {shape}.")
    if len(shape) == 4 and not (shape[3] <= _MOST_CHANNELS < shape[1]):
        return
    turn = "transpose" if isinstance(y, np.ndarray) else "permute"
    ways = {2: "y[None, None]", 3: "y[None]", 4: f"y.{turn}(0, 3, 1, 2)"}
    if len(shape) == 3 and shape[-1] <= _MOST_CHANNELS:
        ways[3] = f"y.{turn}(2, 0, 1)[None]"
    way = f", such as {ways[len(shape)]}" if len(shape) in ways else ""
    raise LocregError(f"The image must have the shape (B, C, H, W), got {shape}: give it so{way}.")
