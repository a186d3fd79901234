"""The regularizer R: the sum of the critic's scores over all patches of an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from locreg.arguments import Precision, check_choice
from locreg.arrays import Array, as_array
from locreg.degradation.noise import check_sigma
from locreg.errors import LocregError
from locreg.regularizer import tiled_gradient
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.denoising_energy import check_settings
from locreg.regularizer.multiscale import Critic, MultiscaleCritic
from locreg.regularizer.trained_regularizer import TrainedRegularizer
from locreg.regularizer.weights import Weights, load_weights
from locreg.solvers.lbfgs import lbfgs
from locreg.solvers.objective import Objective
from locreg.solvers.options import LBFGSOptions

Orient = Callable[[Tensor], Tensor]


class LocalRegularizer(TrainedRegularizer, nn.Module):
    r"""R(x) = sum over all patches of r(patch): Prost et al. (2021), eq. (3), as a sum.

    Images are (B, C, H, W) in [0, 1]. They are mirrored at their borders, so that there is a patch
    around every pixel, every pixel lies in the same number of patches, and images smaller than the
    receptive field work too. R is a sum, not the paper's mean, so that the same ``lam`` works for a
    crop and for the whole image.

    The class has the interface of deepinv's ``Prior``: `fn`, `grad`, `prox` and ``explicit_prior``.
    With a noise-conditioned critic, R(x; sigma) also depends on a noise level. `fn`, `grad` and
    `prox` take it as their second argument; for all other methods `at` fixes it. If the calibration
    has a contrast a, R at a noise level is R(a x) / a, with the same two ways to give the level;
    without a level it is R as it was trained.

    Args:
        weights: a critic with its calibration, or only a `PatchCritic` or `MultiscaleCritic`.
        tile: side of the tiles in which an image is processed, in scores. It changes speed and
            memory, not the result. By default it is 256 (84 for ridge critics) on a CPU, where a
            tile fits into the cache, and 1024 on a GPU.
        precision: precision of the convolutions. bfloat16 halves the time on processors that
            support it; the gradient is then wrong by 1% at usual noise levels. This is good enough
            for one or two gradient steps and for annealing, but not for solvers that converge.
        symmetric: average R over the 8 flips and turns of the image, which takes 8 times as long. A
            gradient step is then the self-ensemble of a denoiser.

    Raises:
        LocregError: when the tile is below 1, the precision is unknown, or ``symmetric`` is given
            for learned noise.
    """

    explicit_prior = True
    engine = "torch"

    def __init__(
        self,
        weights: Weights | Critic,
        *,
        tile: int | None = None,
        precision: Precision = "float32",
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(weights, PatchCritic | MultiscaleCritic):
            weights = Weights(critic=weights)
        check_choice("precision", precision, get_args(Precision))
        self.criterion = weights.criterion
        self.critic = weights.critic
        self.calibration = weights.calibration
        check_settings(self, tile=tile, symmetric=symmetric)
        self.tile = tile
        self.precision: Precision = precision
        self.symmetric = symmetric

    @property
    def described(self) -> Critic:
        """The critic."""
        return self.critic

    @property
    def number_of_scales(self) -> int:
        """How many resolutions of the image have a critic of their own."""
        return len(self.critic.scales)

    def at(self, sigma: float) -> LocalRegularizer:
        """R(.; sigma) at one noise level sigma.

        Raises:
            UsageError: when sigma is not in [0, 1].
            LocregError: when R does not depend on a noise level.
        """
        check_sigma(sigma)
        if self.noise_conditioned or self.calibration is None or not self.depends_on_level:
            critic = self.critic.at(sigma)
        else:
            critic = self.critic.at_contrast(self.calibration.contrast(sigma)).requires_grad_(False)
        return self._with_critic(critic)

    def coarsened(self) -> Self:
        """The regularizer 4 R(A x), where A halves the resolution: see `PatchCritic.coarsened`.

        Raises:
            LocregError: as `PatchCritic.coarsened`.
        """
        return self._with_critic(self.critic.coarsened().requires_grad_(False))

    def finest(self) -> Self:
        """The regularizer R_0 of the image itself, without those of smaller copies of it."""
        return self._with_critic(self.critic.scales[0])

    def _with_critic(self, critic: Critic) -> Self:
        """R of another critic, with the same record and settings."""
        return type(self)(
            Weights(critic=critic, criterion=self.criterion),
            tile=self.tile,
            precision=self.precision,
            symmetric=self.symmetric,
        )

    def array_gradient(self, x: Array, sigma: float) -> tuple[NDArray[np.float64], Array]:
        """R(x; sigma) and its gradient for an array x: see `DenoisingEnergy.array_gradient`."""
        weight = next(self.critic.parameters())
        value, gradient = self.at(sigma).value_and_grad(
            torch.from_numpy(np.ascontiguousarray(x)).to(weight)
        )
        return as_array(value), as_array(gradient)

    def forward(self, x: Tensor, sigma: float | Tensor | None = None, *_: object) -> Tensor:
        """Same as `fn`."""
        return self.fn(x, sigma)

    def fn(self, x: Tensor, sigma: float | Tensor | None = None, *_: object) -> Tensor:
        """R of each image: (B, C, H, W) in [0, 1] to (B,).

        Args:
            x: images.
            sigma: the noise level, the same for all images. It is ignored if R does not depend on
                one, since deepinv's solvers pass the denoiser's noise level to any prior. They also
                pass further arguments, which are always ignored.

        Raises:
            UsageError: when sigma is not in [0, 1].
            LocregError: when sigma is missing or differs between images, or x does not fit the
                critic in shape or dtype.
        """
        if self._takes_level(sigma):
            return self.at(_level(sigma)).fn(x)
        if not self._has_score_map:
            return self.value_and_grad(x)[0].to(x.dtype)
        return self.score_map(x).flatten(1).sum(1, dtype=torch.float64).to(x.dtype)

    @torch.no_grad()
    def grad(self, x: Tensor, sigma: float | Tensor | None = None, *_: object) -> Tensor:
        """The gradient of R at x, of the shape of x; arguments and errors as for `fn`."""
        if self._takes_level(sigma):
            return self.at(_level(sigma)).grad(x)
        return self.value_and_grad(x)[1]

    @torch.no_grad()
    def prox(
        self,
        x: Tensor,
        sigma: float | Tensor | None = None,
        *_: object,
        gamma: float | Tensor = 1.0,
    ) -> Tensor:
        """argmin_z gamma R(z) + 1/2 |z - x|^2 by L-BFGS from x, of the shape of x.

        Other arguments and errors as for `fn`.

        Args:
            gamma: weight of R, one number.

        Raises:
            UsageError: when gamma is negative or not finite.
        """
        fixed = self.at(_level(sigma)) if self._takes_level(sigma) else self
        options = LBFGSOptions(steps=200, tolerance=1e-5)
        minimiser: Tensor = lbfgs(
            Objective(x, fixed, _one_number("gamma", gamma)), x, options
        ).image
        return minimiser

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """R of each image x (B, C, H, W), float64 (B,), and its gradient, of the shape of x.

        Raises:
            LocregError: when R needs a noise level, or x does not fit the critic in shape or dtype.
        """
        self._check(x)
        if not self.symmetric:
            return self._value_and_gradient(x)
        value, gradient = (
            torch.zeros(len(x), dtype=torch.float64, device=x.device),
            torch.zeros_like(x),
        )
        for orient, back in _ORIENTATIONS:
            oriented_value, oriented_gradient = self._value_and_gradient(orient(x))
            value += oriented_value / len(_ORIENTATIONS)
            gradient += back(oriented_gradient) / len(_ORIENTATIONS)
        return value, gradient

    @torch.no_grad()
    def score_map(self, x: Tensor) -> Tensor:
        """The score of the patch around each pixel of x (B, C, H, W): (B, 1, H, W).

        With a stride, H and W are divided by it and rounded up.

        Raises:
            LocregError: as `value_and_grad`, when R is averaged over flips and turns and the
                stride is above 1, or when R has several scales.
        """
        self._check(x)
        if len(self.critic.scales) > 1:
            raise LocregError("R has several scales, so that no score belongs to one patch alone.")
        if not self._has_score_map:
            raise LocregError("Only scores of stride 1 can be averaged over flips and turns.")
        (critic,) = self.critic.parts()
        if not self.symmetric:
            return tiled_gradient.scores(critic, x, self._tile(critic, x), self._dtype)
        maps = (
            back(tiled_gradient.scores(critic, orient(x), self._tile(critic, x), self._dtype))
            for orient, back in _ORIENTATIONS
        )
        return sum(maps, torch.zeros_like(x[:, :1])) / len(_ORIENTATIONS)

    @property
    def _dtype(self) -> torch.dtype | None:
        """The dtype of the values between the layers; None: that of the image."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    def _tile(self, critic: PatchCritic, x: Tensor) -> int:
        return self.tile or tiled_gradient.usual_tile(critic, x, self._dtype)

    def _value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """R, not averaged over flips and turns, and its gradient."""
        first, *further = self.critic.parts()
        value, gradient = self._of_part(first, x)
        for critic in further:
            of_part = self._of_part(critic, x)
            value += of_part[0]
            gradient += of_part[1]
        return value, gradient

    def _of_part(self, critic: PatchCritic, x: Tensor) -> tuple[Tensor, Tensor]:
        return tiled_gradient.value_and_gradient(critic, x, self._tile(critic, x), self._dtype)

    @property
    def _has_score_map(self) -> bool:
        """Whether each score belongs to one patch, and the maps of all orientations match."""
        return len(self.critic.scales) == 1 and not (self.symmetric and self.critic.stride > 1)

    def _takes_level(self, sigma: float | Tensor | None) -> bool:
        """Whether a noise level is needed, or is given and not ignored."""
        return self.noise_conditioned or (sigma is not None and self.depends_on_level)

    def _check(self, x: Tensor) -> None:
        if self.noise_conditioned:
            raise LocregError("This regularizer depends on the noise level: use .at(sigma).")
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise LocregError(
                f"This regularizer takes images of shape (B, {self.in_channels}, H, W), "
                f"got {tuple(x.shape)}."
            )
        dtype = next(self.critic.parameters()).dtype
        if x.dtype != dtype:
            raise LocregError(
                f"The regularizer's weights are {dtype}, the image is "
                f"{x.dtype}: convert one of them with .to(dtype)."
            )


def _orientation(turns: int, flip: bool) -> tuple[Orient, Orient]:
    """A flip and turns by 90 degrees of images (B, C, H, W), and the inverse."""

    def orient(x: Tensor) -> Tensor:
        return torch.rot90(x.flip(3) if flip else x, turns, (2, 3))

    def back(x: Tensor) -> Tensor:
        turned = torch.rot90(x, -turns, (2, 3))
        return turned.flip(3) if flip else turned

    return orient, back


_ORIENTATIONS = [_orientation(turns, flip) for turns in range(4) for flip in (False, True)]


def _level(sigma: float | Tensor | None) -> float:
    if sigma is None:
        raise LocregError("This regularizer depends on the noise level: give sigma.")
    return _one_number("noise level", sigma)


def _one_number(name: str, value: float | Tensor) -> float:
    """A number, or the one number that a tensor holds for all images of a batch."""
    values = torch.as_tensor(value, dtype=torch.float64).flatten()
    if values.numel() == 0 or not (values == values[0]).all():
        raise LocregError(f"All images of a batch must have one {name}.")
    return float(values[0])


def load(
    name_or_path: str | Path,
    *,
    tile: int | None = None,
    precision: Precision = "float32",
    symmetric: bool = False,
) -> LocalRegularizer:
    """The regularizer of a weight file, or of packaged weights such as ``"alr-rgb"``.

    ``tile``, ``precision`` and ``symmetric`` are as for `LocalRegularizer`.

    Raises:
        LocregError: when there is no such file, it is not a complete locreg weight file, or as
            `LocalRegularizer`.
    """
    weights = load_weights(name_or_path)
    return LocalRegularizer(weights, tile=tile, precision=precision, symmetric=symmetric)
