"""Images whose channels are not those of the regularizer: restored apart, or as copies.

The images are arrays, or tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from locreg.arrays import Array
from locreg.errors import LocregError
from locreg.regularizer.trained_regularizer import TrainedRegularizer
from locreg.restoration.result import Restoration, concatenated, joined


def restores_channels_apart(regularizer: TrainedRegularizer, y: Any) -> bool:
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


def conversion(
    regularizer: TrainedRegularizer, y: Any
) -> Callable[[Callable[[Any], Restoration], Any], Restoration]:
    """How images (B, C, H, W) are denoised whose channels are not those of the regularizer.

    Raises:
        LocregError: when the regularizer is not for images of so many channels.
    """
    if y.shape[1] == 1 and regularizer.takes_grey:
        return as_colour
    if restores_channels_apart(regularizer, y):
        return each_channel
    raise LocregError(
        f"The weights are for images of {regularizer.in_channels} channels, the image has "
        f"{y.shape[1]}."
    )


def like_channels(x: Any, y: Any, channels: Any) -> Any:
    """What expands to images y, converted as y was to the images ``channels``; x may be None."""
    if x is None:
        return None
    whole = expanded(x, y.shape)
    grey = len(channels) > len(y)
    return whole.reshape(channels.shape) if grey else expanded(whole, channels.shape)


def expanded(x: Any, shape: tuple[int, ...]) -> Any:
    """A view of x that repeats it; x may be None."""
    if x is None:
        return None
    return np.broadcast_to(x, shape) if isinstance(x, np.ndarray) else x.expand(shape)


def each_channel(restore: Callable[[Any], Restoration], y: Any) -> Restoration:
    """Restore the channels of images (B, C, H, W) as a batch of grey images (B C, 1, H, W)."""
    grey = restore(y.reshape(-1, 1, *y.shape[2:]))

    def in_colour(x: Any) -> Any:
        return None if x is None else x.reshape(y.shape[:2] + x.shape[2:])

    return replace(
        grey,
        image=in_colour(grey.image),
        observation=in_colour(grey.observation),
        observed=in_colour(grey.observed),
        fitted=in_colour(grey.fitted),
    )


def measured_apart(restore: Callable[[int, Array], Restoration], y: Array) -> Restoration:
    """Restore each channel of an image (1, C, H, W) by itself, with a noise level of its own."""
    channels = np.split(y, y.shape[1], axis=1)
    return joined([restore(number, channel) for number, channel in enumerate(channels)], axis=1)


def as_colour(restore: Callable[[Any], Restoration], y: Any) -> Restoration:
    """Restore grey images (B, 1, H, W) as colour images of three equal channels."""
    colour = restore(concatenated([y, y, y], axis=1))
    return replace(
        colour,
        image=colour.image.mean(axis=1, keepdims=True),
        observation=y,
        observed=None if colour.observed is None else colour.observed[:, :1],
    )
