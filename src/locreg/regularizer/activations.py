"""The nonlinearities of a critic: a table of their values and slopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from locreg.regularizer.layers import MCP_ROUNDING, Layer

_LEAST_SQUARE = 1e-20
_threshold_backward = torch.ops.aten.threshold_backward.grad_input


@dataclass(frozen=True)
class InPlace:
    """A piecewise linear activation, computed in place.

    Its slope follows from its value, so the backward pass needs nothing else.

    Attributes:
        value: overwrites its argument z with f(z).
        times_slope: given (signal, f(z)), overwrites the signal with signal times f'(z).
    """

    value: Callable[[Tensor], Tensor]
    times_slope: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """An activation f, applied element by element.

    Attributes:
        value: f(z), differentiable by autograd.
        slope: f'(z).
        in_place: the in-place form of a piecewise linear f; None for other f.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    in_place: InPlace | None = None


def mcp(t: Tensor) -> Tensor:
    """The minimax concave penalty psi (Zhang 2010), rounded off at 0, of each element of t.

        psi'(t) = clamp(t / MCP_ROUNDING, -1, 1) - clamp(t, -1, 1),    psi(0) = 0

    It is about |t| - t^2/2 up to |t| = 1, and constant, about 1/2, beyond. The rounding is that of
    Goujon, Neumayer and Unser, *Learning weakly convex regularizers for convergent
    image-reconstruction algorithms*, 2024.
    """
    size = t.abs()
    steep, flat = size.clamp(max=MCP_ROUNDING), size.clamp(max=1)
    return steep * (size - steep / 2) / MCP_ROUNDING - flat * (size - flat / 2)


def _mcp_slope(t: Tensor) -> Tensor:
    return (t / MCP_ROUNDING).clamp(-1, 1) - t.clamp(-1, 1)


def _silu_slope(z: Tensor) -> Tensor:
    logistic = torch.sigmoid(z)
    return logistic * (1 + z * (1 - logistic))


def _elu_slope(z: Tensor) -> Tensor:
    return torch.where(z > 0, torch.ones_like(z), torch.exp(z))


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square()


def _relu_slope(z: Tensor) -> Tensor:
    return (z > 0).to(z)


def _relu_times_slope(signal: Tensor, value: Tensor) -> Tensor:
    result: Tensor = _threshold_backward(signal, value, 0, grad_input=signal)
    return result


def _unchanged(z: Tensor, *_: Tensor) -> Tensor:
    return z


ACTIVATIONS = {
    "identity": Activation(_unchanged, torch.ones_like, InPlace(_unchanged, _unchanged)),
    "relu": Activation(F.relu, _relu_slope, InPlace(torch.relu_, _relu_times_slope)),
    "silu": Activation(F.silu, _silu_slope),
    "softplus": Activation(F.softplus, torch.sigmoid),
    "elu": Activation(F.elu, _elu_slope),
    "tanh": Activation(torch.tanh, _tanh_slope),
    "mcp": Activation(mcp, _mcp_slope),
}


def activate(layer: Layer, t: Tensor) -> Tensor:
    """The layer's activation of t (B, channels, H, W), the convolution: (B, outputs, H, W)."""
    return ACTIVATIONS[layer.activation].value(lengths(t, layer.group))


def lengths(t: Tensor, group: int) -> Tensor:
    """The Euclidean norm of each group of channels: (B, C, H, W) to (B, C / group, H, W).

    With a group of 1 this is t itself, with its sign.
    """
    if group == 1:
        return t
    # Clamped, since the root has no derivative at 0, where the slope of mcp is 0.
    groups = t.reshape(len(t), -1, group, *t.shape[2:])
    return groups.square().sum(2).clamp_min(_LEAST_SQUARE).sqrt()
