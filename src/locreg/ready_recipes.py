"""Constants that were found to serve: recipes for a folder of noisy or damaged images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from locreg.training_options import (
    DENOISER_CRITIC,
    CriticOptions,
    DataOptions,
    DenoiserRecipe,
    DenoisingOptions,
    Recipe,
    SplitOptions,
    TrainingOptions,
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


# What ridge critics learn well with, in minutes.
RIDGE_TRAINING = TrainingOptions(
    iterations=600,
    batch=4,
    patch_size=60,
    penalty=10.0,
    penalty_form="one-sided",
    learning_rate=5e-3,
    last_learning_rate=2e-4,
    weight_average=0.99,
    validate_every=300,
    checkpoint_every=100,
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
        critic=CriticOptions(channels=channels, filters=96),
        data=DataOptions(held_out=4, calibration_images=0, white=white),
        training=replace(RIDGE_TRAINING, iterations=iterations),
    )
