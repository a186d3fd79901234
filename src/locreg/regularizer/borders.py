"""Mirroring of a tensor at its borders, and the adjoint of this operation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from locreg.regularizer.mirror import HALVING, mirror_indices


def pad(x: Tensor, field: int) -> Tensor:
    """Mirror x (..., H, W) at its borders: (..., H + field - 1, W + field - 1).

    The result has one window of side ``field`` for each pixel of x.
    """
    rows, columns = (_sources(n, field, x) for n in x.shape[-2:])
    return x.index_select(-2, rows).index_select(-1, columns)


def pad_adjoint(z: Tensor, height: int, width: int, field: int) -> Tensor:
    """The adjoint of `pad`: add each pixel of z to its source pixel.

    z is (..., height + field - 1, width + field - 1), and the result (..., height, width).
    """
    rows, columns = (_sources(n, field, z) for n in (height, width))
    lines = z.new_zeros((*z.shape[:-2], height, z.shape[-1])).index_add_(-2, rows, z)
    return lines.new_zeros((*z.shape[:-2], height, width)).index_add_(-1, columns, lines)


def halved(x: Tensor, *, periodic: bool = False) -> Tensor:
    """A x: the image x (B, C, H, W) at half the resolution, as a critic of several scales sees it.

    Each pixel is a mean of 4x4 pixels with the weights 1, 3, 3, 1 (over 8) along rows and columns.
    Only squares inside the image count, unless it is periodic: then the result is half as large.
    """
    line = x.new_tensor(HALVING)
    kernel = (line[:, None] * line).expand(x.shape[1], 1, -1, -1)
    if periodic:
        x = F.pad(x, (1, 1, 1, 1), mode="circular")
    return F.conv2d(x, kernel, stride=2, groups=x.shape[1])


def _sources(length: int, field: int, x: Tensor) -> Tensor:
    """The source pixels of a padded line, on the device of x."""
    return torch.from_numpy(mirror_indices(length, field)).to(x.device)
