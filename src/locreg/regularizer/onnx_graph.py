"""The sum of a critic's scores and its gradient as one ONNX graph of convolutions.

Forward, each layer is a convolution and an activation. Backward, the signal, first 1 for every
score, is multiplied by the slope of each activation and goes through the adjoint of each
convolution. With step 1 that is a convolution with flipped kernels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from locreg.engine.graph import Graph, tensor
from locreg.regularizer.layers import MCP_ROUNDING, Layer
from locreg.regularizer.mirror import HALVING
from locreg.regularizer.stored_critic import StoredCritic

_LEAST_SQUARE = 1e-20


def gradient_model(critic: StoredCritic) -> bytes:
    """A model that computes the weighted sum of the scores of a window, and its gradient.

    Inputs: ``window`` (1, C, H, W), ``weights`` (H', W') of its scores and, if the critic is
    noise-conditioned, ``level``, one number.
    Outputs: ``value`` (1,) in float64, and ``gradient`` (1, C, H, W).
    """
    graph = Graph()
    level = "level" if critic.noise_conditioned else None
    value, gradient = add_gradient(graph, critic, "window", level, "weights")
    graph.add("Identity", value, name="value")
    graph.add("Identity", gradient, name="gradient")
    image = (1, critic.in_channels, "height", "width")
    inputs = [tensor("window", *image), tensor("weights", "rows", "columns")]
    inputs += [tensor("level")] if level else []
    outputs = [tensor("value", 1, kind=TensorProto.DOUBLE), tensor("gradient", *image)]
    return graph.model(inputs, outputs)


def scores_model(critic: StoredCritic) -> bytes:
    """A model that computes the scores (1, 1, H', W') of all patches of a window (1, C, H, W)."""
    graph = Graph()
    z = _input_of_layers(graph, critic, "window", None)
    for index, layer in enumerate(critic.layers):
        z, _ = _activate(graph, layer, _convolve(graph, critic, index, z))
    graph.add("Identity", z, name="scores")
    window = tensor("window", 1, critic.in_channels, "height", "width")
    return graph.model([window], [tensor("scores", 1, 1, "rows", "columns")])


def add_gradient(
    graph: Graph,
    critic: StoredCritic,
    window: str,
    level: str | None,
    weights: str,
) -> tuple[str, str]:
    """Add the sum of the scores of a window, weighted by ``weights`` (H', W'), and its gradient."""
    z, slopes = _input_of_layers(graph, critic, window, level), list[_TimesSlope]()
    for index, layer in enumerate(critic.layers):
        z, times_slope = _activate(graph, layer, _convolve(graph, critic, index, z))
        slopes.append(times_slope)
    axes = graph.constant([1, 2, 3], np.int64)
    score = graph.add("Cast", graph.add("Mul", z, weights), to=TensorProto.DOUBLE)
    value = graph.add("ReduceSum", score, axes, keepdims=0)
    signal = graph.add("Unsqueeze", weights, graph.constant([0, 1], np.int64))
    for index in reversed(range(len(critic.layers))):
        signal = _convolve_adjoint(graph, critic, index, slopes[index](signal))
    for _ in range(critic.halvings):
        signal = _halve(graph, critic.in_channels, "ConvTranspose", signal)
    return value, signal


_TimesSlope = Callable[[str], str]  # adds the product of a signal and the slope of an activation


def _input_of_layers(graph: Graph, critic: StoredCritic, window: str, level: str | None) -> str:
    """Add the halvings of a window, and the channel of the noise level, if there is one."""
    z = window
    for _ in range(critic.halvings):
        z = _halve(graph, critic.in_channels, "Conv", z)
    if level is None:
        return z
    # The level could be a part of the first bias, with fewer products. But ONNX Runtime computes a
    # layer faster if its bias is a constant.
    size = graph.add("Shape", z, start=2, end=4)
    size = graph.add("Concat", graph.constant([1, 1], np.int64), size, axis=0)
    return graph.add("Concat", z, graph.add("Expand", level, size), axis=1)


def _halve(graph: Graph, channels: int, operation: str, values: str) -> str:
    """Add A, which halves the resolution, as a ``Conv``, or its adjoint as a ``ConvTranspose``."""
    kernel = graph.constant(np.broadcast_to(np.outer(HALVING, HALVING), (channels, 1, 4, 4)))
    return graph.add(operation, values, kernel, strides=[2, 2], group=channels)


def _convolve(graph: Graph, critic: StoredCritic, index: int, z: str) -> str:
    layer, bias = critic.layers[index], critic.biases[index]
    inputs = [z, graph.constant(critic.weights[index])]
    if bias is not None:
        inputs.append(graph.constant(bias))
    return graph.add("Conv", *inputs, strides=[layer.stride] * 2)


def _convolve_adjoint(graph: Graph, critic: StoredCritic, index: int, signal: str) -> str:
    layer, weight = critic.layers[index], critic.weights[index]
    if index == 0:  # without the channel of the noise level
        weight = weight[:, : critic.in_channels]
    if layer.stride > 1:
        kernel, steps = graph.constant(weight), [layer.stride] * 2
        return graph.add("ConvTranspose", signal, kernel, strides=steps)
    flipped = graph.constant(weight.swapaxes(0, 1)[:, :, ::-1, ::-1])
    return graph.add("Conv", signal, flipped, pads=[layer.kernel - 1] * 4)


def _activate(graph: Graph, layer: Layer, t: str) -> tuple[str, _TimesSlope]:
    """Add an activation of t, and how a signal is multiplied by its slope."""
    add, constant = graph.add, graph.constant

    def times(slope: str) -> _TimesSlope:
        return lambda signal: add("Mul", signal, slope)

    match layer.activation:
        case "identity":
            return t, lambda signal: signal
        case "relu":
            z = add("Relu", t)
            return z, times(add("Sign", z))
        case "silu":  # z = t s with the logistic s, and its slope s (1 - z + t), to 1e-7 |t|
            logistic = add("Sigmoid", t)
            z = add("Mul", t, logistic)
            rest = add("Add", _one_minus(graph, z, layer.channels), t)
            return z, times(add("Mul", logistic, rest))
        case "softplus":
            return add("Softplus", t), times(add("Sigmoid", t))
        case "elu":
            z = add("Elu", t)
            return z, times(add("Add", add("Min", z, constant(0.0)), constant(1.0)))
        case "tanh":
            z = add("Tanh", t)
            return z, times(add("Sub", constant(1.0), add("Mul", z, z)))
        case _:
            return _activate_mcp(graph, layer, t)


def _one_minus(graph: Graph, x: str, channels: int) -> str:
    """Add 1 - x, in the form that keeps the values in ONNX Runtime's order for convolutions.

    A subtraction would make it reorder them before and after, for a tenth of the time. In this form
    a sum that follows is free.
    """
    ones = np.ones(channels)
    minus, one, nought = (graph.constant(values) for values in (-ones, ones, 0 * ones))
    return graph.add("BatchNormalization", x, minus, one, nought, one, epsilon=0.0)


def _activate_mcp(graph: Graph, layer: Layer, t: str) -> tuple[str, _TimesSlope]:
    """The rounded minimax concave penalty of t, or of the lengths of groups of its channels."""
    add, constant = graph.add, graph.constant
    members = np.kron(np.eye(layer.outputs), np.ones((1, layer.group)))[..., None, None]
    length = t
    if layer.group > 1:
        squares = add("Conv", add("Mul", t, t), constant(members))
        length = add("Sqrt", add("Max", squares, constant(_LEAST_SQUARE)))
    size, half, rounding = add("Abs", length), constant(0.5), constant(MCP_ROUNDING)

    def part(highest: str) -> str:  # m (size - m / 2), where m is the size up to the highest
        limited = add("Min", size, highest)
        return add("Mul", limited, add("Sub", size, add("Mul", limited, half)))

    def clipped(values: str) -> str:
        return add("Clip", values, constant(-1.0), constant(1.0))

    z = add("Sub", add("Div", part(rounding), rounding), part(constant(1.0)))
    slope = add("Sub", clipped(add("Div", length, rounding)), clipped(length))
    if layer.group == 1:
        return z, lambda signal: add("Mul", signal, slope)
    to_group = constant(members.swapaxes(0, 1))

    def times_slope(signal: str) -> str:
        of_group = add("Conv", add("Mul", signal, add("Div", slope, length)), to_group)
        return add("Mul", t, of_group)

    return z, times_slope
