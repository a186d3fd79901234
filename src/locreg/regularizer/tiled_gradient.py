"""Value and gradient of the sum of r over all patches of an image: the code that takes the time.

It does without autograd: a tile of scores is computed forward, its sum is propagated back by hand,
and the gradients of neighbouring tiles are added where their patches overlap. A tile's activations
stay in the processor's cache; only the padded image and the gradient need memory of the image's
size. The result does not depend on the tile size, up to the rounding of sums. For ridge critics
`fourier_gradient` computes the same faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from locreg.regularizer.activations import ACTIVATIONS, activate, lengths
from locreg.regularizer.borders import pad, pad_adjoint
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.fourier_gradient import TILE, RidgeTransform, is_ridge
from locreg.regularizer.layers import Layer
from locreg.regularizer.tiles import score_size, spans, tiles, window

_convolution_backward = torch.ops.aten.convolution_backward


def usual_tile(critic: PatchCritic, x: Tensor, precision: torch.dtype | None = None) -> int:
    """The tile side, in scores, at which `value_and_gradient` is fastest for images x."""
    if _by_transforms(critic, x, precision):
        return TILE
    return 1024 if x.is_cuda else 256


def _by_transforms(critic: PatchCritic, x: Tensor, precision: torch.dtype | None) -> bool:
    """Whether `fourier_gradient` is used."""
    return x.device.type == "cpu" and precision is None and is_ridge(critic)


@contextmanager
def _convolutions_in_float32(x: Tensor) -> Iterator[None]:
    """Let a GPU compute float32 convolutions in float32: by default it rounds to 10 bits."""
    if not x.is_cuda:
        yield
        return
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    usual = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = usual


def scores(
    critic: PatchCritic, x: Tensor, tile: int, precision: torch.dtype | None = None
) -> Tensor:
    """Scores (B, 1, H', W') of all patches of x (B, C, H, W) after padding, H' = ceil(H / stride).

    Arguments as for `value_and_gradient`.
    """
    padded = pad(x, critic.receptive_field)
    result = None
    for rows, columns, pixels in _tiles(critic, padded, tile):
        z = pixels
        with _convolutions_in_float32(x):
            for index, layer in enumerate(critic.layers):
                z = _activate(layer, _convolve(critic, index, z, precision))
        if result is None:
            result = x.new_empty((len(x), 1, *_score_size(critic, padded)))
        result[:, :, rows, columns] = z
    assert result is not None  # a padded image holds at least one patch
    return result


def value_and_gradient(
    critic: PatchCritic, x: Tensor, tile: int, precision: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Sum of all scores of each image, (B,) in float64, and its gradient, in the shape of x.

    Args:
        critic: r; its parameters and x must have the same dtype and device.
        x: images (B, C, H, W).
        tile: side of a tile, in scores.
        precision: dtype of the values between the layers; None: that of x.
    """
    field = critic.receptive_field
    padded = pad(x, field)
    value = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    gradient = torch.zeros_like(padded)
    of_window = _method(critic, padded, tile, precision)
    for image in range(len(x)):
        image_slice = slice(image, image + 1)
        for rows, columns, pixels in _tiles(critic, padded[image_slice], tile):
            with _convolutions_in_float32(x):
                tile_value, tile_gradient = of_window(pixels)
            value[image] += tile_value
            top, left = rows.start * critic.stride, columns.start * critic.stride
            height, width = pixels.shape[-2:]
            gradient[image_slice, :, top : top + height, left : left + width] += tile_gradient
    return value, pad_adjoint(gradient, x.shape[-2], x.shape[-1], field)


def _method(
    critic: PatchCritic, padded: Tensor, tile: int, precision: torch.dtype | None
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The fastest function from a window to the sum of its scores and the gradient of this sum."""
    if _by_transforms(critic, padded, precision):
        height, width = (
            max(span.stop - span.start for span in spans(length, tile)) + critic.receptive_field - 1
            for length in _score_size(critic, padded)
        )
        return RidgeTransform.of(critic, height, width).value_and_gradient
    return partial(_window_value_and_gradient, critic, precision=precision)


def _tiles(critic: PatchCritic, padded: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Each tile's rows and columns, and the window of the padded image that it depends on."""
    size = _score_size(critic, padded)
    for rows, columns in tiles(size, tile):
        of_rows, of_columns = (
            window(span, critic.receptive_field, critic.stride) for span in (rows, columns)
        )
        # Convolutions with many channels are a quarter faster in this memory format.
        pixels = padded[..., of_rows, of_columns]
        yield rows, columns, pixels.contiguous(memory_format=torch.channels_last)


def _score_size(critic: PatchCritic, padded: Tensor) -> tuple[int, int]:
    """Height and width of the score map of a padded image."""
    return score_size(padded.shape[-2:], critic.receptive_field, critic.stride)


def _weight(critic: PatchCritic, index: int) -> Tensor:
    weight: Tensor = critic.weights[index]
    return weight.contiguous(memory_format=torch.channels_last)


def _convolve(critic: PatchCritic, index: int, z: Tensor, precision: torch.dtype | None) -> Tensor:
    """The convolution of layer ``index``, rounded to ``precision``.

    The first layer gets the image unrounded, since rounding would lose its small differences.
    """
    stride, bias = critic.layers[index].stride, critic.bias(index)
    weight = _weight(critic, index).to(z.dtype)
    result = F.conv2d(z, weight, None if bias is None else bias.to(z.dtype), stride=stride)
    return result if precision is None else result.to(precision)


def _convolve_adjoint(critic: PatchCritic, index: int, signal: Tensor, z: Tensor) -> Tensor:
    """The adjoint of the convolution of layer ``index``, applied to a signal; z is its input."""
    stride = [critic.layers[index].stride] * 2
    gradient: Tensor = _convolution_backward(
        signal.to(z.dtype), z, _weight(critic, index).to(z.dtype), None,
        stride, [0, 0], [1, 1], False, [0, 0], 1, [True, False, False],
    )[0]  # fmt: skip
    return gradient


def _activate(layer: Layer, z: Tensor) -> Tensor:
    """The layer's activation of z, in place if possible."""
    in_place = ACTIVATIONS[layer.activation].in_place
    return activate(layer, z) if in_place is None else in_place.value(z)


def _window_value_and_gradient(
    critic: PatchCritic, pixels: Tensor, precision: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """Sum of the scores of one window (1, C, h, w), and the gradient of this sum."""
    z = pixels
    inputs: list[Tensor] = []
    slopes: list[Tensor | None] = []
    for index, layer in enumerate(critic.layers):
        inputs.append(z)
        z = _convolve(critic, index, z, precision)
        # The slope of a piecewise linear activation follows from its value, the next input.
        slopes.append(None if layer.piecewise_linear else _slope(layer, z))
        z = _activate(layer, z)
    value = z.sum(dtype=torch.float64)

    signal = torch.ones_like(z)
    for index in reversed(range(len(critic.layers))):
        layer, slope = critic.layers[index], slopes[index]
        in_place = ACTIVATIONS[layer.activation].in_place
        if in_place is not None:
            signal = in_place.times_slope(signal, z)
        elif slope is not None:
            signal = slope.mul_(_to_groups(signal, layer.group))
        signal = _convolve_adjoint(critic, index, signal, inputs[index])
        z = inputs[index]
    return value, signal


def _to_groups(signal: Tensor, group: int) -> Tensor:
    """Copy the signal of each group, one channel, to all channels of the group."""
    return signal if group == 1 else signal.repeat_interleave(group, 1)


def _slope(layer: Layer, z: Tensor) -> Tensor:
    """Derivative of a smooth activation at z, by each channel of z if it combines groups."""
    slope = ACTIVATIONS[layer.activation].slope
    if layer.group == 1:
        return slope(z)
    length = lengths(z, layer.group)
    return z * _to_groups(slope(length) / length, layer.group)
