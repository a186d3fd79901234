"""Refine trained weights on clean photographs by the bilevel criterion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError
from locreg.images.archives import ImageSource
from locreg.images.patches import PatchPool, load_crops
from locreg.images.sources import list_sources, split_sources
from locreg.regularizer.criterion_record import BilevelRecord
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.multiscale import Critic
from locreg.regularizer.weights import Weights, load_weights, save_weights
from locreg.solvers.options import LBFGSOptions
from locreg.solvers.search import best_lam
from locreg.training.calibration import CALIBRATION_SIZE, calibrate_white_noise
from locreg.training.criteria.bilevel import BilevelCriterion
from locreg.training.output import TrainingRun, folder_names, listing, train_to_file
from locreg.training.recipes import RefinementRecipe
from locreg.training.validation import MinimiserValidation, first_lam

_LAM_IMAGES = 6  # number of training images that the initial lam is fitted on


def refine(recipe: RefinementRecipe, run: TrainingRun) -> Weights:
    """Train an energy so that its minimisers are close to clean images, and write the weight file.

    The energy is 1/2 |x - y|^2 + lam R(x) at one noise level and one lam. L-BFGS finds its
    minimisers, which are compared with the clean images in training and validation. Apart from the
    initial weights, only clean images are needed. In the end lam is fitted again for Adam, the
    default solver, at this noise level, at 1.25 times it and at 1/1.25 of it.

    Args:
        recipe: initial weights, folders, noise level and constants.
        run: where to write, and how to run.

    Raises:
        UsageError: when the output's suffix is not that of a weight file.
        LocregError: when weights, folders or checkpoint cannot be used, or the output cannot be
            written.
    """
    run.check()
    initial = load_weights(recipe.initial)
    critic = _initial_critic(recipe, initial).to(run.device)
    options, data = recipe.training, recipe.data
    clean, held_out = split_sources(recipe.clean_paths, held_out=data.held_out, seed=data.seed)
    minimisation = LBFGSOptions(steps=options.solver_steps, tolerance=options.solver_tolerance)
    crops = partial(_crops, critic.in_channels, data.white, run.device)
    lam = recipe.lam
    if lam is None:
        images = crops(clean[:_LAM_IMAGES], data.validation_size)
        lam = _fitted_lam(critic, images, recipe.sigma, data.seed, minimisation)
    validate = None
    if held_out:
        images = crops(held_out, data.validation_size)
        validate = MinimiserValidation(images, recipe.sigma, lam, data.seed, minimisation)
    pool = PatchPool(
        clean,
        size=options.patch_size,
        channels=critic.in_channels,
        seed=data.seed,
        augment=data.augment,
        white=data.white,
    )
    weights = train_to_file(
        run,
        BilevelCriterion(
            clean=pool,
            sigma=recipe.sigma,
            lam=lam,
            batch=options.batch,
            seed=data.seed,
            minimisation=minimisation,
            conjugate_gradients=options.conjugate_gradients,
        ),
        critic,
        options,
        learned=BilevelRecord(sigma=recipe.sigma, lam=lam),
        sources=_sources(recipe, len(clean), lam, initial),
        findings={"initial_quality": validate(critic)[0] if validate else None},
        validate=validate,
    )
    if data.calibration_images:
        images = crops(clean[: data.calibration_images], data.calibration_size or CALIBRATION_SIZE)
        weights = _calibrated(weights, images, recipe, run.progress)
        save_weights(weights, run.output)
    run.checkpoint.unlink(missing_ok=True)
    return weights


def _crops(
    channels: int,
    white: float | None,
    device: torch.device | str,
    files: list[ImageSource],
    size: int,
) -> list[Tensor]:
    crops = load_crops(files, size=size, channels=channels, white=white)
    return [x.to(device) for x in crops]


def _sources(recipe: RefinementRecipe, clean: int, lam: float, initial: Weights) -> dict[str, Any]:
    """What the weights are made from, for the training record."""
    criterion = initial.criterion.describe() if initial.criterion else {}
    return {
        "clean": f"{folder_names(recipe.clean_paths)}, {clean} images",
        "files": listing(list_sources(recipe.clean_paths)),
        "sigma": recipe.sigma,
        "lam": lam,
        "data": asdict(recipe.data),
        "initial": {"criterion": criterion, "training": initial.training},
    }


def _initial_critic(recipe: RefinementRecipe, initial: Weights) -> Critic:
    """The critic to begin with; ``requires_grad`` is set for the weights to be trained only."""
    if initial.critic.piecewise_linear:
        raise LocregError(
            f"{recipe.initial} is piecewise linear: its second derivatives are 0 and do not tell "
            "how its minimisers depend on the weights. Refine a ridge critic (locreg train-ridge), "
            "or a critic with a smooth activation."
        )
    regularizer = LocalRegularizer(initial)
    critic = initial.critic
    if regularizer.depends_on_level:
        critic = regularizer.at(recipe.sigma).critic
    critic.requires_grad_(recipe.training.parameters == "all")
    for scale in critic.scales:
        scale.weights[-1].requires_grad_()
    return critic


def _fitted_lam(
    critic: Critic,
    images: Sequence[Tensor],
    sigma: float,
    seed: int,
    minimisation: LBFGSOptions,
) -> float:
    """The lam whose minimisers are best, rounded to three digits.

    A resumed run must find the same lam, hence the rounding.
    """
    first = first_lam(LocalRegularizer(critic), images, sigma, seed)
    lam, _ = best_lam(
        lambda lam: MinimiserValidation(images, sigma, lam, seed, minimisation)(critic)[0], first
    )
    return float(f"{lam:.3g}")


def _calibrated(
    weights: Weights, images: Sequence[Tensor], recipe: RefinementRecipe, progress: bool
) -> Weights:
    """The weights, with lam as a function of the noise level around that of the training."""
    sigma = recipe.sigma
    regularizer = LocalRegularizer(weights.critic.to(images[0].device))
    calibration = calibrate_white_noise(
        regularizer,
        images,
        noise=NoiseRange(low=sigma, high=sigma),
        seed=recipe.data.seed,
        sigmas=(sigma / 1.25, sigma, 1.25 * sigma),
        progress=progress,
    )
    return replace(weights, critic=weights.critic.cpu(), calibration=calibration)
