"""Train a denoising energy on clean images."""

from __future__ import annotations

import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from locreg.degradation.learned_noise import NoiseModel, learn_noise
from locreg.degradation.noise import NoiseRange, NoiseShares
from locreg.errors import LocregError
from locreg.images.archives import ImageSource
from locreg.images.patches import PatchPool, load_crops
from locreg.images.sources import list_sources, split_sources
from locreg.regularizer.criterion_record import DenoisingRecord
from locreg.regularizer.multiscale import Critic, begin_with
from locreg.regularizer.weights import Weights, load_weights
from locreg.training.build_critic import build_denoiser_critic
from locreg.training.criteria.denoising import (
    DenoisingCriterion,
    context_margin,
    training_precision,
)
from locreg.training.loop import Validate
from locreg.training.options import DENOISER_NOISE
from locreg.training.output import TrainingRun, folder_names, listing, train_to_file
from locreg.training.recipes import DenoiserRecipe
from locreg.training.validation import DenoiserValidation

_NOISE_IMAGES = 100  # number of images of each folder that the noise is learned from
_NOISE_IMAGE_SIZE = 640  # side of their centre crops, in pixels


def train_denoiser(recipe: DenoiserRecipe, run: TrainingRun) -> Weights:
    """Train a noise-conditioned energy whose gradient steps denoise, and write its weight file.

    Args:
        recipe: folders, noise, architecture and constants.
        run: where to write, and how to run.

    Raises:
        UsageError: when the recipe cannot work.
        LocregError: when folders or checkpoint cannot be used or the output cannot be written.
    """
    run.check()
    data, channels = recipe.data, recipe.critic.channels
    critic = build_denoiser_critic(recipe.critic, data.seed, run.device)
    initial = None if recipe.initial is None else _load_initial(critic, recipe.initial)
    if recipe.training.trained == "coarse":
        critic.scales[0].requires_grad_(False)
    clean, held_out = split_sources(recipe.clean_paths, held_out=data.held_out, seed=data.seed)
    precision = training_precision(recipe.training.precision, torch.device(run.device))
    # The checkpoint records the precision that auto chose: a resumed run must use the same.
    options = replace(recipe.training, precision=precision)
    margin = context_margin(critic, options.steps, options.borders)
    pool = PatchPool(
        clean,
        size=options.patch_size + 2 * margin,
        channels=channels,
        seed=data.seed,
        augment=data.augment,
        white=data.white,
    )
    noise: NoiseRange | NoiseModel | NoiseShares = recipe.noise or DENOISER_NOISE
    if recipe.degraded is not None:
        noise = _learn_noise(recipe, clean)
    weights = train_to_file(
        run,
        DenoisingCriterion(
            clean=pool,
            noise=noise,
            batch=options.batch,
            seed=data.seed,
            precision=precision,
            steps=options.steps,
            borders=options.borders,
            weaker_noise=options.weaker_noise,
            vary_colours=options.vary_colours,
            zoom=options.zoom,
            grey_share=options.grey_share,
        ),
        critic,
        options,
        learned=DenoisingRecord(
            level=noise.level if isinstance(noise, NoiseModel) else None,
            noise=_white_levels(noise),
            steps=options.steps,
            white=data.white,
            kinds="real" if isinstance(noise, NoiseShares) else "white",
        ),
        sources=_sources(recipe, len(clean), noise, initial),
        validate=_validation(recipe, held_out, noise, run.device),
    )
    run.checkpoint.unlink(missing_ok=True)
    return weights


def _validation(
    recipe: DenoiserRecipe,
    held_out: list[ImageSource],
    noise: NoiseRange | NoiseModel | NoiseShares,
    device: torch.device | str,
) -> Validate | None:
    if not held_out:
        return None
    data = recipe.data
    crops = load_crops(
        held_out, size=data.validation_size, channels=recipe.critic.channels, white=data.white
    )
    images = [x.to(device) for x in crops]
    return DenoiserValidation(images, data.seed, noise, recipe.training.steps)


def _sources(
    recipe: DenoiserRecipe,
    clean: int,
    noise: NoiseRange | NoiseModel | NoiseShares,
    initial: dict[str, Any] | None,
) -> dict[str, Any]:
    """What the weights are made from, for the training record."""
    return {
        "clean": f"{folder_names(recipe.clean_paths)}, {clean} images",
        "files": listing(list_sources([*recipe.clean_paths, *recipe.degraded_paths])),
        "noise": _describe_noise(recipe, noise),
        "data": asdict(recipe.data),
        "initial": initial,
    }


def _learn_noise(recipe: DenoiserRecipe, clean: list[ImageSource]) -> NoiseModel:
    """Learn the noise of the degraded images, from at most `_NOISE_IMAGES` of each kind."""
    noisy = list_sources(recipe.degraded_paths)
    order = np.random.default_rng(recipe.data.seed).permutation(len(noisy))
    parts = [clean[:_NOISE_IMAGES], [noisy[i] for i in order[:_NOISE_IMAGES]]]
    channels, white = recipe.critic.channels, recipe.data.white
    crops = [
        load_crops(part, size=_NOISE_IMAGE_SIZE, channels=channels, white=white) for part in parts
    ]
    return learn_noise(*crops, seed=recipe.data.seed)


def _white_levels(noise: NoiseRange | NoiseModel | NoiseShares) -> NoiseRange | None:
    """The range of white noise that training covers, or None."""
    if isinstance(noise, NoiseShares):
        return DENOISER_NOISE
    return noise if isinstance(noise, NoiseRange) else None


def _describe_noise(recipe: DenoiserRecipe, noise: NoiseRange | NoiseModel | NoiseShares) -> str:
    if not isinstance(noise, NoiseModel):
        return str(noise)
    trend = (
        f"{'growing' if noise.slope > 0 else 'falling'} with brightness by {abs(noise.slope):.2f}"
    )
    checksum = zlib.crc32(noise.covariance.numpy().tobytes())
    return (
        f"that of {folder_names(recipe.degraded_paths)}: level {noise.level:.4f} in middle grey, "
        f"its variance {trend if noise.slope else 'the same at any brightness'}, "
        f"{'cut off at 0 and 1' if noise.clipped else 'not cut off'} ({checksum:08x})"
    )


def _load_initial(critic: Critic, path: Path | str) -> dict[str, Any]:
    """Copy the weights of a file (`begin_with`); returns the record of their training."""
    initial = load_weights(path)
    known = initial.critic
    if known.noise_conditioned and critic.in_channels == 1 and known.in_channels > 1:
        known = known.of_grey()
    try:
        begin_with(critic, known)
    except LocregError:
        raise LocregError(
            f"{path} holds another architecture: give the same channels and activation, and no "
            "width smaller than its own."
        ) from None
    return initial.training
