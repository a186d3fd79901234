"""From trained weights and clean photographs to refined weights: the bilevel criterion."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch

from locreg.bilevel import BilevelCriterion
from locreg.calibration import calibrate_white_noise
from locreg.critic import PatchCritic
from locreg.errors import LocregError
from locreg.images import ImageSource
from locreg.options import LBFGSOptions
from locreg.patches import PatchPool, split_sources
from locreg.refinement_options import RefinementRecipe
from locreg.regularizer import LocalRegularizer
from locreg.training import train_critic
from locreg.training_files import (
    check_outputs,
    checkpoint_path,
    folder_names,
    log_path,
    training_record,
)
from locreg.validation import WhiteNoiseValidation, load_crops
from locreg.weights import Weights, load_weights, save_weights


def refine_from_folder(
    output: Path,
    recipe: RefinementRecipe,
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> Weights:
    """Refine an energy until its minimisers are close to the clean images; write its weight file.

    The energy is 1/2 |x - y|^2 + lam R(x) at one noise level and one lam. What the training needs
    beyond the initial weights are clean images alone.

    Args:
        output: the weight file; its log is written beside it, and until the end a checkpoint.
        recipe: initial weights, folders, noise level and constants.
        resume: continue from the checkpoint of an interrupted run of the same recipe.
        command: what to record as the command that made the file.

    Raises:
        LocregError: when weights, folders or checkpoint cannot be used, the output cannot be
            written, or lam is not known.
    """
    check_outputs(output, resume)
    initial = load_weights(recipe.initial)
    critic, lam = _initial_energy(recipe, initial)
    channels, options, data = critic.in_channels, recipe.training, recipe.data
    clean, held_out = split_sources(recipe.clean_paths, held_out=data.held_out, seed=data.seed)
    validate = None
    if held_out:
        crops = load_crops(held_out, size=data.validation_size, channels=channels)
        images = [x.to(device) for x in crops]
        validate = WhiteNoiseValidation(images, recipe.sigma, data.seed)
    pool = PatchPool(
        clean, size=options.patch_size, channels=channels, seed=data.seed, augment=data.augment
    )
    minimisation = LBFGSOptions(steps=options.solver_steps, tolerance=options.solver_tolerance)
    sources = {
        "clean": f"{folder_names(recipe.clean_paths)}, {len(clean)} images",
        "sigma": recipe.sigma,
        "lam": lam,
        "data": asdict(data),
        "initial": {"criterion": initial.criterion, "training": initial.training},
    }
    trained = train_critic(
        BilevelCriterion(
            clean=pool,
            sigma=recipe.sigma,
            lam=lam,
            batch=options.batch,
            seed=data.seed,
            minimisation=minimisation,
            conjugate_gradients=options.conjugate_gradients,
        ),
        critic.to(device),
        options,
        validate=validate,
        checkpoint=checkpoint_path(output),
        recipe=sources,
        resume=resume,
        log=log_path(output),
        progress=progress,
    )
    weights = Weights(
        critic=trained.critic.requires_grad_(False).cpu(),
        criterion={"name": "bilevel", "sigma": recipe.sigma, "lam": lam},
        training={**training_record(options, trained, command), **sources},
    )
    save_weights(weights, output)  # an interrupted calibration must not cost the training
    if data.calibration_images:
        weights = _calibrated(weights, recipe, clean, device, progress)
        save_weights(weights, output)
    checkpoint_path(output).unlink(missing_ok=True)
    return weights


def _initial_energy(recipe: RefinementRecipe, initial: Weights) -> tuple[PatchCritic, float]:
    """The critic to begin with, and lam."""
    if initial.critic.piecewise_linear:
        raise LocregError(
            f"{recipe.initial} is piecewise linear: its derivatives do not tell how its minimisers "
            "move. Refine a critic with filters or a smooth activation."
        )
    critic, lam = initial.critic, recipe.lam
    if critic.noise_conditioned:
        critic = critic.at(recipe.sigma)
        lam = recipe.sigma if lam is None else lam  # one gradient step of this length denoises
    elif lam is None and initial.calibration is not None:
        lam = initial.calibration.lam(recipe.sigma)
    if lam is None:
        raise LocregError(f"lam was not fitted for {recipe.initial}: give lam.")
    critic.requires_grad_(recipe.training.parameters == "all")
    critic.weights[-1].requires_grad_()
    return critic, lam


def _calibrated(
    weights: Weights,
    recipe: RefinementRecipe,
    clean: list[ImageSource],
    device: torch.device | str,
    progress: bool,
) -> Weights:
    """With lam as a function of the noise level."""
    data = recipe.data
    crops = load_crops(
        clean[: data.calibration_images],
        size=data.calibration_size,
        channels=weights.critic.in_channels,
    )
    regularizer = LocalRegularizer(weights.critic).to(device)
    try:
        calibration = calibrate_white_noise(
            regularizer,
            [x.to(device) for x in crops],
            degraded_sigmas=(recipe.sigma, recipe.sigma),
            seed=data.seed,
            progress=progress,
        )
    finally:
        weights.critic.cpu()
    return replace(weights, calibration=calibration)
