"""Critics of an image and of smaller copies of it: a regularizer that sees far at little cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from locreg.arguments import TrainingBorders
from locreg.errors import LocregError
from locreg.regularizer.borders import halved, pad
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.stored_critic import coarsened

# Standard deviation of A n for white noise n of standard deviation 1.
_HALVED_NOISE = 20 / 64


class MultiscaleCritic(nn.Module):
    """Critics r_0, r_1, ... whose regularizer is R(x) = sum over k of 4^k R_k(A^k x).

    A halves the resolution by the weights 1, 3, 3, 1 (over 8) along rows and columns, and R_k is
    the sum of r_k over all patches. A patch of A^k x shows 2^k times as much of the scene in as
    many pixels, so each critic costs a quarter of the one before.

    Args:
        scales: r_0, r_1, ..., each with a last layer that has no activation.

    Raises:
        LocregError: when there are fewer than two, or they differ in their inputs.
    """

    def __init__(self, scales: Sequence[PatchCritic]) -> None:
        super().__init__()
        if len(scales) < 2 or len({(c.in_channels, c.noise_conditioned) for c in scales}) > 1:
            raise LocregError("Several scales need two or more critics with the same inputs.")
        self.critics = nn.ModuleList(scales)
        self.in_channels = scales[0].in_channels
        self.noise_conditioned = scales[0].noise_conditioned

    @property
    def scales(self) -> tuple[PatchCritic, ...]:
        """r_0, r_1, ..., from the finest to the coarsest."""
        return tuple(cast("PatchCritic", critic) for critic in self.critics)

    def parts(self) -> tuple[PatchCritic, ...]:
        """Critics of patches of the image itself, whose regularizers add up to R."""
        return tuple(coarsened(critic, k) for k, critic in enumerate(self.scales))

    @property
    def receptive_field(self) -> int:
        """Side of the largest patch that a score depends on, in pixels of the image."""
        return max(part.receptive_field for part in self.parts())

    @property
    def stride(self) -> int:
        """Distance between neighbouring scores of the coarsest critic, in pixels of the image."""
        return max(part.stride for part in self.parts())

    @property
    def piecewise_linear(self) -> bool:
        """Whether every activation is linear between its kinks."""
        return all(critic.piecewise_linear for critic in self.scales)

    def at(self, sigma: float) -> MultiscaleCritic:
        """The critics at one noise level: see `PatchCritic.at`."""
        return self._with(lambda critic: critic.at(sigma))

    def at_contrast(self, contrast: float) -> MultiscaleCritic:
        """The critics at one contrast: see `PatchCritic.at_contrast`."""
        return self._with(lambda critic: critic.at_contrast(contrast))

    def coarsened(self) -> MultiscaleCritic:
        """The critics of half the resolution: see `PatchCritic.coarsened`."""
        return self._with(PatchCritic.coarsened)

    def of_grey(self) -> MultiscaleCritic:
        """The critics of grey patches: see `PatchCritic.of_grey`."""
        return self._with(PatchCritic.of_grey)

    def _with(self, change: Callable[[PatchCritic], PatchCritic]) -> MultiscaleCritic:
        return MultiscaleCritic([change(critic) for critic in self.scales])

    def project(self) -> None:
        """Replace the weights by the nearest that all layers allow: see `PatchCritic.project`."""
        for critic in self.scales:
            critic.project()

    def describe(self) -> dict[str, Any]:
        """The architecture as plain data, for `critic_from_description`."""
        return {"scales": [critic.describe() for critic in self.scales]}


Critic = PatchCritic | MultiscaleCritic


def critic_from_description(description: dict[str, Any]) -> Critic:
    """An untrained critic with the architecture that its ``describe`` returned.

    Raises:
        KeyError, TypeError: when the description is incomplete.
        LocregError: when the layers are not valid.
    """
    if "scales" not in description:
        return PatchCritic.from_description(description)
    return MultiscaleCritic([PatchCritic.from_description(d) for d in description["scales"]])


@torch.no_grad()
def begin_with(critic: Critic, known: Critic) -> None:
    """Give a critic the weights of another, whose layers are equal or narrower.

    The regularizer becomes that of ``known``, or of its finest scales if ``critic`` has fewer. If
    it has more, the further ones begin with the coarsest known critic at the noise level that white
    noise has in a halved image, but score 0 until training changes their last layers.

    Raises:
        LocregError: as `PatchCritic.begin_with`.
    """
    for k, scale in enumerate(critic.scales):
        further = max(k + 1 - len(known.scales), 0)
        scale.begin_with(known.scales[k - further])
        if further:
            scale.weights[0][:, scale.in_channels :].mul_(_HALVED_NOISE**further)
            scale.silence()


def sum_at_scale(
    critic: Critic,
    k: int,
    x: Tensor,
    sigma: Tensor | None = None,
    borders: TrainingBorders = "mirrored",
) -> Tensor:
    """4^k R_k(A^k x), summed over images x (B, C, H, W) in [0, 1], for autograd.

    Args:
        critic: of one scale or several.
        k: the scale.
        x: images.
        sigma: noise levels (B,), for a noise-conditioned critic only.
        borders: mirrored: x is mirrored at its borders, as `LocalRegularizer` does; real: only
            patches inside x count; periodic: x repeats itself.
    """
    scale = critic.scales[k]
    if borders == "mirrored":
        x = pad(x, coarsened(scale, k).receptive_field)
    for _ in range(k):
        x = halved(x, periodic=borders == "periodic")
    scores = scale.periodic_scores if borders == "periodic" else scale
    total: Tensor = scores(x, sigma).sum()
    return total.mul(4**k)
