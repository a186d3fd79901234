"""What a trained critic is worth on images that it was not trained on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from locreg.annealing import gradient_steps
from locreg.critic import PatchCritic
from locreg.errors import LocregError
from locreg.images import ImageSource, centre, read_pixels
from locreg.noise_model import NoiseModel
from locreg.objective import Objective
from locreg.options import AdamOptions, NoiseRange
from locreg.patches import UnpairedPatches
from locreg.regularizer import LocalRegularizer
from locreg.solvers import adam
from locreg.training_options import PenaltyForm
from locreg.wgan import critic_loss

log = logging.getLogger(__name__)


def psnr(x: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of x, clipped to [0, 1], per image: (B, ...) to (B,)."""
    error = (x.clamp(0, 1) - reference).flatten(1).double().square().mean(1)
    return -10 * error.log10()


def load_crops(
    files: Sequence[ImageSource], *, size: int, channels: int, white: float | None = None
) -> list[Tensor]:
    """The centre crops (1, channels, <= size, <= size) of image files, of which 1 is white.

    Files that cannot be read are named in the log and left out.

    Raises:
        LocregError: when none of them can be read.
    """
    crops = []
    for path in files:
        try:
            pixels = read_pixels(path, channels, white)
        except LocregError as error:
            log.warning("skipped: %s", error)
            continue
        crops.append(torch.from_numpy(centre(pixels, size).copy())[None])
    if not crops:
        raise LocregError(f"None of the {len(files)} images to measure with can be read.")
    return crops


def add_noise(x: Tensor, sigma: float, seed: int) -> Tensor:
    """x plus white Gaussian noise of standard deviation sigma, not clipped."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return x + sigma * noise.to(x.device)


def restored_psnr(
    regularizer: LocalRegularizer,
    images: Sequence[Tensor],
    sigma: float,
    lam: float,
    *,
    seed: int,
    options: AdamOptions = AdamOptions(),
) -> float:
    """Mean PSNR in dB of noisy images (1, C, H, W) denoised by the paper's solver."""
    return denoised_psnr(
        lambda noisy: adam(Objective(noisy, regularizer, lam), noisy, options).image,
        _white_noise(sigma),
        images,
        seed=seed,
    )


def denoised_psnr(
    denoise: Callable[[Tensor], Tensor],
    degrade: Callable[[Tensor, int], Tensor],
    images: Sequence[Tensor],
    *,
    seed: int,
) -> float:
    """Mean PSNR in dB of images (1, C, H, W) that got noise, from a seed, and were denoised."""
    found = []
    for index, clean in enumerate(images):
        found.append(psnr(denoise(degrade(clean, seed + index)), clean).item())
    return float(np.mean(found))


def first_lam(
    regularizer: LocalRegularizer, images: Sequence[Tensor], sigma: float, seed: int
) -> float:
    """A lam to start a search from: lam grad R is half as long as the noise in the noisy images."""
    shares = []
    for index, clean in enumerate(images):
        noisy = add_noise(clean, sigma, seed + index)
        length = regularizer.grad(noisy).norm() / math.sqrt(clean.numel())
        shares.append(0.5 * sigma / max(length.item(), 1e-12))
    return float(np.median(shares))


def best_lam(
    quality: Callable[[float], float], first: float, *, ratio: float = 1.25, reach: int = 16
) -> tuple[float, float]:
    """The lam of highest quality and that quality, by climbing a geometric grid from ``first``.

    The summit is refined by the parabola through its three highest points. The climb ends at
    ``first * ratio**(+-reach)``: for an untrained critic the quality may rise for ever.
    """
    known: dict[int, float] = {}

    def at(step: int) -> float:
        if step not in known:
            known[step] = quality(first * ratio**step)
        return known[step]

    top = 0
    while abs(top) < reach:
        best = max((top, top - 1, top + 1), key=at)
        if best == top:
            break
        top = best
    left, middle, right = at(top - 1), at(top), at(top + 1)
    curvature = left - 2 * middle + right
    if abs(top) == reach or curvature >= 0:
        return first * ratio**top, middle
    shift = 0.5 * (left - right) / curvature
    return first * ratio ** (top + shift), middle - 0.25 * (left - right) * shift


def growing_root(
    excess: Callable[[float], float], first: float, *, refinements: int = 3, reach: int = 12
) -> float | None:
    """The lam at which ``excess``, which grows with lam, changes sign.

    From ``first`` lam is doubled or halved until the sign has changed, then bisected. None is
    returned where that takes more than ``reach`` steps.

    Args:
        excess: a function of lam.
        first: where the search begins.
        refinements: number of bisections; with k of them lam is known to a factor of 2^(2^-k).
        reach: most doublings or halvings.
    """
    lam, above = first, excess(first) > 0
    for _ in range(reach):
        following = lam / 2 if above else lam * 2
        if (excess(following) > 0) != above:
            break
        lam = following
    else:
        return None
    low, high = sorted((lam, following))
    middle = following
    for _ in range(refinements):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) <= 0 else (low, middle)
    return middle


@dataclass(frozen=True)
class WhiteNoiseValidation:
    """Quality of a critic: PSNR of held-out images with white noise, restored at their best lam."""

    images: Sequence[Tensor]
    sigma: float
    seed: int

    def __call__(self, critic: PatchCritic) -> tuple[float, dict[str, float]]:
        """Mean PSNR in dB, and the lam that gave it."""
        regularizer = LocalRegularizer(critic)
        lam, quality = best_lam(
            partial(restored_psnr, regularizer, self.images, self.sigma, seed=self.seed),
            first=first_lam(regularizer, self.images, self.sigma, self.seed),
        )
        return quality, {"lam": lam}


@dataclass(frozen=True)
class DenoiserValidation:
    """Quality of a noise-conditioned critic: PSNR of held-out images after its gradient steps.

    Attributes:
        images: clean images (1, C, H, W).
        seed: of their noise.
        noise: levels of white noise, or noise that was learned.
        steps: number of gradient steps.
    """

    images: Sequence[Tensor]
    seed: int
    noise: NoiseRange | NoiseModel
    steps: int = 1

    def __call__(self, critic: PatchCritic) -> tuple[float, dict[str, float]]:
        """Mean PSNR in dB over all levels, and that of each level."""
        if isinstance(self.noise, NoiseModel):
            quality = self._psnr(critic, self.noise.level, self.noise.degrade)
            return quality, {}
        found = {
            f"psnr_{sigma:g}": self._psnr(critic, sigma, _white_noise(sigma))
            for sigma in _usual_levels(self.noise)
        }
        return float(np.mean(list(found.values()))), found

    def _psnr(
        self,
        critic: PatchCritic,
        sigma: float,
        degrade: Callable[[Tensor, int], Tensor],
    ) -> float:
        regularizer = LocalRegularizer(critic)
        return denoised_psnr(
            lambda y: gradient_steps(y, regularizer, None, y, sigma, sigma, self.steps).image,
            degrade,
            self.images,
            seed=self.seed,
        )


def _white_noise(sigma: float) -> Callable[[Tensor, int], Tensor]:
    return lambda clean, seed: add_noise(clean, sigma, seed)


def _usual_levels(noise: NoiseRange) -> list[float]:
    usual = [level for level in (0.05, 0.1, 0.2, 0.4) if noise.low <= level <= noise.high]
    return usual or [noise.middle]


@dataclass(frozen=True)
class CriterionValidation:
    """Quality of a critic where the degradation is unknown: criterion (7) on held-out patches."""

    patches: UnpairedPatches
    penalty: float
    penalty_form: PenaltyForm = "two-sided"
    batches: int = 16
    batch: int = 64

    def __call__(self, critic: PatchCritic) -> tuple[float, dict[str, float]]:
        """The criterion D, and the Wasserstein estimate in it."""
        terms = []
        device = next(critic.parameters()).device
        for index in range(self.batches):
            parts = self.patches.batch(self.batch, index)
            clean, degraded, mixing = (torch.from_numpy(part).to(device) for part in parts)
            loss = critic_loss(
                critic, clean, degraded, mixing, self.penalty, form=self.penalty_form
            )
            terms.append((loss.wasserstein.item(), loss.gradient_penalty.item()))
        wasserstein, penalty = np.mean(terms, axis=0)
        if not math.isfinite(wasserstein):
            return -math.inf, {}
        return float(wasserstein - penalty), {"wasserstein": float(wasserstein)}
