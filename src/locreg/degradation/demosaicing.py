"""A Bayer mosaic, and three ways to find the two colours that each of its pixels lacks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

#: From a mosaic (H, W) and its phase to an image (3, H, W).
Demosaicing = Callable[[Tensor, tuple[int, int]], Tensor]

_LINE = torch.tensor([0.5, 1.0, 0.5])
_BILINEAR = torch.outer(_LINE, _LINE)  # for red and blue; green uses its four neighbours alone
_CROSS = torch.tensor([[0.0, 0.25, 0.0], [0.25, 1.0, 0.25], [0.0, 0.25, 0.0]])
# Malvar, He, Cutler, *High-quality linear interpolation for demosaicing*, 2004, figure 2: green at
# red or blue; a colour at green in its own row; in its own column; at the other colour.
_GREEN = torch.tensor(
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]
) / 8.0  # fmt: skip
_IN_ROW = torch.tensor(
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
) / 8.0  # fmt: skip
_DIAGONAL = torch.tensor(
    [[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]]
) / 16.0  # fmt: skip


def mosaic(colours: Tensor, phase: tuple[int, int]) -> Tensor:
    """The one colour (H, W) that each pixel of an image (3, H, W) has behind its filter."""
    return (colours * _masks(colours, phase)).sum(0)


def _masks(x: Tensor, phase: tuple[int, int]) -> Tensor:
    """(3, H, W), 1 where the filter is red, green, blue."""
    rows = (torch.arange(x.shape[-2]) + phase[0]).remainder(2)[:, None]
    columns = (torch.arange(x.shape[-1]) + phase[1]).remainder(2)[None]
    red, blue = (1 - rows) * (1 - columns), rows * columns
    return torch.stack([red, 1 - red - blue, blue]).to(x.dtype)


def _filter(x: Tensor, kernel: Tensor) -> Tensor:
    """x (..., H, W) filtered by a kernel of 3x3 or 5x5, mirrored at the border."""
    reach = kernel.shape[0] // 2
    lines = x.reshape(-1, 1, *x.shape[-2:])
    padded = F.pad(lines, (reach,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.to(x)[None, None]).reshape(x.shape)


def bilinear(raw: Tensor, phase: tuple[int, int]) -> Tensor:
    """The mean of the nearest pixels of each colour."""
    red, green, blue = raw * _masks(raw, phase)
    return torch.stack([_filter(red, _BILINEAR), _filter(green, _CROSS), _filter(blue, _BILINEAR)])


def gradient_corrected(raw: Tensor, phase: tuple[int, int]) -> Tensor:
    """Linear filters of 5x5 pixels: Malvar, He, Cutler 2004."""
    red, green, blue = _masks(raw, phase)
    rows_of_red = red.amax(1, keepdim=True)  # 1 in the rows that have red pixels
    across, along = _filter(raw, _IN_ROW), _filter(raw, _IN_ROW.T)
    diagonal = _filter(raw, _DIAGONAL)
    at_green_red = torch.where(rows_of_red > 0, across, along)
    at_green_blue = torch.where(rows_of_red > 0, along, across)
    return torch.stack(
        [
            red * raw + green * at_green_red + blue * diagonal,
            green * raw + (1 - green) * _filter(raw, _GREEN),
            blue * raw + green * at_green_blue + red * diagonal,
        ]
    )


def edge_directed(raw: Tensor, phase: tuple[int, int]) -> Tensor:
    """Green along the direction of least change, then bilinear colour differences.

    Hamilton, Adams, *Adaptive color plane interpolation in single sensor color electronic camera*,
    US patent 5,629,734 (1997, expired).
    """
    red, green, blue = _masks(raw, phase)
    first, second = (torch.tensor(k) for k in ([0.0, -0.5, 0, 0.5, 0], [-1.0, 0, 2.0, 0, -1.0]))
    mean = torch.tensor([0, 0.5, 0, 0.5, 0])
    estimates, changes = [], []
    for is_row in (True, False):
        slope, bend, middle = (_along(raw, line, is_row) for line in (first, second, mean))
        estimates.append(middle + bend / 4)
        changes.append(2 * slope.abs() + bend.abs())
    difference = changes[0] - changes[1]
    directed = torch.where(difference < 0, estimates[0], estimates[1])
    directed = torch.where(difference == 0, (estimates[0] + estimates[1]) / 2, directed)
    full_green = green * raw + (1 - green) * directed
    differences = [_filter(mask * (raw - full_green), _BILINEAR) for mask in (red, blue)]
    return torch.stack([full_green + differences[0], full_green, full_green + differences[1]])


def _along(x: Tensor, line: Tensor, is_row: bool) -> Tensor:
    """x (H, W) filtered by a line of 5 along rows or columns."""
    kernel = torch.zeros(5, 5)
    kernel[2] = line
    return _filter(x, kernel if is_row else kernel.T)


DEMOSAICINGS: tuple[Demosaicing, ...] = (bilinear, gradient_corrected, edge_directed)
