"""Critics as weight files hold them: layers and arrays, which need no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.regularizer.layers import Layer, described, receptive_field, total_stride
from locreg.regularizer.mirror import HALVING

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredCritic:
    """A patch critic r: see `locreg.PatchCritic`, which computes its scores.

    Attributes:
        layers: the layers, first to last.
        in_channels: 1 for grey images, 3 for colour.
        noise_conditioned: whether the first layer has one more input, the noise level.
        weights: the kernels (channels, inputs, side, side) of each layer.
        biases: the constants (channels,) of each layer, or None.
        halvings: how many times A halves the resolution of an image before the first layer, with
            the weights 1, 3, 3, 1 (over 8). Files hold critics without halvings.
    """

    layers: tuple[Layer, ...]
    in_channels: int
    noise_conditioned: bool
    weights: tuple[Array, ...]
    biases: tuple[Array | None, ...]
    halvings: int = 0

    @classmethod
    def of(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> StoredCritic:
        """The critic of a description, as `describe` returns it, and of the arrays of its file.

        Raises:
            KeyError, TypeError: when either is incomplete.
            ValueError: when an array has another shape than its layer, or belongs to none.
            LocregError: when the layers are not valid.
        """
        layers, in_channels, noise_conditioned = described(description)
        critic = cls(
            layers=layers,
            in_channels=in_channels,
            noise_conditioned=noise_conditioned,
            weights=tuple(arrays[f"weights.{index}"] for index in range(len(layers))),
            biases=tuple(
                arrays[f"biases.{index}"] if layer.bias else None
                for index, layer in enumerate(layers)
            ),
        )
        check_layers(layers, noise_conditioned=critic.noise_conditioned)
        inputs = critic.in_channels + critic.noise_conditioned
        for layer, weight, bias in zip(layers, critic.weights, critic.biases, strict=True):
            fits = bias is None or bias.shape == (layer.channels,)
            if not fits or weight.shape != (layer.channels, inputs, layer.kernel, layer.kernel):
                raise ValueError("an array has another shape than its layer")
            inputs = layer.outputs
        if len(critic.arrays()) != len(arrays):
            raise ValueError("an array belongs to no layer")
        return critic

    def arrays(self) -> dict[str, Array]:
        """Weights and biases by the names that they have in files."""
        weights = {f"weights.{index}": weight for index, weight in enumerate(self.weights)}
        biases = {f"biases.{index}": bias for index, bias in enumerate(self.biases)}
        return weights | {name: bias for name, bias in biases.items() if bias is not None}

    @property
    def receptive_field(self) -> int:
        """Side of the patch that one score depends on, in pixels."""
        field = receptive_field(self.layers)
        for _ in range(self.halvings):
            field = 2 * field + 2
        return field

    @property
    def stride(self) -> int:
        """Distance between two neighbouring scores, in pixels."""
        return (1 << self.halvings) * total_stride(self.layers)

    def coarsened(self) -> StoredCritic:
        """The critic 4 r(A z), where A halves the resolution with the weights 1, 3, 3, 1 (over 8).

        It is a critic of patches twice as wide and two pixels more, in steps twice as long. A
        gradient step on its R changes an image by what one on R changes the image A z, enlarged
        bilinearly.

        Raises:
            LocregError: when the last layer has an activation other than ``identity``.
        """
        check_linear_end(self.layers, "To be coarsened, a critic")
        last = self.biases[-1]
        return replace(
            self,
            weights=(*self.weights[:-1], 4 * self.weights[-1]),
            biases=(*self.biases[:-1], None if last is None else 4 * last),
            halvings=self.halvings + 1,
        )

    def without_halvings(self) -> StoredCritic:
        """The same critic as layers alone: the kernels of the first one are spread by A."""
        layer, weight = self.layers[0], self.weights[0]
        for _ in range(self.halvings):
            layer = replace(layer, kernel=2 * layer.kernel + 2, stride=2 * layer.stride)
            weight = _spread(weight)
        return replace(
            self,
            layers=(layer, *self.layers[1:]),
            weights=(weight, *self.weights[1:]),
            halvings=0,
        )


def check_layers(layers: tuple[Layer, ...], *, noise_conditioned: bool) -> None:
    """Check that layers make up a critic.

    Raises:
        LocregError: when the last layer has not exactly one output, or the first layer of a
            noise-conditioned critic has no bias.
    """
    if not layers or layers[-1].outputs != 1:
        raise LocregError("The last layer of a critic must have exactly one output.")
    if noise_conditioned and not layers[0].bias:
        raise LocregError("The first layer of a noise-conditioned critic must have a bias.")


def check_linear_end(layers: tuple[Layer, ...], subject: str) -> None:
    """Check that the last layer has no activation; the subject begins the message.

    Raises:
        LocregError: when it has one.
    """
    if layers[-1].activation != "identity":
        raise LocregError(f"{subject} needs a last layer that has no activation.")


class _Coarsens(Protocol):
    def coarsened(self) -> Self:
        """The critic of half the resolution."""


_Critic = TypeVar("_Critic", bound=_Coarsens)


def coarsened(critic: _Critic, times: int) -> _Critic:
    """A critic coarsened several times."""
    for _ in range(times):
        critic = critic.coarsened()
    return critic


def _spread(kernels: Array) -> Array:
    """Kernels of images at half the resolution as kernels of the images themselves."""
    side = kernels.shape[-1]
    wide = np.zeros((*kernels.shape[:2], 2 * side + 2, 2 * side + 2), kernels.dtype)
    for row, down in enumerate(HALVING):
        for column, across in enumerate(HALVING):
            share = np.asarray(down * across, kernels.dtype)
            wide[..., row : row + 2 * side : 2, column : column + 2 * side : 2] += share * kernels
    return wide
