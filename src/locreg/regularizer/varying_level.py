"""A noise-conditioned regularizer for noise whose level differs between the pixels of an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from locreg.degradation.noise import check_sigma
from locreg.errors import LocregError
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.weights import Weights


@dataclass(frozen=True, eq=False)
class VaryingRegularizer:
    """R(x; sigma m) with a relative level m for each pixel, for the solver of gradient steps.

    Attributes:
        regularizer: a noise-conditioned R, trained with a noise level that differs between pixels.
        relative_level: m (B or 1, 1, H, W), positive. Where m = 1 the noise level is sigma.

    Raises:
        LocregError: when R is not noise-conditioned, or is averaged over flips and turns.
    """

    regularizer: LocalRegularizer
    relative_level: Tensor

    def __post_init__(self) -> None:
        if not self.regularizer.noise_conditioned or self.regularizer.symmetric:
            raise LocregError(
                "A noise level that differs between pixels needs a denoising energy, and no "
                "average over flips and turns."
            )

    def at(self, sigma: float) -> RegularizerAtLevels:
        """R(.; sigma m) at one sigma.

        Raises:
            UsageError: when sigma is not in [0, 1].
        """
        check_sigma(sigma)
        other = self.regularizer
        of_channels = LocalRegularizer(
            Weights(critic=other.critic.with_level_channel()),
            tile=other.tile,
            precision=other.precision,
        )
        return RegularizerAtLevels(of_channels, sigma, self.relative_level)


@dataclass(frozen=True, eq=False)
class RegularizerAtLevels:
    """R(x; s) with s = sigma m, and its gradient for the inner product <u, v> = sum of u v / m.

    This inner product weighs a pixel by the precision of what is known about it. In it, a gradient
    step of size sigma is x - s grad R(x; s), which removes noise of level s from each pixel.

    Attributes:
        of_channels: R, with the noise level as the last channel of its images.
        sigma: the noise level where m = 1.
        relative_level: m.
    """

    of_channels: LocalRegularizer
    sigma: float
    relative_level: Tensor

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """R(x; s) of each image x (B, C, H, W), (B,), and m grad R(x; s), of the shape of x.

        Raises:
            LocregError: when x does not fit the critic in shape or dtype.
        """
        levels = (self.sigma * self.relative_level).to(x).expand_as(x[:, :1])
        value, gradient = self.of_channels.value_and_grad(torch.cat([x, levels], dim=1))
        return value, self.relative_level.to(x) * gradient[:, : x.shape[1]]
