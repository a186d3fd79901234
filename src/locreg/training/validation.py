"""Measure the quality of a critic on images that it was not trained on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from locreg.degradation.learned_noise import NoiseModel
from locreg.degradation.noise import NoiseRange, NoiseShares, add_noise
from locreg.degradation.noise_kinds import degrade
from locreg.images.metrics import psnr
from locreg.images.patches import centre
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.multiscale import Critic
from locreg.solvers.first_order import adam
from locreg.solvers.lbfgs import lbfgs
from locreg.solvers.noise_conditioned import gradient_steps
from locreg.solvers.objective import ConditionedObjective, Objective
from locreg.solvers.options import AdamOptions, GradientStepOptions, LBFGSOptions
from locreg.solvers.search import best_lam
from locreg.training.criteria.wasserstein import UnpairedPatches, critic_loss
from locreg.training.options import DENOISER_NOISE, PenaltyForm

log = logging.getLogger(__name__)

# Where lam is searched roughly: number of crops, their side in pixels, and steps of the solver.
_FEW, _SMALL, _FEW_STEPS = 4, 48, 20
_CAMERA = NoiseShares(white=0, camera=1, poisson_gaussian=0, film=0, scanner=0, compression=0)


def restored_psnr(
    regularizer: LocalRegularizer,
    images: Sequence[Tensor],
    sigma: float,
    lam: float,
    *,
    seed: int,
    options: AdamOptions = AdamOptions(),
) -> float:
    """Mean PSNR in dB of images (1, C, H, W) that got white noise and were denoised by Adam."""
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
    """Mean PSNR in dB of images (1, C, H, W) that were degraded and denoised.

    ``degrade`` adds noise to an image, drawn from a seed.
    """
    values = []
    for index, clean in enumerate(images):
        values.append(psnr(denoise(degrade(clean, seed + index)), clean).item())
    return float(np.mean(values))


def first_lam(
    regularizer: LocalRegularizer, images: Sequence[Tensor], sigma: float, seed: int
) -> float:
    """The lam to start a search from: lam |grad R| is half the norm of the noise in noisy images.

    The result is the median over the images.
    """
    lams = []
    for index, clean in enumerate(images):
        noisy = add_noise(clean, sigma, seed + index)
        slope = regularizer.grad(noisy).norm() / math.sqrt(clean.numel())
        lams.append(0.5 * sigma / max(slope.item(), 1e-12))
    return float(np.median(lams))


def lam_for_white_noise(
    regularizer: LocalRegularizer,
    images: Sequence[Tensor],
    sigma: float,
    *,
    seed: int,
    options: AdamOptions = AdamOptions(),
) -> tuple[float, float]:
    """The lam that removes white noise best, and its mean PSNR in dB.

    A few small crops and steps tell roughly where to search.
    """
    small = [centre(x, _SMALL) for x in images[:_FEW]]
    few = replace(options, steps=min(options.steps, _FEW_STEPS))
    roughly = partial(restored_psnr, regularizer, small, sigma, seed=seed, options=few)
    first, _ = best_lam(roughly, first_lam(regularizer, small, sigma, seed), ratio=1.6)
    quality = partial(restored_psnr, regularizer, images, sigma, seed=seed, options=options)
    return best_lam(quality, first)


@dataclass(frozen=True)
class WhiteNoiseValidation:
    """Quality of a critic: PSNR of held-out images with white noise, restored at the best lam.

    Attributes:
        images: clean images (1, C, H, W) in [0, 1].
        sigma: noise level.
        seed: seed of the noise.
    """

    images: Sequence[Tensor]
    sigma: float
    seed: int

    def __call__(self, critic: Critic) -> tuple[float, dict[str, float]]:
        """Mean PSNR in dB, and the lam that it was reached with."""
        regularizer = LocalRegularizer(critic)
        lam, quality = lam_for_white_noise(regularizer, self.images, self.sigma, seed=self.seed)
        return quality, {"lam": lam}


@dataclass(frozen=True)
class DenoiserValidation:
    """Quality of a noise-conditioned critic: PSNR of held-out images after its gradient steps.

    Attributes:
        images: clean images (1, C, H, W) in [0, 1].
        seed: seed of the noise.
        noise: range of white noise levels, a model of learned noise, or the kinds of noise in real
            pictures. With the latter, white noise and the noise of a camera are measured.
        steps: number of gradient steps.
    """

    images: Sequence[Tensor]
    seed: int
    noise: NoiseRange | NoiseModel | NoiseShares
    steps: int = 1

    def __call__(self, critic: Critic) -> tuple[float, dict[str, float]]:
        """Mean PSNR in dB over all noise levels, and the PSNR at each of them."""
        if isinstance(self.noise, NoiseModel):
            quality = self._psnr(critic, self.noise.level, self.noise.degrade)
            return quality, {}
        levels = self.noise if isinstance(self.noise, NoiseRange) else DENOISER_NOISE
        measured = {
            f"psnr_{sigma:g}": self._psnr(critic, sigma, _white_noise(sigma))
            for sigma in _usual_levels(levels)
        }
        quality = float(np.mean(list(measured.values())))
        if isinstance(self.noise, NoiseShares):
            measured["psnr_camera"] = self._psnr_camera(critic)
            quality = (quality + measured["psnr_camera"]) / 2
        return quality, measured

    def _psnr_camera(self, critic: Critic) -> float:
        """Mean PSNR in dB of images with the noise of a camera, each at its own noise level."""
        regularizer, values = LocalRegularizer(critic), []
        for index, clean in enumerate(self.images):
            x = clean[0].cpu().expand(3, -1, -1)
            random = np.random.default_rng([self.seed, index])
            y, sigma = degrade(x, _CAMERA, random)
            noisy = y[None, : clean.shape[1]].to(clean.device)
            options = GradientStepOptions(steps=self.steps)
            objective = ConditionedObjective(noisy, regularizer, sigma, sigma)
            values.append(psnr(gradient_steps(objective, noisy, options).image, clean).item())
        return float(np.mean(values))

    def _psnr(
        self,
        critic: Critic,
        sigma: float,
        degrade: Callable[[Tensor, int], Tensor],
    ) -> float:
        regularizer, options = LocalRegularizer(critic), GradientStepOptions(steps=self.steps)
        return denoised_psnr(
            lambda y: (
                gradient_steps(ConditionedObjective(y, regularizer, sigma, sigma), y, options).image
            ),
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
    """Quality of a critic of an unknown degradation: criterion (7) on held-out patches.

    Attributes:
        patches: held-out clean and degraded patches.
        penalty: mu, weight of the gradient penalty.
        penalty_form: form of the gradient penalty, see
            `locreg.training.criteria.wasserstein.critic_loss`.
        batches: number of batches.
        batch: number of clean and of degraded patches in a batch.
    """

    patches: UnpairedPatches
    penalty: float
    penalty_form: PenaltyForm = "two-sided"
    batches: int = 16
    batch: int = 64

    def __call__(self, critic: Critic) -> tuple[float, dict[str, float]]:
        """The criterion D, and its Wasserstein estimate."""
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


@dataclass(frozen=True)
class MinimiserValidation:
    """Quality of a critic: PSNR of the energy's minimisers for held-out images with white noise.

    Attributes:
        images: clean images (1, C, H, W) in [0, 1].
        sigma: noise level.
        lam: weight of R in the energy.
        seed: seed of the noise.
        minimisation: options of L-BFGS, which finds the minimisers.
    """

    images: Sequence[Tensor]
    sigma: float
    lam: float
    seed: int
    minimisation: LBFGSOptions

    def __call__(self, critic: Critic) -> tuple[float, dict[str, float]]:
        """Mean PSNR in dB."""
        regularizer = LocalRegularizer(critic)
        quality = denoised_psnr(
            lambda y: lbfgs(Objective(y, regularizer, self.lam), y, self.minimisation).image,
            lambda x, seed: add_noise(x, self.sigma, seed),
            self.images,
            seed=self.seed,
        )
        return quality, {}
