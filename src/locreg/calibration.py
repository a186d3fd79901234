"""Noise level from an image, lam from the noise level, and what scores are usual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from locreg.critic import PatchCritic
from locreg.errors import LocregError
from locreg.objective import Objective
from locreg.options import AdamOptions
from locreg.regularizer import LocalRegularizer
from locreg.solvers import adam
from locreg.validation import add_noise, best_lam, first_lam, growing_root, restored_psnr
from locreg.weights import Calibration, exp_polynomial

SIGMAS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
CONTRAST_SIGMAS = (0.05, 0.15, 0.4)
_FIRST_CONTRAST = 2.5  # to try, at the level of the training
QUANTILE_LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_PATCH = 8  # side of the patches that the noise level is estimated from
_BLOCK = 16  # side of the blocks of which the smoothest tell the noise level
_FEWEST_DIFFERENCES = 24  # in a block
_MOST_PATCHES = 100_000  # of a larger image every second, third, ... patch is used


def estimate_sigma(x: Tensor) -> float:
    """Standard deviation of the white noise in an image (1, C, H, W), on the [0, 1] scale.

    The smallest eigenvalues of the covariance of 8x8 patches hold noise alone. Starting with all,
    the largest is dropped until mean and median of the rest agree: then none stands out as signal.
    Where channels depend on each other, as in a grey image stored as colour, other eigenvalues
    vanish; then the channels are taken one by one and their variances averaged.

    Chen, Zhu, Heng, *An efficient statistical method for image noise level estimation*, ICCV 2015.

    Raises:
        LocregError: when the image is too small to hold 2 patches per eigenvalue.
    """
    positions = (x.shape[2] - _PATCH + 1) * (x.shape[3] - _PATCH + 1)
    if min(x.shape[2:]) < _PATCH or positions < 2 * x.shape[1] * _PATCH**2:
        raise LocregError(
            f"An image of {x.shape[3]}x{x.shape[2]} pixels is too small to estimate its noise "
            "level: give sigma."
        )
    apart = math.ceil(math.sqrt(positions / _MOST_PATCHES))
    patches = x[0].unfold(1, _PATCH, apart).unfold(2, _PATCH, apart).flatten(3).flatten(1, 2)
    joint = _covariance_eigenvalues(patches.permute(1, 0, 2).flatten(1))
    if joint[0] > 1e-12 * joint[-1]:
        return math.sqrt(_noise_variance(joint))
    return math.sqrt(np.mean([_noise_variance(_covariance_eigenvalues(c)) for c in patches]))


def estimate_sigma_of_known(x: Tensor, known: Tensor) -> float:
    """Standard deviation of the white noise in an image (1, C, H, W) of which pixels are missing.

    From second differences, along rows and columns, of three known neighbours. Their root mean
    square over blocks of 16x16 pixels is that of the noise where the image is smooth: the lowest
    fifth of the blocks decides. It is less exact than `estimate_sigma`.

    Args:
        known: (H, W), True where a pixel is known.

    Raises:
        LocregError: when there are too few known neighbours.
    """
    squares, counts = torch.zeros_like(x[0]), torch.zeros_like(x[0, 0])
    for axis in (-2, -1):
        if x.shape[axis] < 3:
            continue
        windows = x[0].unfold(axis, 3, 1)  # (C, ..., 3): each pixel with its two neighbours
        usable = known.unfold(axis, 3, 1).all(-1)
        second = windows[..., 0] - 2 * windows[..., 1] + windows[..., 2]
        length = second.shape[axis]
        squares.narrow(axis, 1, length).add_(usable * second.square() / 6)  # 6 = 1 + 4 + 1
        counts.narrow(axis, 1, length).add_(usable)
    block = partial(F.avg_pool2d, kernel_size=_BLOCK, ceil_mode=True)
    counts = block(counts[None])[0]
    enough = counts * _BLOCK**2 >= _FEWEST_DIFFERENCES
    if not enough.any():
        raise LocregError("Too few neighbouring pixels are known to estimate sigma: give it.")
    variances = block(squares)[:, enough] / counts[enough]
    return math.sqrt(float(variances.double().quantile(0.2, dim=1).mean()))


def _covariance_eigenvalues(samples: Tensor) -> NDArray[np.float64]:
    """Ascending eigenvalues of the covariance of samples (count, dimension)."""
    eigenvalues: Tensor = torch.linalg.eigvalsh(torch.cov(samples.double().T))
    return np.asarray(eigenvalues.clamp_min(0).cpu())


def _noise_variance(eigenvalues: NDArray[np.float64]) -> float:
    for count in range(len(eigenvalues), 0, -1):
        smallest = eigenvalues[:count]
        if smallest.mean() <= np.median(smallest):
            break
    return float(smallest.mean())


def calibrate_white_noise(
    regularizer: LocalRegularizer,
    images: Sequence[Tensor],
    *,
    degraded_sigmas: tuple[float, float],
    seed: int,
    sigmas: Sequence[float] = SIGMAS,
    options: AdamOptions = AdamOptions(),
    with_contrast: bool = False,
    progress: bool = True,
) -> Calibration:
    """lam as a smooth function of sigma, fitted on clean training images, and score quantiles.

    For each sigma the lam of highest mean PSNR is found; log lam is then fitted by a parabola in
    log sigma (a cubic, with a contrast).

    Args:
        images: clean images (1, C, H, W), none of them from a test set.
        degraded_sigmas: the noise levels, uniform in [low, high], of the degraded scores.
        with_contrast: first fit the contrast a of R(a x) / a (`best_contrast`) at the levels
            `CONTRAST_SIGMAS`, then log a by a line in log sigma.
    """
    contrast: tuple[float, ...] = ()
    contrast_record = {}
    if with_contrast:
        trained = sum(degraded_sigmas) / 2
        contrasts = _fitted_contrasts(regularizer.critic, images, trained, seed, progress)
        logs = np.log(CONTRAST_SIGMAS), np.log([a for a, _ in contrasts])
        contrast = tuple(np.polynomial.polynomial.polyfit(*logs, 1).tolist())
        contrast_record = {"contrast_sigmas": CONTRAST_SIGMAS, "contrasts": contrasts}
    found: list[tuple[float, float]] = []
    for sigma in tqdm(sigmas, desc="fitting lam", unit="level", disable=not progress):
        at_level = regularizer
        if with_contrast:
            critic = regularizer.critic.at_contrast(exp_polynomial(contrast, sigma))
            at_level = LocalRegularizer(critic.requires_grad_(False))
        quality = partial(restored_psnr, at_level, images, sigma, seed=seed, options=options)
        if found:
            first = found[-1][0] * sigma / sigmas[len(found) - 1]
        else:
            first = first_lam(at_level, images, sigma, seed)
        found.append(best_lam(quality, first))
    lams = [lam for lam, _ in found]
    # At a fitted contrast the summit over lam is sharp, so that lam must be met more closely.
    degree = min(3 if with_contrast else 2, len(sigmas) - 1)
    polynomial = np.polynomial.polynomial.polyfit(np.log(sigmas), np.log(lams), degree)
    levels = np.random.default_rng(seed).uniform(*degraded_sigmas, len(images))
    degraded = [
        add_noise(x, s, seed + i) for i, (x, s) in enumerate(zip(images, levels, strict=True))
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
            "psnr": [quality for _, quality in found],
            **contrast_record,
        },
    )


def _fitted_contrasts(
    critic: PatchCritic, images: Sequence[Tensor], trained: float, seed: int, progress: bool
) -> list[tuple[float, float]]:
    """Contrasts at `CONTRAST_SIGMAS`, and the PSNR in dB that they gave."""
    found = []
    for sigma in CONTRAST_SIGMAS:
        # The less noise there is, the smaller is what shall stay.
        first = _FIRST_CONTRAST * trained / sigma
        found.append(
            best_contrast(critic, images, sigma, seed=seed, first=first, progress=progress)
        )
    return found


def best_contrast(
    critic: PatchCritic,
    images: Sequence[Tensor],
    sigma: float,
    *,
    seed: int,
    first: float = _FIRST_CONTRAST,
    progress: bool = True,
) -> tuple[float, float]:
    """The contrast a at which R(a x) / a restores noisy images best, and their mean PSNR in dB.

    Each a is tried at its best lam.

    The criterion tells patches apart where they differ most, and finds the potential of a ridge
    critic wider than restoration wants it: at the level of the training a is then 2 to 4.

    Args:
        critic: r, on the device of the images.
        images: clean images (1, C, H, W), none of them from a test set.
        sigma: level of the noise.
        seed: of the noise.
        first: where the search begins.
    """

    bar = tqdm(desc=f"fitting the contrast at {sigma:g}", unit="try", disable=not progress)

    def quality(contrast: float) -> float:
        bar.update()
        regularizer = LocalRegularizer(critic.at_contrast(contrast))
        restored = partial(restored_psnr, regularizer, images, sigma, seed=seed)
        lam, _ = best_lam(restored, first_lam(regularizer, images, sigma, seed), ratio=1.3)
        return restored(lam)  # the summit is sharp: a parabola through it would lie far above

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
    """One lam for a degradation that is known by examples only; no ground truth is used.

    It is the lam at which the restored images score, on average, as the clean images do: with less
    they still look degraded to the critic, with more they are smoother than clean images.
    """
    target = np.mean([regularizer.score_map(x).mean().item() for x in clean])

    bar = tqdm(desc="fitting lam", unit="step", disable=not progress)

    def excess(lam: float) -> float:
        bar.update()
        restored = (adam(Objective(y, regularizer, lam), y, options).image for y in degraded)
        return float(target - np.mean([regularizer.score_map(x).mean().item() for x in restored]))

    length = float(
        np.mean([regularizer.grad(y).norm().item() / y.numel() ** 0.5 for y in degraded])
    )
    first = 0.02 / max(length, 1e-12)  # the first step moves a pixel by 0.02
    with bar:
        lam = growing_root(excess, first, refinements=6, reach=10)
    if lam is None:
        raise LocregError(
            "No lam gives the restored images the scores of clean ones: the critic does not tell "
            "the two folders apart, or its energy does not smooth this damage away; train longer, "
            "check that they differ, or use locreg restore --damage any."
        )
    # A constant polynomial: lam belongs to the degradation, and does not follow from a sigma.
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
