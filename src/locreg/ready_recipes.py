"""Constants that were found to serve: recipes for a folder of noisy or damaged images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from locreg.training_options import (
    DENOISER_CRITIC,
    RIDGE_TRAINING,
    DataOptions,
    DenoiserRecipe,
    DenoisingOptions,
    Recipe,
    RidgeCriticOptions,
    SplitOptions,
)


def recipe_for_noise(
    clean: tuple[Path, ...],
    noisy: Path,
    channels: Literal[1, 3],
    iterations: int = 1_500,
    white: float | None = None,
) -> DenoiserRecipe:
    """For a folder of noisy images, in ten to thirty minutes, from the packaged energy."""
    return DenoiserRecipe(
        clean=clean,
        degraded=noisy,
        initial="denoise-gray" if channels == 1 else "denoise-rgb",
        critic=replace(DENOISER_CRITIC, channels=channels),
        data=SplitOptions(held_out=4, white=white),
        training=DenoisingOptions(
            iterations=iterations,
            learning_rate=3e-3,
            last_learning_rate=6e-5,
            validate_every=750,
            weaker_noise=0.0,  # that of one folder is learned, and varied by a third
        ),
    )


def recipe_for_damage(
    clean: tuple[Path, ...],
    degraded: Path,
    channels: Literal[1, 3],
    iterations: int = RIDGE_TRAINING.iterations,
    white: float | None = None,
) -> Recipe:
    """For a folder of images that are damaged in any way, in about five minutes: a ridge critic."""
    return Recipe(
        clean=clean,
        degraded=degraded,
        critic=RidgeCriticOptions(channels=channels),
        data=DataOptions(held_out=4, calibration_images=0, white=white),
        training=replace(RIDGE_TRAINING, iterations=iterations),
    )
