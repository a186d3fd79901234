"""Deblur, inpaint, upscale: restoration with deepinv's operators, made for photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from locreg.calibration import estimate_sigma, estimate_sigma_of_known
from locreg.errors import LocregError, UsageError
from locreg.kernels import check_kernel
from locreg.objective import LinearOperator
from locreg.operators import (
    blur_circular,
    blur_unknown_border,
    check_kernel_fits,
    downsampling,
    inpainting,
)
from locreg.options import ANTIALIASING, SolverOptions
from locreg.regularizer import LocalRegularizer
from locreg.restoration import (
    Lam,
    Restoration,
    each_channel,
    restore,
    restores_channels_apart,
)
from locreg.solvers import OnStep

Sigma = float | Literal["auto"] | None


def deblur(
    y: Tensor,
    regularizer: LocalRegularizer,
    kernel: NDArray[np.float32],
    *,
    border: Literal["unknown", "circular"] = "unknown",
    sigma: Sigma = "auto",
    lam: Lam = None,
    solver: SolverOptions | None = None,
    on_step: OnStep | None = None,
) -> Restoration:
    """Minimise 1/2 |k * x - y|^2 + lam R(x) for a known kernel k.

    Args:
        y: blurred images (B, C, H, W) in [0, 1].
        kernel: k (h, w), its sides odd, its sum 1; convolved, not correlated.
        border: ``"unknown"`` estimates also what lies beyond the border of y, as a photograph
            needs; ``"circular"`` takes y for wrapped around.

    Other arguments and errors: see `locreg.restore`. ``sigma="auto"`` estimates it from y: blur
    leaves hardly any signal in the highest frequencies, and white noise stays.
    """
    _check_images(y)
    check_kernel(kernel)
    rows, columns = (n // 2 for n in kernel.shape) if border == "unknown" else (0, 0)

    def invert(y: Tensor) -> Restoration:
        if border == "circular":
            shape = (y.shape[1], y.shape[2], y.shape[3])
            operator: LinearOperator = blur_circular(kernel, shape, y.device)
        else:
            check_kernel_fits(kernel, *y.shape[-2:])
            operator = blur_unknown_border(kernel, y.device)
        return restore(
            y,
            regularizer,
            operator,
            sigma=sigma,
            estimate=estimate_sigma,
            lam=lam,
            solver=solver,
            start=F.pad(y, (columns, columns, rows, rows), mode="replicate"),
            on_step=on_step,
        )

    found = _fit_channels(invert, regularizer, y)
    height, width = y.shape[-2:]
    image = found.image[..., rows : rows + height, columns : columns + width]
    return replace(found, image=image)


def inpaint(
    y: Tensor,
    regularizer: LocalRegularizer,
    known: Tensor,
    *,
    sigma: Sigma = "auto",
    lam: Lam = None,
    solver: SolverOptions | None = None,
    on_step: OnStep | None = None,
) -> Restoration:
    """Minimise 1/2 |m (x - y)|^2 + lam R(x): fill the pixels where the mask m is 0.

    Args:
        y: images (B, C, H, W) in [0, 1]; what they hold at missing pixels is not used.
        known: m (H, W), True or above 0 where a pixel is known.

    Other arguments and errors: see `locreg.restore`.
    """
    _check_images(y)
    if known.dim() != 2:
        raise LocregError(f"known must have the shape (H, W), got {tuple(known.shape)}.")
    known = known.to(y.device) > 0

    def invert(y: Tensor) -> Restoration:
        operator = inpainting(known, (y.shape[1], y.shape[2], y.shape[3]), y.device)
        y = torch.where(known, y, 0)
        return restore(
            y,
            regularizer,
            operator,
            sigma=sigma,
            estimate=lambda image: estimate_sigma_of_known(image, known),
            lam=lam,
            solver=solver,
            start=fill(y, known),
            observed=known,
            on_step=on_step,
        )

    return _fit_channels(invert, regularizer, y)


def upscale(
    y: Tensor,
    regularizer: LocalRegularizer,
    factor: int = 2,
    *,
    antialiasing: float = ANTIALIASING,
    sigma: Sigma = "auto",
    lam: Lam = None,
    solver: SolverOptions | None = None,
    on_step: OnStep | None = None,
) -> Restoration:
    """Minimise 1/2 |S G x - y|^2 + lam R(x): G a Gaussian antialiasing, S every factor-th pixel.

    Args:
        y: small images (B, C, H, W) in [0, 1].
        factor: how many times larger the result is.
        antialiasing: standard deviation of G, in pixels of the small image. Where G is too wide,
            edges get rims; where it is too narrow, they stay a little soft.

    Other arguments and errors: see `locreg.restore`.
    """
    if factor < 2:
        raise UsageError(f"factor must be a whole number of at least 2, got {factor}.")
    _check_images(y)
    height, width = (n * factor for n in y.shape[-2:])

    def invert(y: Tensor) -> Restoration:
        return restore(
            y,
            regularizer,
            downsampling(factor, antialiasing, (y.shape[1], height, width), y.device),
            sigma=sigma,
            estimate=estimate_sigma,
            lam=lam,
            solver=solver,
            start=F.interpolate(y, size=(height, width), mode="bicubic", align_corners=False),
            on_step=on_step,
        )

    return _fit_channels(invert, regularizer, y)


def _check_images(y: Tensor) -> None:
    if y.dim() != 4:
        raise LocregError(f"The images must have the shape (B, C, H, W), got {tuple(y.shape)}.")


def _fit_channels(
    invert: Callable[[Tensor], Restoration], regularizer: LocalRegularizer, y: Tensor
) -> Restoration:
    """invert(y), channel by channel where colour images meet a regularizer for grey ones."""
    if restores_channels_apart(regularizer, y):
        return each_channel(invert, y)
    return invert(y)


def fill(y: Tensor, known: Tensor) -> Tensor:
    """Fill missing pixels with averages of the known ones around them, as near as there are any.

    From coarse to fine: the mean of the known pixels in squares of 2, 4, 8 ... pixels. It is where
    inpainting starts from.
    """
    weight = (known > 0).to(y).expand(1, 1, *y.shape[-2:])
    return _fill(y * weight, weight)


def _fill(y: Tensor, weight: Tensor) -> Tensor:
    if not (weight == 0).any() or max(y.shape[-2:]) == 1:
        return y
    coarse = _fill(*_halved(y, weight))
    smooth = F.interpolate(coarse, size=y.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(weight > 0, y, smooth)


def _halved(y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the known pixels of each 2x2 square, and whether there was one."""
    total = F.avg_pool2d(y * weight, 2, ceil_mode=True)
    share = F.avg_pool2d(weight, 2, ceil_mode=True)
    return total / share.clamp_min(1e-12), (share > 0).to(weight)
