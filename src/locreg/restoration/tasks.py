"""Deblur, inpaint and upscale photographs, with deepinv's operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from locreg.arrays import as_array
from locreg.degradation.deepinv_operators import (
    blur_circular,
    blur_unknown_border,
    check_kernel_fits,
    downsampling,
    inpainting,
)
from locreg.degradation.kernels import check_kernel
from locreg.degradation.operators import LinearOperator
from locreg.errors import LocregError, UsageError
from locreg.images.fill import fill
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.batch import each_image
from locreg.restoration.channels import each_channel, restores_channels_apart
from locreg.restoration.find_noise import highest_of, level_for_inversion
from locreg.restoration.inputs import Observation, as_images, check_finite
from locreg.restoration.options import ANTIALIASING, Border, RestoreOptions
from locreg.restoration.restore import restore_alike
from locreg.restoration.result import Restoration
from locreg.solvers.solution import OnStep


def deblur(
    y: Observation,
    regularizer: LocalRegularizer,
    kernel: NDArray[np.float32],
    options: RestoreOptions = RestoreOptions(),
    *,
    border: Border = "unknown",
    on_step: OnStep | None = None,
) -> Restoration:
    """Minimise 1/2 |k * x - y|^2 + lam R(x) for a known kernel k.

    Args:
        y: blurred images (B, C, H, W) in [0, 1].
        regularizer: R.
        kernel: k (h, w), with odd sides and sum 1; the blur is a convolution, not a correlation.
        options: see `locreg.restore`. Estimating sigma works for blurred images too: blur leaves
            hardly any signal in the highest frequencies, but noise stays.
        border: ``"unknown"`` also estimates the scene beyond the border of y, as photographs need;
            ``"circular"`` assumes that y wraps around.
        on_step: see `locreg.restore`.

    Raises:
        LocregError: when the kernel or the images have the wrong shape or values, or as for
            `locreg.restore`.
    """
    y = as_images(y, regularizer)
    check_kernel(kernel)
    rows, columns = (n // 2 for n in kernel.shape) if border == "unknown" else (0, 0)

    def invert(y: Tensor, options: RestoreOptions) -> Restoration:
        if border == "circular":
            shape = (y.shape[1], y.shape[2], y.shape[3])
            operator: LinearOperator = blur_circular(kernel, shape, y.device)
        else:
            check_kernel_fits(kernel, *y.shape[-2:])
            operator = blur_unknown_border(kernel, y.device)
        with_border = restore_alike(
            y,
            regularizer,
            operator,
            options,
            estimate=_level_for_inversion,
            start=F.pad(y, (columns, columns, rows, rows), mode="replicate"),
            on_step=on_step,
        )
        height, width = y.shape[-2:]
        image = with_border.image[..., rows : rows + height, columns : columns + width]
        return replace(with_border, image=image)

    return _each_image(invert, regularizer, y, options)


def inpaint(
    y: Observation,
    regularizer: LocalRegularizer,
    known: Tensor,
    options: RestoreOptions = RestoreOptions(),
    *,
    on_step: OnStep | None = None,
) -> Restoration:
    """Minimise 1/2 |m (x - y)|^2 + lam R(x): fill the pixels where the mask m is 0.

    Args:
        y: images (B, C, H, W) in [0, 1]; their values at missing pixels are ignored.
        regularizer: R.
        known: m (H, W), True or above 0 where a pixel is known.
        options, on_step: see `locreg.restore`.

    Raises:
        LocregError: when the mask has the wrong shape or marks no pixel as known, or as for
            `locreg.restore`.
    """
    y = as_images(y, regularizer)
    if known.dim() != 2:
        raise LocregError(f"known must have the shape (H, W), got {tuple(known.shape)}.")
    known = known.to(y.device) > 0
    y = torch.where(known, y, 0)

    def invert(y: Tensor, options: RestoreOptions) -> Restoration:
        operator = inpainting(known, (y.shape[1], y.shape[2], y.shape[3]), y.device)
        return restore_alike(
            y,
            regularizer,
            operator,
            options,
            estimate=lambda image: _level_for_inversion(image, known),
            start=filled(y, known),
            observed=known,
            on_step=on_step,
        )

    return _each_image(invert, regularizer, y, options)


def upscale(
    y: Observation,
    regularizer: LocalRegularizer,
    factor: int = 2,
    options: RestoreOptions = RestoreOptions(),
    *,
    antialiasing: float = ANTIALIASING,
    on_step: OnStep | None = None,
) -> Restoration:
    """Minimise 1/2 |S G x - y|^2 + lam R(x): G a Gaussian antialiasing, S every factor-th pixel.

    Args:
        y: small images (B, C, H, W) in [0, 1].
        regularizer: R.
        factor: how many times larger the result is.
        antialiasing: standard deviation of G, in pixels of the small image, from 0.1 to 1. If G is
            too wide, edges get rims; if it is too narrow, edges stay a little soft.
        options, on_step: see `locreg.restore`.

    Raises:
        UsageError: when factor is below 2 or antialiasing is not from 0.1 to 1.
        LocregError: as for `locreg.restore`.
    """
    check_factor(factor)
    y = as_images(y, regularizer)
    height, width = (n * factor for n in y.shape[-2:])

    def invert(y: Tensor, options: RestoreOptions) -> Restoration:
        return restore_alike(
            y,
            regularizer,
            downsampling(factor, antialiasing, (y.shape[1], height, width), y.device),
            options,
            estimate=_level_for_inversion,
            start=F.interpolate(y, size=(height, width), mode="bicubic", align_corners=False),
            on_step=on_step,
        )

    return _each_image(invert, regularizer, y, options)


def check_factor(factor: int) -> None:
    """Check that the factor enlarges.

    Raises:
        UsageError: when it is below 2.
    """
    if factor < 2:
        raise UsageError(f"factor must be a whole number of at least 2, got {factor}.")


def _each_image(
    invert: Callable[[Tensor, RestoreOptions], Restoration],
    regularizer: LocalRegularizer,
    y: Tensor,
    options: RestoreOptions,
) -> Restoration:
    """Invert images, and the channels one by one if the regularizer is for grey images only.

    What highlights such as the sun have above white is left out, and added to the result: no
    training has seen such values, which would do harm far around them.
    """
    check_finite(y)

    def of_images(which: slice, options: RestoreOptions) -> Restoration:
        highest = highest_of(as_array(y[which]), options.level)
        dimmed = y[which] if highest is None else y[which].clamp_max(highest)
        if restores_channels_apart(regularizer, y):
            found = each_channel(lambda channels: invert(channels, options), dimmed)
        else:
            found = invert(dimmed, options)
        if highest is None:
            return found
        excess, size = y[which] - dimmed, found.image.shape[-2:]
        grown = F.interpolate(excess, size=size, mode="bilinear", align_corners=False)
        return replace(found, image=found.image + grown)

    return each_image(of_images, len(y), options, regularizer)


def filled(y: Tensor, known: Tensor) -> Tensor:
    """`locreg.images.fill.fill` on tensors: the start of inpainting."""
    return torch.from_numpy(fill(as_array(y), as_array(known))).to(y)


def _level_for_inversion(y: Tensor, known: Tensor | None = None) -> float:
    return level_for_inversion(as_array(y), None if known is None else as_array(known))
