"""Value and gradient of the sum of r over all patches of an image: the hot path.

No autograd: a tile of scores is computed forward, its sum is propagated back by hand, and the
gradients of neighbouring tiles are added where their patches overlap. A tile's activations stay in
the processor's cache; of the image's size are only its padded copy and the gradient. The result
does not depend on the tile size, up to the rounding of sums. Ridge critics have a faster way to the
same (`ridge_engine`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from locreg.critic import MCP_ROUNDING, Layer, PatchCritic, lengths
from locreg.ridge_engine import TILE, RidgeTransform, is_ridge

_convolution_backward = torch.ops.aten.convolution_backward
_threshold_backward = torch.ops.aten.threshold_backward.grad_input


def mirror_indices(length: int, field: int) -> Tensor:
    """Source pixel of each pixel of a line padded for a receptive field: (length + field - 1,).

    The mirror lies between pixels (... 1 0 | 0 1 2 ...). With an odd field every pixel then lies,
    copies included, in exactly ``field`` windows, at the border as in the middle. Lines shorter
    than the padding are mirrored repeatedly.
    """
    position = torch.arange(length + field - 1) - (field - 1) // 2
    position = position.remainder(2 * length)
    return torch.minimum(position, 2 * length - 1 - position)


def pad(x: Tensor, field: int) -> Tensor:
    """Mirror x (..., H, W) at its borders, so that a window of ``field`` fits around each pixel."""
    rows, columns = (mirror_indices(n, field).to(x.device) for n in x.shape[-2:])
    return x.index_select(-2, rows).index_select(-1, columns)


def pad_adjoint(z: Tensor, height: int, width: int, field: int) -> Tensor:
    """The adjoint of `pad`: add each copy's value (..., H + field - 1, ...) to its source pixel."""
    rows, columns = (mirror_indices(n, field).to(z.device) for n in (height, width))
    lines = z.new_zeros((*z.shape[:-2], height, z.shape[-1])).index_add_(-2, rows, z)
    return lines.new_zeros((*z.shape[:-2], height, width)).index_add_(-1, columns, lines)


def usual_tile(critic: PatchCritic, x: Tensor, precision: torch.dtype | None = None) -> int:
    """The side of the tiles that `value_and_gradient` of images x is fastest with."""
    if _by_transforms(critic, x, precision):
        return TILE
    return 1024 if x.is_cuda else 256


def _by_transforms(critic: PatchCritic, x: Tensor, precision: torch.dtype | None) -> bool:
    return x.device.type == "cpu" and precision is None and is_ridge(critic)


def scores(
    critic: PatchCritic, x: Tensor, tile: int, precision: torch.dtype | None = None
) -> Tensor:
    """Scores (B, 1, H', W') of all patches of the padded image x (B, C, H, W)."""
    padded = pad(x, critic.receptive_field)
    result = None
    for rows, columns, window in _tiles(critic, padded, tile):
        z = window
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
    """Sum of all scores of each image, (B,) in float64, and its gradient, of the shape of x.

    Args:
        critic: r; its parameters and x must share type and device.
        x: images (B, C, H, W).
        tile: side of a tile, in scores.
        precision: of what lies between the first and the last layer; None is that of x.
    """
    field = critic.receptive_field
    padded = pad(x, field)
    value = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    gradient = torch.zeros_like(padded)
    of_window = _method(critic, padded, tile, precision)
    for image in range(len(x)):
        image_slice = slice(image, image + 1)
        for rows, columns, window in _tiles(critic, padded[image_slice], tile):
            tile_value, tile_gradient = of_window(window)
            value[image] += tile_value
            top, left = rows.start * critic.stride, columns.start * critic.stride
            height, width = window.shape[-2:]
            gradient[image_slice, :, top : top + height, left : left + width] += tile_gradient
    return value, pad_adjoint(gradient, x.shape[-2], x.shape[-1], field)


def _method(
    critic: PatchCritic, padded: Tensor, tile: int, precision: torch.dtype | None
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What gives the sum of the scores of one window, and its gradient, fastest."""
    if _by_transforms(critic, padded, precision):
        height, width = (
            max(span.stop - span.start for span in _spans(length, tile))
            + critic.receptive_field
            - 1
            for length in _score_size(critic, padded)
        )
        return RidgeTransform.of(critic, height, width).value_and_gradient
    return partial(_window_value_and_gradient, critic, precision=precision)


def _score_size(critic: PatchCritic, padded: Tensor) -> tuple[int, int]:
    height, width = (
        (length - critic.receptive_field) // critic.stride + 1 for length in padded.shape[-2:]
    )
    return height, width


def _tiles(critic: PatchCritic, padded: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows and columns of scores, and the window of the padded image that they depend on."""
    height, width = _score_size(critic, padded)
    field, stride = critic.receptive_field, critic.stride
    for rows in _spans(height, tile):
        for columns in _spans(width, tile):
            window = padded[
                ...,
                rows.start * stride : (rows.stop - 1) * stride + field,
                columns.start * stride : (columns.stop - 1) * stride + field,
            ]
            # The convolutions of wide layers are a quarter faster with the channels last.
            yield rows, columns, window.contiguous(memory_format=torch.channels_last)


def _spans(length: int, longest: int) -> Iterator[slice]:
    """Cut a length into the fewest spans of at most ``longest``, as equal as possible."""
    count = -(-length // longest)
    for index in range(count):
        yield slice(index * length // count, (index + 1) * length // count)


def _weight(critic: PatchCritic, index: int) -> Tensor:
    weight: Tensor = critic.weights[index]
    return weight.contiguous(memory_format=torch.channels_last)


def _convolve(critic: PatchCritic, index: int, z: Tensor, precision: torch.dtype | None) -> Tensor:
    """Layer ``index`` without its activation; what comes out has the wanted precision.

    The first layer sees the image as it is: rounded, its small differences would be lost.
    """
    stride, bias = critic.layers[index].stride, critic.bias(index)
    weight = _weight(critic, index).to(z.dtype)
    found = F.conv2d(z, weight, None if bias is None else bias.to(z.dtype), stride=stride)
    return found if precision is None else found.to(precision)


def _convolve_adjoint(critic: PatchCritic, index: int, signal: Tensor, z: Tensor) -> Tensor:
    """The adjoint of layer ``index``'s convolution, for an input like z."""
    stride = [critic.layers[index].stride] * 2
    gradient: Tensor = _convolution_backward(
        signal.to(z.dtype), z, _weight(critic, index).to(z.dtype), None,
        stride, [0, 0], [1, 1], False, [0, 0], 1, [True, False, False],
    )[0]  # fmt: skip
    return gradient


def _activate(layer: Layer, z: Tensor) -> Tensor:
    return z.relu_() if layer.activation == "relu" else layer.activate(z)


def _window_value_and_gradient(
    critic: PatchCritic, window: Tensor, precision: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """Sum of the scores of one window (1, C, h, w), and the gradient of this sum."""
    z = window
    inputs: list[Tensor] = []
    slopes: list[Tensor | None] = []
    for index, layer in enumerate(critic.layers):
        inputs.append(z)
        z = _convolve(critic, index, z, precision)
        # Where a ReLU is active its output tells, and an identity needs nothing.
        smooth = layer.activation not in ("relu", "identity")
        slopes.append(_slope(layer, z) if smooth else None)
        z = _activate(layer, z)
    value = z.sum(dtype=torch.float64)

    signal = torch.ones_like(z)
    for index in reversed(range(len(critic.layers))):
        slope = slopes[index]
        if slope is not None:
            signal = slope.mul_(_to_groups(signal, critic.layers[index].group))
        elif critic.layers[index].activation == "relu":
            _threshold_backward(signal, z, 0, grad_input=signal)
        signal = _convolve_adjoint(critic, index, signal, inputs[index])
        z = inputs[index]
    return value, signal


def _to_groups(signal: Tensor, group: int) -> Tensor:
    """What each channel of a group gets from the one that comes out of it."""
    return signal if group == 1 else signal.repeat_interleave(group, 1)


def _slope(layer: Layer, z: Tensor) -> Tensor:
    """Derivative of a smooth activation at z; of a group's activation by each of its channels."""
    if layer.group == 1:
        return _slope_at(layer.activation, z)
    length = lengths(z, layer.group)
    return z * _to_groups(_slope_at(layer.activation, length) / length, layer.group)


def _slope_at(activation: str, z: Tensor) -> Tensor:
    if activation == "silu":
        logistic = torch.sigmoid(z)
        return logistic * (1 + z * (1 - logistic))
    if activation == "softplus":
        return torch.sigmoid(z)
    if activation == "elu":
        return torch.where(z > 0, torch.ones_like(z), torch.exp(z))
    if activation == "tanh":
        return 1 - torch.tanh(z).square()
    if activation == "mcp":
        return (z / MCP_ROUNDING).clamp(-1, 1) - z.clamp(-1, 1)
    raise AssertionError(f"no derivative of {activation}")
