"""The patch critic r: a fully convolutional network without padding, described by plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from locreg.arrays import as_array
from locreg.errors import LocregError
from locreg.regularizer.activations import activate
from locreg.regularizer.layers import (
    Layer,
    describe,
    described,
    receptive_field,
    standard_layers,
    total_stride,
)
from locreg.regularizer.stored_critic import StoredCritic, check_layers, check_linear_end


class PatchCritic(nn.Module):
    """r, which gives each patch a score: low means clean, high means degraded.

    Applied to an image (B, C, H, W) in [0, 1], r returns the scores (B, 1, H', W') of the patches
    of side ``receptive_field``, ``stride`` pixels apart: H' = (H - receptive_field) // stride + 1.

    A noise-conditioned critic r(z; sigma) has one more input channel, which holds the noise level
    sigma everywhere. For a fixed sigma this only changes the bias of the first layer, so `at`
    returns an ordinary critic.

    Prost et al. (2021), section 3.1.

    Args:
        layers: the layers, first to last; the last one has a single channel.
        in_channels: 1 for grey images, 3 for colour.
        noise_conditioned: whether r depends on a noise level.
        generator: source of the initial weights (He et al. 2015); by default one with seed 0.

    Raises:
        LocregError: when the last layer has not exactly one output, or the first layer of a
            noise-conditioned critic has no bias.
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
        check_layers(self.layers, noise_conditioned=noise_conditioned)
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
    def scales(self) -> tuple[PatchCritic, ...]:
        """This critic alone: see `MultiscaleCritic.scales`."""
        return (self,)

    def parts(self) -> tuple[PatchCritic, ...]:
        """This critic alone: see `MultiscaleCritic.parts`."""
        return (self,)

    @property
    def receptive_field(self) -> int:
        """Side of the patch that one score depends on, in pixels."""
        return receptive_field(self.layers)

    @property
    def stride(self) -> int:
        """Distance between two neighbouring scores, in pixels."""
        return total_stride(self.layers)

    @property
    def piecewise_linear(self) -> bool:
        """Whether every activation is linear between its kinks, so that r has no curvature."""
        return all(layer.piecewise_linear for layer in self.layers)

    def bias(self, index: int) -> Tensor | None:
        """The bias (channels,) of layer ``index``, or None if the layer has none."""
        return self.biases[str(index)] if self.layers[index].bias else None

    @torch.no_grad()
    def project(self) -> None:
        """Replace the weights by the nearest that satisfy ``zero_mean`` and ``nonnegative``."""
        for layer, weight in zip(self.layers, self.weights, strict=True):
            if layer.zero_mean:
                weight.sub_(weight.mean((2, 3), keepdim=True))
            if layer.nonnegative:
                weight.clamp_(min=0)

    def coarsened(self) -> PatchCritic:
        """The critic 4 r(A z), where A halves the resolution: see `StoredCritic.coarsened`.

        Raises:
            LocregError: when the last layer has an activation other than ``identity``.
        """
        return PatchCritic.of(self.stored().coarsened()).to(self.weights[0])

    def stored(self) -> StoredCritic:
        """This critic as a file holds it."""
        arrays = {name: as_array(tensor) for name, tensor in self.state_dict().items()}
        return StoredCritic.of(self.describe(), arrays)

    @classmethod
    def of(cls, stored: StoredCritic) -> PatchCritic:
        """The critic that a file holds, or that was made of one."""
        stored = stored.without_halvings()
        critic = cls(
            stored.layers,
            in_channels=stored.in_channels,
            noise_conditioned=stored.noise_conditioned,
        )
        tensors = {name: torch.from_numpy(array) for name, array in stored.arrays().items()}
        critic.to(tensors["weights.0"].dtype).load_state_dict(tensors)
        return critic

    def silence(self) -> None:
        """Make all scores 0, by the weights of the last layer."""
        self._scale_scores(0)

    @torch.no_grad()
    def _scale_scores(self, factor: float) -> None:
        """Multiply the scores by a factor, by the weights of the last layer."""
        self.weights[-1].mul_(factor)
        last = self.bias(len(self.layers) - 1)
        if last is not None:
            last.mul_(factor)

    @torch.no_grad()
    def at_contrast(self, contrast: float) -> PatchCritic:
        """The critic r(a z) / a at contrast a: its gradient at z is that of r at a z.

        Raises:
            LocregError: when the last layer has an activation other than ``identity``.
        """
        check_linear_end(self.layers, "To have a contrast, a critic")
        other = PatchCritic.from_description(self.describe()).to(self.weights[0])
        other.load_state_dict(self.state_dict())
        # The channel of the noise level, if there is one, keeps its weights.
        other.weights[0][:, : self.in_channels].mul_(contrast)
        other._scale_scores(1 / contrast)
        return other

    @torch.no_grad()
    def at(self, sigma: float) -> PatchCritic:
        """The critic r(.; sigma) at one noise level sigma; it shares most weights with this one.

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

        The average of three equal channels with independent noise of level sqrt(3) sigma has noise
        of level sigma. A gradient step of size sigma on this average equals the average of the
        three channels' steps, of size sqrt(3) sigma.

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
        grey._scale_scores(1 / ratio)
        return grey

    @torch.no_grad()
    def begin_with(self, other: PatchCritic) -> None:
        """Become the same function r as ``other``, whose layers are equal or narrower.

        Channels that ``other`` lacks keep their weights, but their weights into its channels and
        into the score become 0, until training changes that (Chen, Goodfellow, Shlens, *Net2Net*,
        2016).

        Raises:
            LocregError: when the two critics differ in more than the number of channels per layer,
                or a layer of ``other`` is wider.
        """
        same = [replace(layer, channels=layer.group) for layer in self.layers] == [
            replace(layer, channels=layer.group) for layer in other.layers
        ]
        inputs = (self.in_channels, self.noise_conditioned)
        pairs = zip(self.layers, other.layers, strict=False)
        fits = all(mine.channels >= theirs.channels for mine, theirs in pairs)
        if not same or inputs != (other.in_channels, other.noise_conditioned) or not fits:
            raise LocregError(
                "A critic can only begin with weights of the same layers, or of narrower ones."
            )
        for weight, known in zip(self.weights, other.weights, strict=True):
            rows, columns = known.shape[:2]
            weight[:rows, columns:] = 0
            weight[:rows, :columns] = known
        for index, bias in self.biases.items():
            bias[: len(other.biases[index])] = other.biases[index]

    def forward(self, z: Tensor, sigma: Tensor | None = None) -> Tensor:
        """The scores (B, 1, H', W') of all patches of z.

        Args:
            z: images or patches (B, C, H, W) in [0, 1], at least as large as the receptive field.
            sigma: noise levels (B,), for a noise-conditioned critic only.

        Raises:
            LocregError: when sigma is missing, or given to a critic that is not noise-conditioned.
        """
        return self._scores(z, sigma, periodic=False)

    def periodic_scores(self, z: Tensor, sigma: Tensor | None = None) -> Tensor:
        """The scores (B, 1, H / stride, W / stride) of all patches of periodic images.

        Equal to the scores of z continued to the right and below by copies of itself, but each
        layer continues its own input, so that no number is computed twice.

        Args:
            z: images (B, C, H, W) in [0, 1], whose sides are multiples of ``stride``.
            sigma: as for `forward`.

        Raises:
            LocregError: as `forward`, or when a side is not a multiple of ``stride`` or shorter
                than a kernel.
        """
        least = max(layer.kernel for layer in self.layers) * self.stride
        if any(n % self.stride or n < least for n in z.shape[-2:]):
            raise LocregError(
                f"Images with periodic borders need sides that are multiples of {self.stride} and "
                f"at least {least}, got {z.shape[-1]}x{z.shape[-2]}."
            )
        return self._scores(z, sigma, periodic=True)

    def _scores(self, z: Tensor, sigma: Tensor | None, periodic: bool) -> Tensor:
        self._check_conditioned(sigma is not None)
        if sigma is not None:
            z = torch.cat([z, sigma.view(-1, 1, 1, 1).expand_as(z[:, :1])], dim=1)
        for index, layer in enumerate(self.layers):
            if periodic and (more := layer.kernel - layer.stride) > 0:
                z = torch.cat([z, z[..., :more, :]], dim=-2)
                z = torch.cat([z, z[..., :more]], dim=-1)
            z = F.conv2d(z, self.weights[index], self.bias(index), stride=layer.stride)
            z = activate(layer, z)
        return z

    def _check_conditioned(self, level_is_given: bool) -> None:
        if level_is_given and not self.noise_conditioned:
            raise LocregError("This critic does not depend on a noise level: give none.")
        if self.noise_conditioned and not level_is_given:
            raise LocregError("This critic depends on the noise level: give it, or use .at(sigma).")

    def describe(self) -> dict[str, Any]:
        """The architecture as plain data, for `from_description`."""
        return describe(self.layers, self.in_channels, noise_conditioned=self.noise_conditioned)

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> PatchCritic:
        """An untrained critic with the architecture that `describe` returned.

        Raises:
            KeyError, TypeError: when the description is incomplete.
            LocregError: when the layers are not valid.
        """
        layers, in_channels, noise_conditioned = described(description)
        return cls(layers, in_channels=in_channels, noise_conditioned=noise_conditioned)
