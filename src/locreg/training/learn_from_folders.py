"""Learn the damage of a folder of images from another, unpaired folder of clean images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from locreg.errors import LocregError
from locreg.images.sources import find_channels, list_images
from locreg.regularizer.criterion_record import DenoisingRecord
from locreg.regularizer.weights import load_weights
from locreg.training.learn_damage import critic_path, learn_damage
from locreg.training.output import TrainingRun, check_made_alike
from locreg.training.recipes import (
    CriticRecipe,
    DenoiserRecipe,
    recipe_for_damage,
    recipe_for_noise,
)
from locreg.training.train_denoiser import train_denoiser


def learn_from_folders(
    clean: tuple[Path, ...],
    degraded: Path,
    run: TrainingRun,
    *,
    damage: Literal["noise", "any"] = "noise",
    iterations: int | None = None,
    white: float | None = None,
    message: Callable[[str], None],
) -> None:
    """Learn the damage of a folder of images and write a weight file, unless that has been done.

    An interrupted run is resumed without being asked.

    Args:
        clean: clean images: folders or tar files.
        degraded: folder of damaged images of other scenes.
        run: where to write, and how to run.
        damage: "noise": learn a model of the noise; "any": let a critic find how strongly to smooth
            (`locreg.learn_damage`).
        iterations: number of iterations; None: as in the recipe.
        white: pixel value that counts as 1 in all images.
        message: called with a sentence that says what was learned.

    Raises:
        LocregError: when the folder holds both grey and colour images, when the weight file was
            learned from other images, or when the training raises it.
    """
    recipe = _recipe(clean, degraded, damage, iterations, white)
    if isinstance(recipe, CriticRecipe):
        criteria = {critic_path(run.output): "wasserstein", run.output: "damage"}
        with_checkpoint = replace(run, output=critic_path(run.output))
    else:
        criteria = {run.output: "denoising"}
        with_checkpoint = run
    existing = [path for path in criteria if path.exists()]
    for path in existing:
        check_made_alike(path, load_weights(path), criteria[path], recipe)
    interrupted = with_checkpoint.is_interrupted()
    if run.output in existing and not interrupted:
        message(f"{run.output} has been learned already.")
        return
    # The critic may exist already although the strength has not been found yet.
    run = replace(run, resume=interrupted or bool(existing))
    if isinstance(recipe, CriticRecipe):
        learned = learn_damage(recipe, run).criterion
        assert isinstance(learned, DenoisingRecord)
        message(f"the damage is smoothed as strongly as white noise of sigma {learned.level:.4f}.")
        return
    weights = train_denoiser(recipe, run)
    message(f"the learned noise is {weights.training['noise']}.")


def _recipe(
    clean: tuple[Path, ...],
    degraded: Path,
    damage: Literal["noise", "any"],
    iterations: int | None,
    white: float | None,
) -> CriticRecipe | DenoiserRecipe:
    kinds = find_channels(list_images(degraded))
    if len(kinds) > 1:
        raise LocregError(f"{degraded} holds grey and colour images: sort them into two folders.")
    channels: Literal[1, 3] = 1 if kinds == {1} else 3
    if damage == "noise":
        return recipe_for_noise(clean, degraded, channels, iterations, white)
    return recipe_for_damage(clean, degraded, channels, iterations, white)
