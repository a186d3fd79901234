"""Calibration of trained weights: lam, the contrast of ridge critics, and quantiles of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from locreg.degradation.noise import SUPPORTED_SHARES, NoiseRange, add_noise
from locreg.errors import LocregError
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.multiscale import Critic
from locreg.regularizer.stored_weights import Calibration, exp_polynomial
from locreg.solvers.first_order import adam
from locreg.solvers.objective import Objective
from locreg.solvers.options import AdamOptions
from locreg.solvers.search import best_lam, growing_root
from locreg.training.validation import first_lam, lam_for_white_noise, restored_psnr

CALIBRATION_SIZE = 64  # side in pixels of the crops that lam is fitted on
# The levels of critics with a contrast, which are used at all of them.
SIGMAS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
CONTRAST_SIGMAS = (0.05, 0.15, 0.4)
_FIRST_CONTRAST = 2.5  # the first contrast to try, at the noise level of the training
QUANTILE_LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def calibrate_white_noise(
    regularizer: LocalRegularizer,
    images: Sequence[Tensor],
    *,
    noise: NoiseRange,
    seed: int,
    sigmas: Sequence[float] | None = None,
    options: AdamOptions = AdamOptions(),
    with_contrast: bool = False,
    progress: bool = True,
) -> Calibration:
    """lam as a smooth function of sigma, fitted on clean training images, and score quantiles.

    For each sigma, the lam with the highest mean PSNR is searched, roughly on a few small crops
    first. Then log lam is fitted by a parabola in log sigma (by a cubic, with a contrast).

    Args:
        regularizer: R, on the device of the images.
        images: clean images (1, C, H, W) in [0, 1], none of them from a test set.
        noise: the noise of the training. The quantiles of the scores of degraded images are those
            of levels drawn uniformly from it.
        seed: seed of the noise and of these noise levels.
        sigmas: noise levels at which lam is searched; by default `levels_of` the training's noise,
            or `SIGMAS` with a contrast.
        options: options of the solver that restores.
        with_contrast: first find the contrast a of R(a x) / a (`best_contrast`) at the noise levels
            `CONTRAST_SIGMAS`, and fit log a by a line in log sigma.
        progress: whether to show progress bars.
    """
    sigmas = sigmas or (SIGMAS if with_contrast else levels_of(noise))
    contrast: tuple[float, ...] = ()
    contrast_record = {}
    if with_contrast:
        contrasts = _fitted_contrasts(regularizer.critic, images, noise.middle, seed, progress)
        logs = np.log(CONTRAST_SIGMAS), np.log([a for a, _ in contrasts])
        contrast = tuple(np.polynomial.polynomial.polyfit(*logs, 1).tolist())
        contrast_record = {"contrast_sigmas": CONTRAST_SIGMAS, "contrasts": contrasts}
    best: list[tuple[float, float]] = []  # lam and its PSNR in dB, for each sigma
    for sigma in tqdm(sigmas, desc="fitting lam", unit="level", disable=not progress):
        at_level = regularizer
        if with_contrast:
            critic = regularizer.critic.at_contrast(exp_polynomial(contrast, sigma))
            at_level = LocalRegularizer(critic.requires_grad_(False))
        best.append(lam_for_white_noise(at_level, images, sigma, seed=seed, options=options))
    lams = [lam for lam, _ in best]
    # With a contrast, PSNR falls off steeply around the best lam, so the fit must be closer.
    degree = min(3 if with_contrast else 2, len(sigmas) - 1)
    polynomial = np.polynomial.polynomial.polyfit(np.log(sigmas), np.log(lams), degree)
    noise_levels = np.random.default_rng(seed).uniform(noise.low, noise.high, len(images))
    degraded = [
        add_noise(x, s, seed + i) for i, (x, s) in enumerate(zip(images, noise_levels, strict=True))
    ]
    return _calibration(
        regularizer,
        images,
        degraded,
        polynomial.tolist(),
        (min(sigmas), max(sigmas)),
        contrast,
        {
            "method": "highest PSNR of clean training images with white noise",
            "images": len(images),
            "seed": seed,
            "steps": options.steps,
            "sigmas": list(sigmas),
            "lams": lams,
            "psnr": [quality for _, quality in best],
            **contrast_record,
        },
    )


def levels_of(noise: NoiseRange) -> tuple[float, ...]:
    """Noise levels at which lam is searched: those of a training, and a little beyond.

    Training on one level supports the levels around it (`SUPPORTED_SHARES`). A range that begins
    at 0 counts from a twentieth of its highest level on. Neighbouring levels differ at most by a
    factor of 3, and there are at least three, which a parabola needs.
    """
    low, high = SUPPORTED_SHARES[0] * noise.low, min(SUPPORTED_SHARES[1] * noise.high, 1.0)
    low = low or high / 20
    count = max(3, 1 + math.ceil(math.log(high / low) / math.log(3)))
    return tuple(np.geomspace(low, high, count).tolist())


def _fitted_contrasts(
    critic: Critic, images: Sequence[Tensor], trained: float, seed: int, progress: bool
) -> list[tuple[float, float]]:
    """Best contrasts at `CONTRAST_SIGMAS`, each with its PSNR in dB.

    ``trained`` is the middle of the noise range of the training.
    """
    contrasts = []
    for sigma in CONTRAST_SIGMAS:
        # The less noise there is, the smaller are the details to keep.
        first = _FIRST_CONTRAST * trained / sigma
        contrasts.append(
            best_contrast(critic, images, sigma, seed=seed, first=first, progress=progress)
        )
    return contrasts


def best_contrast(
    critic: Critic,
    images: Sequence[Tensor],
    sigma: float,
    *,
    seed: int,
    first: float = _FIRST_CONTRAST,
    progress: bool = True,
) -> tuple[float, float]:
    """The contrast a at which R(a x) / a restores noisy images best, and their mean PSNR in dB.

    Each a is tried at its best lam.

    The Wasserstein criterion tells patches apart where they differ most, which makes the potential
    of a ridge critic wider than restoration needs. At the noise level of the training, a is
    therefore 2 to 4.

    Args:
        critic: r, on the device of the images.
        images: clean images (1, C, H, W) in [0, 1], none of them from a test set.
        sigma: noise level.
        seed: seed of the noise.
        first: the contrast where the search begins.
        progress: whether to show a progress bar.
    """

    bar = tqdm(desc=f"fitting the contrast at {sigma:g}", unit="try", disable=not progress)

    def quality(contrast: float) -> float:
        bar.update()
        regularizer = LocalRegularizer(critic.at_contrast(contrast))
        restored = partial(restored_psnr, regularizer, images, sigma, seed=seed)
        lam, _ = best_lam(restored, first_lam(regularizer, images, sigma, seed), ratio=1.3)
        # Measured again: the maximum is sharp, and the parabola of the search lies far above it.
        return restored(lam)

    with bar:
        return best_lam(quality, first, ratio=1.5, reach=5)


def calibrate_unpaired(
    regularizer: LocalRegularizer,
    clean: Sequence[Tensor],
    degraded: Sequence[Tensor],
    *,
    options: AdamOptions = AdamOptions(),
    progress: bool = True,
) -> Calibration:
    """One lam for a degradation that is known by examples only, without any ground truth.

    At this lam the restored images have the same mean score as the clean images. With a smaller lam
    they still look degraded to the critic, with a larger one they are smoother than clean images.

    Args:
        regularizer: R, on the device of the images.
        clean: clean images (1, C, H, W) in [0, 1].
        degraded: degraded images (1, C, H, W) of other scenes.
        options: options of the solver that restores.
        progress: whether to show a progress bar.

    Raises:
        LocregError: when no lam gives the restored images the mean score of the clean ones.
    """
    target = np.mean([regularizer.score_map(x).mean().item() for x in clean])

    bar = tqdm(desc="fitting lam", unit="step", disable=not progress)

    def excess(lam: float) -> float:
        bar.update()
        restored = (adam(Objective(y, regularizer, lam), y, options).image for y in degraded)
        return float(target - np.mean([regularizer.score_map(x).mean().item() for x in restored]))

    slope = float(np.mean([regularizer.grad(y).norm().item() / y.numel() ** 0.5 for y in degraded]))
    first = 0.02 / max(slope, 1e-12)  # at this lam, lam grad R has a root mean square of 0.02
    with bar:
        lam = growing_root(excess, first, refinements=6, reach=10)
    if lam is None:
        raise LocregError(
            "No lam gives the restored images the scores of clean ones: the critic does not tell "
            "the two folders apart, or minimising its scores does not remove this damage. Check "
            "that the folders differ, train longer, or use locreg restore --damage any."
        )
    # A constant polynomial: lam belongs to this degradation and does not depend on sigma.
    return _calibration(
        regularizer,
        clean,
        degraded,
        [math.log(lam)],
        (1.0, 1.0),
        (),
        {
            "method": "mean score of restored images equals that of clean images",
            "images": len(degraded),
            "steps": options.steps,
            "lams": [lam],
        },
    )


def _calibration(
    regularizer: LocalRegularizer,
    clean: Sequence[Tensor],
    degraded: Sequence[Tensor],
    polynomial: Sequence[float],
    sigma_range: tuple[float, float],
    contrast: tuple[float, ...],
    record: dict[str, object],
) -> Calibration:
    """The calibration, with the quantiles of the scores of clean and degraded images."""
    maps = [[regularizer.score_map(x).flatten() for x in group] for group in (clean, degraded)]
    patches = [_quantiles(torch.cat(group)) for group in maps]
    images = [_quantiles(torch.stack([m.mean() for m in group])) for group in maps]
    return Calibration(
        lam_polynomial=tuple(polynomial),
        sigma_range=sigma_range,
        contrast_polynomial=contrast,
        quantile_levels=QUANTILE_LEVELS,
        clean_patches=patches[0],
        degraded_patches=patches[1],
        clean_images=images[0],
        degraded_images=images[1],
        record=record,
    )


def _quantiles(values: Tensor) -> tuple[float, ...]:
    return tuple(np.quantile(values.double().cpu().numpy(), QUANTILE_LEVELS).tolist())
