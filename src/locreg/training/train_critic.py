"""Train a critic on folders or tar files of photographs: split, train, calibrate, save."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from locreg.errors import LocregError, UsageError
from locreg.images.archives import ImageSource
from locreg.images.patches import PatchPool, load_crops
from locreg.images.sources import list_sources, split_sources
from locreg.regularizer.criterion_record import WassersteinRecord
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.weights import Weights, save_weights
from locreg.training.build_critic import build_critic
from locreg.training.calibration import (
    CALIBRATION_SIZE,
    calibrate_unpaired,
    calibrate_white_noise,
)
from locreg.training.criteria.wasserstein import UnpairedPatches, WassersteinCriterion
from locreg.training.loop import Validate
from locreg.training.options import RidgeCriticOptions
from locreg.training.output import TrainingRun, folder_names, listing, train_to_file
from locreg.training.recipes import CriticRecipe
from locreg.training.validation import CriterionValidation, WhiteNoiseValidation

# Number of clean and of degraded pixels when the criterion is validated, in all batches together.
_VALIDATION_PIXELS = 16 * 64 * 15**2
# Side of the crops on which scores of clean and degraded images of different scenes are compared.
_SIZE_OF_SCENES = 128


def train_critic(recipe: CriticRecipe, run: TrainingRun) -> Weights:
    """Train a critic on unpaired patches, calibrate it, and write its weight file.

    Args:
        recipe: folders, noise, architecture and constants.
        run: where to write, and how to run.

    Raises:
        UsageError: when the recipe cannot work.
        LocregError: when folders or checkpoint cannot be used, when the output cannot be written,
            or when no lam fits (the weights are then kept without lam).
    """
    run.check()
    critic = build_critic(recipe.critic, recipe.data.seed, run.device, noise=recipe.noise)
    if (recipe.training.patch_size or critic.receptive_field) < critic.receptive_field:
        raise UsageError(f"patch_size must be at least {critic.receptive_field} pixels.")
    files = _split(recipe)
    penalty, form = recipe.training.penalty, recipe.training.penalty_form
    patches = _unpaired(recipe, critic, files.clean, files.degraded)
    weights = train_to_file(
        run,
        WassersteinCriterion(patches, recipe.training.batch, penalty, form),
        critic,
        recipe.training,
        learned=WassersteinRecord(penalty=penalty, penalty_form=form),
        sources={**_sources(recipe, files), "data": asdict(recipe.data)},
        validate=_validation(recipe, critic, files, run.device),
    )
    if recipe.data.calibration_images:
        weights = _calibrate_and_save(recipe, weights, files, run)
    run.checkpoint.unlink(missing_ok=True)
    return weights


def _calibrate_and_save(
    recipe: CriticRecipe, weights: Weights, files: _Split, run: TrainingRun
) -> Weights:
    try:
        weights = _calibrated(recipe, weights, files, run)
    except LocregError as error:
        run.checkpoint.unlink(missing_ok=True)  # a resumed run would fail again
        raise LocregError(
            f"{error} {run.output} is kept without lam: restore with --lam, or delete it and "
            f"{run.log.name} and train again."
        ) from None
    save_weights(weights, run.output)
    return weights


@dataclass(frozen=True)
class _Split:
    """Image files by their use; with synthetic noise, all of them are clean images."""

    clean: list[ImageSource]
    degraded: list[ImageSource]
    clean_held_out: list[ImageSource]
    degraded_held_out: list[ImageSource]


def _split(recipe: CriticRecipe) -> _Split:
    held_out, seed = recipe.data.held_out, recipe.data.seed
    clean, clean_held_out = split_sources(recipe.clean_paths, held_out=held_out, seed=seed)
    if recipe.data.common_patches:
        return _Split(clean, clean, clean_held_out, clean_held_out)
    if recipe.degraded is None:
        half = len(clean) // 2
        return _Split(clean[:half], clean[half:], clean_held_out, clean_held_out)
    degraded, degraded_held_out = split_sources(recipe.degraded_paths, held_out=held_out, seed=seed)
    return _Split(clean, degraded, clean_held_out, degraded_held_out)


def _unpaired(
    recipe: CriticRecipe, critic: PatchCritic, clean: list[ImageSource], degraded: list[ImageSource]
) -> UnpairedPatches:
    def pool(files: list[ImageSource], offset: int) -> PatchPool:
        return PatchPool(
            files,
            size=recipe.training.patch_size or critic.receptive_field,
            channels=recipe.critic.channels,
            seed=2 * recipe.data.seed + offset,
            augment=recipe.data.augment and recipe.degraded is None,
            white=recipe.data.white,
        )

    others = None if recipe.data.common_patches else pool(degraded, 2)
    return UnpairedPatches(pool(clean, 1), others, recipe.noise, recipe.data.seed)


def _validation(
    recipe: CriticRecipe, critic: PatchCritic, files: _Split, device: torch.device | str
) -> Validate | None:
    if not recipe.data.held_out:
        return None
    if recipe.validation_sigma is None:
        patches = _unpaired(recipe, critic, files.clean_held_out, files.degraded_held_out)
        size = recipe.training.patch_size or critic.receptive_field
        patches.batch(1, 0)  # fails before the training if the images cannot be used
        batches = max(1, _VALIDATION_PIXELS // (CriterionValidation.batch * size**2))
        return CriterionValidation(
            patches, recipe.training.penalty, recipe.training.penalty_form, batches
        )
    crops = load_crops(
        files.clean_held_out,
        size=recipe.data.validation_size,
        channels=recipe.critic.channels,
        white=recipe.data.white,
    )
    images = [x.to(device) for x in crops]
    return WhiteNoiseValidation(images, recipe.validation_sigma, recipe.data.seed)


def _calibrated(recipe: CriticRecipe, weights: Weights, files: _Split, run: TrainingRun) -> Weights:
    """The weights with lam and, for a ridge critic trained on synthetic noise, its contrast."""

    def crops(part: list[ImageSource]) -> list[Tensor]:
        chosen = part[: recipe.data.calibration_images]
        size = recipe.data.calibration_size or (
            CALIBRATION_SIZE if recipe.noise else _SIZE_OF_SCENES
        )
        channels = recipe.critic.channels
        images = load_crops(chosen, size=size, channels=channels, white=recipe.data.white)
        return [x.to(run.device) for x in images]

    clean, seed = crops(files.clean), recipe.data.seed
    critic = weights.critic.to(run.device)
    regularizer = LocalRegularizer(critic)
    if recipe.noise is None:
        calibration = calibrate_unpaired(
            regularizer, clean, crops(files.degraded), progress=run.progress
        )
    else:
        calibration = calibrate_white_noise(
            regularizer,
            clean,
            noise=recipe.noise,
            seed=seed,
            sigmas=recipe.data.calibration_sigmas or None,
            with_contrast=isinstance(recipe.critic, RidgeCriticOptions),
            progress=run.progress,
        )
    return replace(weights, critic=critic.cpu(), calibration=calibration)


def _sources(recipe: CriticRecipe, files: _Split) -> dict[str, Any]:
    """What the weights are made from, for the training record: names and counts, not paths."""
    clean, degraded = folder_names(recipe.clean_paths), folder_names(recipe.degraded_paths)
    return {
        "clean": f"{clean}, {len(files.clean)} images",
        "degraded": "the same patches"
        if recipe.data.common_patches
        else f"{degraded}, {len(files.degraded)} other images",
        "files": listing(list_sources([*recipe.clean_paths, *recipe.degraded_paths])),
        "noise": str(recipe.noise) if recipe.noise else None,
        "validation_sigma": recipe.validation_sigma,
    }
