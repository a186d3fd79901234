"""Images whose channels are not those of the regularizer: restored apart, or as copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from locreg.errors import LocregError
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.result import Restoration, joined


def restores_channels_apart(regularizer: LocalRegularizer, y: Tensor) -> bool:
    """Whether the images (B, C, H, W) are in colour and the regularizer is for grey images.

    Raises:
        LocregError: when the images are grey and the regularizer is for colour images.
    """
    if y.shape[1] == 1 and regularizer.in_channels == 3:
        raise LocregError(
            "The image is grey and the weights are for colour images: use denoise-gray or "
            "alr-gray, or train with channels 1."
        )
    return regularizer.in_channels == 1 and y.shape[1] > 1


def each_channel(restore: Callable[[Tensor], Restoration], y: Tensor) -> Restoration:
    """Restore the channels of images (B, C, H, W) as a batch of grey images (B C, 1, H, W)."""
    grey = restore(y.reshape(-1, 1, *y.shape[2:]))
    image, residual = (x.reshape(y.shape[:2] + x.shape[2:]) for x in (grey.image, grey.residual))
    return replace(grey, image=image, residual=residual)


def measured_apart(restore: Callable[[int, Tensor], Restoration], y: Tensor) -> Restoration:
    """Restore each channel of an image (1, C, H, W) by itself, with a noise level of its own."""
    channels = y.chunk(y.shape[1], dim=1)
    return joined([restore(number, channel) for number, channel in enumerate(channels)], dim=1)


def as_colour(restore: Callable[[Tensor], Restoration], y: Tensor) -> Restoration:
    """Restore grey images (B, 1, H, W) as colour images of three equal channels."""
    colour = restore(y.expand(-1, 3, -1, -1))
    image, residual = (x.mean(1, keepdim=True) for x in (colour.image, colour.residual))
    return replace(colour, image=image, residual=residual)
