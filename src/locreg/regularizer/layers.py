"""The layers of a critic as plain data: nothing here computes, so nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from locreg.errors import LocregError

_PIECEWISE_LINEAR = ("identity", "relu")
ACTIVATION_NAMES = (*_PIECEWISE_LINEAR, "silu", "softplus", "elu", "tanh", "mcp")

MCP_ROUNDING = math.exp(-4)  # width of the rounding of mcp at 0; see `mcp` in `activations`


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution without padding, then an activation.

    Attributes:
        channels: number of output channels.
        kernel: side of the square kernel, in pixels.
        stride: step between two outputs, in input pixels.
        activation: one of ``identity, relu, silu, softplus, elu, tanh, mcp``.
        bias: whether each output channel has a constant added.
        zero_mean: whether training keeps the mean of each filter at 0, in every input channel.
        nonnegative: whether training keeps the weights at or above 0.
        group: number of neighbouring channels that the activation combines into one: it is applied
            to their Euclidean norm. Only ``mcp`` supports more than 1.

    Raises:
        LocregError: when a number is below 1, the activation is unknown, or the group does not fit
            the activation or the number of channels.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    bias: bool = True
    zero_mean: bool = False
    nonnegative: bool = False
    group: int = 1

    def __post_init__(self) -> None:
        if min(self.channels, self.kernel, self.stride, self.group) < 1:
            raise LocregError(f"A layer needs positive channels, kernel, stride and group: {self}.")
        if self.activation not in ACTIVATION_NAMES:
            raise LocregError(
                f"Unknown activation {self.activation!r}: choose one of "
                f"{', '.join(ACTIVATION_NAMES)}."
            )
        if self.group > 1 and (self.activation != "mcp" or self.channels % self.group):
            raise LocregError(f"Groups need mcp, and channels must be a multiple of group: {self}.")

    @property
    def outputs(self) -> int:
        """Number of channels after the activation."""
        return self.channels // self.group

    @property
    def piecewise_linear(self) -> bool:
        """Whether the activation is linear between its kinks."""
        return self.activation in _PIECEWISE_LINEAR


def standard_layers(
    widths: Sequence[int] = (32, 32, 32, 32, 24, 16), activation: str = "relu"
) -> tuple[Layer, ...]:
    """3x3 layers of these widths, then a linear 3x3 layer to one channel: r of Prost et al. (2021).

    The default sees 15x15 pixels. The paper counts six layers for 15x15 (section 3.1), but six see
    13x13, and a last ReLU would forbid the negative values of its Figure 2; so the seventh layer is
    linear. It has no bias, since a constant added to r does not change the criterion (7).

    Raises:
        LocregError: as `Layer`.
    """
    hidden = tuple(Layer(channels=width, activation=activation) for width in widths)
    return (*hidden, Layer(channels=1, activation="identity", bias=False))


def describe(
    layers: Sequence[Layer], in_channels: int, *, noise_conditioned: bool
) -> dict[str, Any]:
    """The architecture of a critic as plain data, for `described`."""
    return {
        "in_channels": in_channels,
        "noise_conditioned": noise_conditioned,
        "layers": [asdict(layer) for layer in layers],
    }


def described(description: Mapping[str, Any]) -> tuple[tuple[Layer, ...], int, bool]:
    """Layers, number of input channels, and whether the critic depends on a noise level.

    Raises:
        KeyError, TypeError: when the description is incomplete.
        LocregError: when a layer is not valid.
    """
    layers = tuple(Layer(**layer) for layer in description["layers"])
    # Older files do not say whether a critic depends on a noise level.
    return layers, description["in_channels"], description.get("noise_conditioned", False)


def receptive_field(layers: Sequence[Layer]) -> int:
    """Side of the patch that one score depends on, in pixels."""
    field, jump = 1, 1
    for layer in layers:
        field += (layer.kernel - 1) * jump
        jump *= layer.stride
    return field


def total_stride(layers: Sequence[Layer]) -> int:
    """Distance between two neighbouring scores, in pixels."""
    return math.prod(layer.stride for layer in layers)
