"""The patch critic r: a fully convolutional network without padding, described as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from locreg.errors import LocregError

MCP_ROUNDING = math.exp(-4)
_LEAST_SQUARE = 1e-20


def mcp(t: Tensor) -> Tensor:
    """The minimax concave penalty (Zhang 2010), rounded off at 0: about |t| - t^2/2, 1/2 from 1 on.

    Its slope rises to 1 within +-MCP_ROUNDING, and falls to 0 at +-1 (Goujon, Neumayer, Unser 2024,
    *Learning weakly convex regularizers for convergent image-reconstruction algorithms*).
    """
    size = t.abs()
    steep, flat = size.clamp(max=MCP_ROUNDING), size.clamp(max=1)
    return steep * (size - steep / 2) / MCP_ROUNDING - flat * (size - flat / 2)


def lengths(t: Tensor, group: int) -> Tensor:
    """Root of the sum of squares over groups of channels: (B, C, H, W) to (B, C / group, H, W)."""
    if group == 1:
        return t
    # Clamped, since the root has no derivative at 0; there mcp's is 0.
    groups = t.reshape(len(t), -1, group, *t.shape[2:])
    return groups.square().sum(2).clamp_min(_LEAST_SQUARE).sqrt()


ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": F.relu,
    "silu": F.silu,
    "softplus": F.softplus,
    "elu": F.elu,
    "tanh": torch.tanh,
    "mcp": mcp,
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution without padding, then an activation.

    Attributes:
        channels: number of output channels.
        kernel: side of the square kernel, in pixels.
        stride: step between two outputs, in input pixels.
        activation: one of ``identity, relu, silu, softplus, elu, tanh, mcp``.
        bias: whether a constant is added per output channel.
        zero_mean: whether training keeps the mean of every filter at 0, for each input channel.
        nonnegative: whether training keeps the weights at or above 0.
        group: neighbouring channels that the activation takes together: it sees their length, the
            root of the sum of their squares, and one channel comes out of them.
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
        if self.activation not in ACTIVATIONS:
            raise LocregError(
                f"Unknown activation {self.activation!r}: choose one of {', '.join(ACTIVATIONS)}."
            )
        if self.group > 1 and (self.activation != "mcp" or self.channels % self.group):
            raise LocregError(f"mcp alone takes groups, of which channels is a multiple: {self}.")

    @property
    def outputs(self) -> int:
        """Number of channels behind the activation."""
        return self.channels // self.group

    def activate(self, t: Tensor) -> Tensor:
        """The activation of t (B, channels, H, W), the layer's convolution."""
        activated: Tensor = ACTIVATIONS[self.activation](lengths(t, self.group))
        return activated


def standard_layers(
    widths: Sequence[int] = (32, 32, 32, 32, 24, 16), activation: str = "relu"
) -> tuple[Layer, ...]:
    """3x3 layers of these widths and a linear one to a single channel; six and it see 15x15.

    Prost et al. (2021), section 3.1, count six layers for 15x15; six see 13x13, and a last ReLU
    would forbid the negative values of their Figure 2, hence the linear seventh. It has no bias:
    the criterion (7) does not change when a constant is added to r.
    """
    hidden = tuple(Layer(channels=width, activation=activation) for width in widths)
    return (*hidden, Layer(channels=1, activation="identity", bias=False))


class PatchCritic(nn.Module):
    """r: patches to scores. Low means clean, high means degraded.

    Applied to an image (B, C, H, W) in [0, 1] it returns the scores (B, 1, H', W') of the patches
    of side ``receptive_field``, ``stride`` pixels apart: H' = (H - receptive_field) // stride + 1.

    A noise-conditioned critic r(z; sigma) takes a noise level as one more input channel, everywhere
    sigma. At one noise level this adds a constant behind the first layer, and the critic is one
    like any other: see `at`.

    Args:
        layers: the layers, first to last; the last one has a single channel.
        in_channels: 1 for grey images, 3 for colour.
        noise_conditioned: whether r depends on a noise level.
        generator: source of the initial weights (He et al. 2015); the default is seed 0.
    """

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        *,
        in_channels: int = 3,
        noise_conditioned: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = standard_layers() if layers is None else tuple(layers)
        self.in_channels = in_channels
        self.noise_conditioned = noise_conditioned
        if not self.layers or self.layers[-1].channels != 1:
            raise LocregError("The last layer of a critic must have exactly one channel.")
        if noise_conditioned and not self.layers[0].bias:
            raise LocregError("The first layer of a noise-conditioned critic must have a bias.")
        generator = generator or torch.Generator().manual_seed(0)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterDict()
        fan_channels = in_channels + noise_conditioned
        for index, layer in enumerate(self.layers):
            shape = (layer.channels, fan_channels, layer.kernel, layer.kernel)
            scale = math.sqrt(2 / (fan_channels * layer.kernel**2))
            self.weights.append(nn.Parameter(scale * torch.randn(shape, generator=generator)))
            if layer.bias:
                self.biases[str(index)] = nn.Parameter(torch.zeros(layer.channels))
            fan_channels = layer.outputs

    @property
    def receptive_field(self) -> int:
        """Side of the patch that one score sees, in pixels, derived from the layers."""
        field, jump = 1, 1
        for layer in self.layers:
            field += (layer.kernel - 1) * jump
            jump *= layer.stride
        return field

    @property
    def stride(self) -> int:
        """Distance between two neighbouring scores, in pixels."""
        return math.prod(layer.stride for layer in self.layers)

    @property
    def piecewise_linear(self) -> bool:
        """Whether every activation is linear between its kinks (then r has no curvature)."""
        return all(layer.activation in ("relu", "identity") for layer in self.layers)

    def bias(self, index: int) -> Tensor | None:
        """The bias of layer ``index``, or None where it has none."""
        return self.biases[str(index)] if self.layers[index].bias else None

    @torch.no_grad()
    def project(self) -> None:
        """Bring the weights to the nearest ones that keep what the layers ask for."""
        for layer, weight in zip(self.layers, self.weights, strict=True):
            if layer.zero_mean:
                weight.sub_(weight.mean((2, 3), keepdim=True))
            if layer.nonnegative:
                weight.clamp_(min=0)

    @torch.no_grad()
    def at_contrast(self, contrast: float) -> PatchCritic:
        """The critic r(a z) / a of a contrast a: its gradient at z is that of r at a z.

        Raises:
            LocregError: when the last layer has an activation, which r / a would not pass through.
        """
        if self.layers[-1].activation != "identity":
            raise LocregError("A contrast is for critics whose last layer has no activation.")
        other = PatchCritic.from_description(self.describe()).to(self.weights[0])
        other.load_state_dict(self.state_dict())
        other.weights[0][:, : self.in_channels].mul_(contrast)  # not the noise level's
        other.weights[-1].div_(contrast)
        last = self.bias(len(self.layers) - 1)
        if last is not None:
            other.biases[str(len(self.layers) - 1)].div_(contrast)
        return other

    @torch.no_grad()
    def at(self, sigma: float) -> PatchCritic:
        """The critic r(.; sigma) at one noise level; it shares what it can with this one.

        Raises:
            LocregError: when r does not depend on a noise level.
        """
        self._check_conditioned(True)
        fixed = PatchCritic(self.layers, in_channels=self.in_channels)
        image, level = self.weights[0].split([self.in_channels, 1], dim=1)
        fixed.weights = nn.ParameterList([nn.Parameter(image.contiguous()), *self.weights[1:]])
        fixed.biases = nn.ParameterDict(dict(self.biases))
        fixed.biases["0"] = nn.Parameter(self.biases["0"] + sigma * level.sum((1, 2, 3)))
        return fixed

    @torch.no_grad()
    def of_grey(self) -> PatchCritic:
        """The noise-conditioned critic r((z, z, z); sqrt(3) sigma) / sqrt(3) of grey patches z.

        Three equal channels with independent noise of level sqrt(3) sigma average to a grey image
        with noise of level sigma, so that one gradient step on the average, of the length that
        belongs to its own level, is the step of the three channels.

        Raises:
            LocregError: when r does not depend on a noise level.
        """
        self._check_conditioned(True)
        grey = PatchCritic(self.layers, in_channels=1, noise_conditioned=True)
        grey.to(self.weights[0])
        grey.load_state_dict(self.state_dict() | {"weights.0": grey.weights[0]})
        channels, level = self.weights[0].split([self.in_channels, 1], dim=1)
        ratio = math.sqrt(self.in_channels)
        grey.weights[0].copy_(torch.cat([channels.sum(1, keepdim=True), ratio * level], dim=1))
        grey.weights[-1].div_(ratio)
        return grey

    @torch.no_grad()
    def begin_with(self, other: PatchCritic) -> None:
        """Take the weights of a critic of the same layers, or of narrower ones: the same r then.

        The channels that ``other`` lacks keep their weights, but no channel that it has, nor the
        score, sees them: training lets them in (Chen, Goodfellow, Shlens, *Net2Net*, 2016).

        Raises:
            LocregError: when the layers differ in more than their number of channels, or those of
                ``other`` are wider.
        """
        same = [replace(layer, channels=layer.group) for layer in self.layers] == [
            replace(layer, channels=layer.group) for layer in other.layers
        ]
        inputs = (self.in_channels, self.noise_conditioned)
        pairs = zip(self.layers, other.layers, strict=False)
        fits = all(mine.channels >= theirs.channels for mine, theirs in pairs)
        if not same or inputs != (other.in_channels, other.noise_conditioned) or not fits:
            raise LocregError("A critic begins with weights of the same layers or narrower ones.")
        for weight, known in zip(self.weights, other.weights, strict=True):
            rows, columns = known.shape[:2]
            weight[:rows, columns:] = 0
            weight[:rows, :columns] = known
        for index, bias in self.biases.items():
            bias[: len(other.biases[index])] = other.biases[index]

    def forward(self, z: Tensor, sigma: Tensor | None = None) -> Tensor:
        """Scores of all patches of z (B, C, H, W), at least as large as the receptive field.

        Args:
            z: images or patches.
            sigma: (B,) noise levels, for a noise-conditioned critic.
        """
        self._check_conditioned(sigma is not None)
        if sigma is not None:
            z = torch.cat([z, sigma.view(-1, 1, 1, 1).expand_as(z[:, :1])], dim=1)
        for index, layer in enumerate(self.layers):
            z = F.conv2d(z, self.weights[index], self.bias(index), stride=layer.stride)
            z = layer.activate(z)
        return z

    def _check_conditioned(self, level_is_given: bool) -> None:
        if level_is_given and not self.noise_conditioned:
            raise LocregError("This critic does not depend on a noise level: give none.")
        if self.noise_conditioned and not level_is_given:
            raise LocregError("This critic depends on the noise level: give it, or use .at(sigma).")

    def describe(self) -> dict[str, Any]:
        """The architecture as plain data, from which `from_description` builds it again."""
        return {
            "in_channels": self.in_channels,
            "noise_conditioned": self.noise_conditioned,
            "layers": [asdict(layer) for layer in self.layers],
        }

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> PatchCritic:
        """A critic of the described architecture, its weights not yet trained."""
        layers = tuple(Layer(**layer) for layer in description["layers"])
        return cls(
            layers,
            in_channels=description["in_channels"],
            noise_conditioned=description.get("noise_conditioned", False),  # not in older files
        )
