"""The regularizer R: the sum of the critic's scores over all patches of an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from locreg import engine
from locreg.critic import PatchCritic
from locreg.errors import LocregError
from locreg.objective import Objective
from locreg.options import LBFGSOptions, NoiseRange, Precision, check_sigma
from locreg.quasi_newton import lbfgs
from locreg.weights import Weights, load_weights

Orient = Callable[[Tensor], Tensor]


class LocalRegularizer(nn.Module):
    r"""R(x) = sum over all patches of r(patch): Prost et al. (2021), eq. (3), as a sum.

    The image is mirrored at its borders, so that there is one patch around every pixel, every pixel
    lies in equally many patches, and images smaller than the receptive field work too. A sum, not
    the paper's mean: with a sum one ``lam`` serves a crop and the whole image.

    It has the protocol of deepinv's ``Prior``: `fn`, `grad`, `prox` and ``explicit_prior``. With a
    noise-conditioned critic R(x; sigma) also depends on a noise level: these three take it as their
    second argument, and `at` fixes it for everything else. A critic whose contrast a was fitted
    serves a noise level as R(a x) / a: with the level as second argument, or by `at`; without it
    these are R as it was trained.

    Args:
        weights: a critic with its calibration; a bare `PatchCritic` will do.
        tile: side of the tiles that the image is worked on in, in scores. It changes speed and
            memory, not the result. By default 256 (84 for ridge critics) on a CPU, where a tile
            fits the cache, and 1024 on a GPU.
        precision: of the convolutions. bfloat16 halves the time where the processor has it, and
            errs by 1% of the gradient at usual noise levels: enough for a gradient step or two and
            for annealing, too little for solvers that converge.
        symmetric: average R over the 8 flips and turns of the image: eight times as slow. A
            gradient step is then the self-ensemble of denoisers. For critics of stride 1.

    Raises:
        LocregError: when the tile is no size, the precision is unknown, or what cannot be averaged
            over flips and turns shall be symmetric.
    """

    explicit_prior = True

    def __init__(
        self,
        weights: Weights | PatchCritic,
        *,
        tile: int | None = None,
        precision: Precision = "float32",
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(weights, PatchCritic):
            weights = Weights(critic=weights)
        if tile is not None and tile < 1:
            raise LocregError(f"A tile must be at least 1 pixel wide, got {tile}.")
        self.criterion = weights.criterion
        if precision not in get_args(Precision):
            raise LocregError(f"precision must be float32 or bfloat16, got {precision!r}.")
        if symmetric and self.learned_noise:
            raise LocregError(
                "Learned noise may have a direction: it cannot be averaged over turns."
            )
        if symmetric and weights.critic.stride > 1:
            raise LocregError("A critic of stride 1 alone can be averaged over flips and turns.")
        self.critic = weights.critic
        self.calibration = weights.calibration
        self.tile = tile
        self.precision: Precision = precision
        self.symmetric = symmetric

    @property
    def in_channels(self) -> int:
        """Number of channels of the images, 1 (grey) or 3 (colour)."""
        return self.critic.in_channels

    @property
    def learned_level(self) -> float | None:
        """The level that restores the images of a folder: it was learned from them.

        None where there is no such folder; see `locreg.noise_model` and `locreg.damage`.
        """
        level: float | None = self.criterion.get("level")
        return level

    @property
    def learned_white(self) -> float | None:
        """Pixel value that counted as 1 in these images; None: the largest that a file can hold."""
        white: float | None = self.criterion.get("white")
        return white

    @property
    def learned_noise(self) -> bool:
        """Whether it was trained to remove the noise of a folder, and no white noise."""
        return self.learned_level is not None and self.noise_range is None

    @property
    def noise_range(self) -> NoiseRange | None:
        """White noise that a noise-conditioned critic was trained for; None: not known."""
        levels = self.criterion.get("noise")
        return None if levels is None else NoiseRange(low=levels[0], high=levels[1])

    @property
    def trained_steps(self) -> int:
        """Number of gradient steps that a noise-conditioned critic was trained for."""
        steps: int = self.criterion.get("steps", 1)
        return steps

    @property
    def noise_conditioned(self) -> bool:
        """Whether R depends on a noise level."""
        return self.critic.noise_conditioned

    @property
    def depends_on_level(self) -> bool:
        """Whether the noise level decides which R it is: by an input of the critic, or a contrast.

        Its calibration tells the contrast of a critic.
        """
        calibration = self.calibration
        return self.noise_conditioned or bool(calibration and calibration.contrast_polynomial)

    def at(self, sigma: float) -> LocalRegularizer:
        """R(.; sigma) at one noise level, where R depends on it.

        Raises:
            UsageError: when sigma is not in [0, 1].
            LocregError: when R does not depend on a noise level.
        """
        check_sigma(sigma)
        if self.noise_conditioned or self.calibration is None or not self.depends_on_level:
            critic = self.critic.at(sigma)
        else:
            critic = self.critic.at_contrast(self.calibration.contrast(sigma)).requires_grad_(False)
        return LocalRegularizer(
            Weights(critic=critic, criterion=self.criterion),
            tile=self.tile,
            precision=self.precision,
            symmetric=self.symmetric,
        )

    def forward(self, x: Tensor, sigma: float | Tensor | None = None, *_: object) -> Tensor:
        """Same as `fn`."""
        return self.fn(x, sigma)

    def fn(self, x: Tensor, sigma: float | Tensor | None = None, *_: object) -> Tensor:
        """R of each image: (B, C, H, W) in [0, 1] to (B,).

        Args:
            x: images.
            sigma: the noise level, of which one serves all images; an R that does not depend on it
                takes no notice. deepinv's solvers pass the denoiser's level to any prior, and
                further arguments that have no meaning here.
        """
        if self._takes_level(sigma):
            return self.at(_level(sigma)).fn(x)
        return self.score_map(x).flatten(1).sum(1, dtype=torch.float64).to(x.dtype)

    @torch.no_grad()
    def grad(self, x: Tensor, sigma: float | Tensor | None = None, *_: object) -> Tensor:
        """The gradient of R at x (B, C, H, W), of the same shape; arguments as for `fn`."""
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
        """argmin_z gamma R(z) + 1/2 |z - x|^2 by L-BFGS, started at x; arguments as for `fn`."""
        fixed = self.at(_level(sigma)) if self._takes_level(sigma) else self
        options = LBFGSOptions(steps=200, tolerance=1e-5)
        return lbfgs(Objective(x, fixed, float(gamma)), x, options).image

    @torch.no_grad()
    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """R of each image as float64 (B,), and its gradient, in one pass."""
        self._check(x)
        if not self.symmetric:
            return engine.value_and_gradient(self.critic, x, self._tile(x), self._dtype)
        value, gradient = (
            torch.zeros(len(x), dtype=torch.float64, device=x.device),
            torch.zeros_like(x),
        )
        for orient, back in _ORIENTATIONS:
            one, slope = engine.value_and_gradient(
                self.critic, orient(x), self._tile(x), self._dtype
            )
            value += one / len(_ORIENTATIONS)
            gradient += back(slope) / len(_ORIENTATIONS)
        return value, gradient

    @torch.no_grad()
    def score_map(self, x: Tensor) -> Tensor:
        """The score of the patch around each pixel: (B, 1, H, W), H and W divided by the stride."""
        self._check(x)
        if not self.symmetric:
            return engine.scores(self.critic, x, self._tile(x), self._dtype)
        maps = (
            back(engine.scores(self.critic, orient(x), self._tile(x), self._dtype))
            for orient, back in _ORIENTATIONS
        )
        return sum(maps, torch.zeros_like(x[:, :1])) / len(_ORIENTATIONS)

    @property
    def _dtype(self) -> torch.dtype | None:
        """Of the layers in between; None is that of the image."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    def _tile(self, x: Tensor) -> int:
        return self.tile or engine.usual_tile(self.critic, x, self._dtype)

    def _takes_level(self, sigma: float | Tensor | None) -> bool:
        """Whether a level is needed, or given and not to be ignored."""
        return self.noise_conditioned or (sigma is not None and self.depends_on_level)

    def _check(self, x: Tensor) -> None:
        if self.noise_conditioned:
            raise LocregError("This regularizer depends on the noise level: use .at(sigma).")
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise LocregError(
                f"This regularizer takes images of shape (B, {self.in_channels}, H, W), "
                f"got {tuple(x.shape)}."
            )
        if x.dtype != self.critic.weights[0].dtype:
            raise LocregError(
                f"The regularizer's weights are {self.critic.weights[0].dtype}, the image is "
                f"{x.dtype}: convert one of them with .to(dtype)."
            )


def _orientation(turns: int, flip: bool) -> tuple[Orient, Orient]:
    """A flip and turns by 90 degrees of images (B, C, H, W), and the way back."""

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
    levels = torch.as_tensor(sigma, dtype=torch.float64).flatten()
    if levels.numel() == 0 or not (levels == levels[0]).all():
        raise LocregError("All images of a batch must have one noise level.")
    return float(levels[0])


def load(
    name_or_path: str | Path,
    *,
    tile: int | None = None,
    precision: Precision = "float32",
    symmetric: bool = False,
) -> LocalRegularizer:
    """The regularizer of a weight file, or of packaged weights such as ``"alr-rgb"``.

    Other arguments: see `LocalRegularizer`.

    Raises:
        LocregError: when there is no such file or it is not a complete locreg weight file.
    """
    weights = load_weights(name_or_path)
    return LocalRegularizer(weights, tile=tile, precision=precision, symmetric=symmetric)
