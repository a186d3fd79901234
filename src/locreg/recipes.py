"""From folders or tar files of photographs to a weight file: split, train, calibrate, save."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from locreg.calibration import calibrate_unpaired, calibrate_white_noise
from locreg.critic import PatchCritic, standard_layers
from locreg.errors import LocregError, UsageError
from locreg.images import ImageSource, list_sources
from locreg.noise_model import NoiseModel, learn_noise
from locreg.options import NoiseRange
from locreg.patches import PatchPool, UnpairedPatches, split_sources
from locreg.regularizer import LocalRegularizer
from locreg.ridge import ridge_critic
from locreg.score_matching import DenoisingCriterion, context_margin, training_precision
from locreg.training import Validate
from locreg.training_files import (
    check_outputs,
    checkpoint_path,
    folder_names,
    listing,
    log_path,
    train_to_file,
)
from locreg.training_options import (
    DENOISER_NOISE,
    CriticOptions,
    DenoiserRecipe,
    Recipe,
    RidgeCriticOptions,
)
from locreg.validation import (
    CriterionValidation,
    DenoiserValidation,
    WhiteNoiseValidation,
    load_crops,
)
from locreg.weights import Weights, load_weights, save_weights
from locreg.wgan import WassersteinCriterion

_NOISE_IMAGES = 100  # of each folder, that the noise is learned from
_UNKNOWN_NOISE = 0.1  # that a ridge critic begins with, where the degradation is not known
_VALIDATION_PIXELS = 16 * 64 * 15**2  # of each kind, in all batches of a criterion's validation
_NOISE_IMAGE_SIZE = 640  # of their centres, in pixels


def train_from_folders(
    output: Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> Weights:
    """Train a critic on unpaired patches, calibrate it, and write its weight file.

    Args:
        output: the weight file; its log is written beside it, and until the end a checkpoint.
        recipe: folders, noise, architecture and constants.
        resume: continue from the checkpoint of an interrupted run of the same recipe.
        command: what to record as the command that made the file.

    Raises:
        LocregError: when folders or checkpoint cannot be used or the output cannot be written.
    """
    check_outputs(output, resume)
    network = _network(recipe.critic, recipe.data.seed, device, noise=recipe.noise)
    if (recipe.training.patch_size or network.receptive_field) < network.receptive_field:
        raise UsageError(f"patch_size must be at least {network.receptive_field} pixels.")
    files = _split(recipe)
    penalty, form = recipe.training.penalty, recipe.training.penalty_form
    patches = _unpaired(recipe, network, files.clean, files.degraded)
    weights = train_to_file(
        output,
        WassersteinCriterion(patches, recipe.training.batch, penalty, form),
        network,
        recipe.training,
        learned={"name": "wasserstein", "penalty": penalty, "penalty_form": form},
        sources={**_sources(recipe, files), "data": asdict(recipe.data)},
        validate=_validation(recipe, network, files, device),
        resume=resume,
        command=command,
        progress=progress,
    )
    if recipe.data.calibration_images:
        try:
            weights = _calibrated(recipe, weights, files, device, progress)
        except LocregError as error:
            checkpoint_path(output).unlink(missing_ok=True)  # to resume would fail again
            raise LocregError(
                f"{error} {output} is kept without lam: restore with --lam, or delete it and "
                f"{log_path(output).name} and train anew."
            ) from None
        save_weights(weights, output)
    checkpoint_path(output).unlink(missing_ok=True)
    return weights


def train_denoiser_from_folder(
    output: Path,
    recipe: DenoiserRecipe,
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> Weights:
    """Train a noise-conditioned energy of which gradient steps denoise, and write its weight file.

    Arguments and errors: see `train_from_folders`.
    """
    check_outputs(output, resume)
    network = _network(recipe.critic, recipe.data.seed, device, noise_conditioned=True)
    initial = None if recipe.initial is None else _load_initial(network, recipe.initial)
    held_out, seed = recipe.data.held_out, recipe.data.seed
    clean, clean_held_out = split_sources(recipe.clean_paths, held_out=held_out, seed=seed)
    channels, options = recipe.critic.channels, recipe.training
    precision = training_precision(options.precision, torch.device(device))
    options = replace(options, precision=precision)  # a resumed run goes on with the same
    margin = context_margin(network, options.steps, options.borders)
    pool = PatchPool(
        clean,
        size=options.patch_size + 2 * margin,
        channels=channels,
        seed=seed,
        augment=recipe.data.augment,
        white=recipe.data.white,
    )
    noise: NoiseRange | NoiseModel = recipe.noise or DENOISER_NOISE
    if recipe.degraded is not None:
        noise = _learn_noise(recipe, clean)
    validate = None
    if held_out:
        size, white = recipe.data.validation_size, recipe.data.white
        crops = load_crops(clean_held_out, size=size, channels=channels, white=white)
        validate = DenoiserValidation([x.to(device) for x in crops], seed, noise, options.steps)
    weights = train_to_file(
        output,
        DenoisingCriterion(
            clean=pool,
            noise=noise,
            batch=options.batch,
            seed=seed,
            precision=precision,
            steps=options.steps,
            borders=options.borders,
            weaker_noise=options.weaker_noise,
        ),
        network,
        options,
        learned={
            "name": "denoising",
            "level": noise.level if isinstance(noise, NoiseModel) else None,
            "noise": [noise.low, noise.high] if isinstance(noise, NoiseRange) else None,
            "steps": options.steps,
            "white": recipe.data.white,
        },
        sources={
            "clean": f"{folder_names(recipe.clean_paths)}, {len(clean)} images",
            "files": listing(list_sources([*recipe.clean_paths, *recipe.degraded_paths])),
            "noise": _describe_noise(recipe, noise),
            "data": asdict(recipe.data),
            "initial": initial,
        },
        validate=validate,
        resume=resume,
        command=command,
        progress=progress,
    )
    checkpoint_path(output).unlink(missing_ok=True)
    return weights


@dataclass(frozen=True)
class _Split:
    """Image files by their use; with synthetic noise all come from the clean folder."""

    clean: list[ImageSource]
    degraded: list[ImageSource]
    clean_held_out: list[ImageSource]
    degraded_held_out: list[ImageSource]


def _split(recipe: Recipe) -> _Split:
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
    recipe: Recipe, network: PatchCritic, clean: list[ImageSource], degraded: list[ImageSource]
) -> UnpairedPatches:
    def pool(files: list[ImageSource], offset: int) -> PatchPool:
        return PatchPool(
            files,
            size=recipe.training.patch_size or network.receptive_field,
            channels=recipe.critic.channels,
            seed=2 * recipe.data.seed + offset,
            augment=recipe.data.augment and recipe.degraded is None,
            white=recipe.data.white,
        )

    others = None if recipe.data.common_patches else pool(degraded, 2)
    return UnpairedPatches(pool(clean, 1), others, recipe.noise, recipe.data.seed)


def _validation(
    recipe: Recipe, network: PatchCritic, files: _Split, device: torch.device | str
) -> Validate | None:
    if not recipe.data.held_out:
        return None
    if recipe.validation_sigma is None:
        patches = _unpaired(recipe, network, files.clean_held_out, files.degraded_held_out)
        size = recipe.training.patch_size or network.receptive_field
        patches.batch(1, 0)  # images that cannot be used show before the training
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


def _calibrated(
    recipe: Recipe,
    weights: Weights,
    files: _Split,
    device: torch.device | str,
    progress: bool,
) -> Weights:
    """With lam and, of a ridge critic of synthetic noise, its contrast."""

    def crops(part: list[ImageSource]) -> list[Tensor]:
        chosen = part[: recipe.data.calibration_images]
        size, channels = recipe.data.calibration_size, recipe.critic.channels
        found = load_crops(chosen, size=size, channels=channels, white=recipe.data.white)
        return [x.to(device) for x in found]

    clean, seed = crops(files.clean), recipe.data.seed
    critic = weights.critic.to(device)
    regularizer = LocalRegularizer(critic)
    if recipe.noise is None:
        calibration = calibrate_unpaired(
            regularizer, clean, crops(files.degraded), progress=progress
        )
    else:
        calibration = calibrate_white_noise(
            regularizer,
            clean,
            degraded_sigmas=(recipe.noise.low, recipe.noise.high),
            seed=seed,
            with_contrast=isinstance(recipe.critic, RidgeCriticOptions),
            progress=progress,
        )
    return replace(weights, critic=critic.cpu(), calibration=calibration)


def _sources(recipe: Recipe, files: _Split) -> dict[str, Any]:
    """Names and counts, not paths: a weight file must not tell where its maker's folders are."""
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


def _network(
    options: CriticOptions | RidgeCriticOptions,
    seed: int,
    device: torch.device | str,
    *,
    noise: NoiseRange | None = None,
    noise_conditioned: bool = False,
) -> PatchCritic:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(options, RidgeCriticOptions):
        critic = ridge_critic(
            options.filters,
            in_channels=options.channels,
            generator=generator,
            noise=_UNKNOWN_NOISE if noise is None else noise.middle,
            group=options.group,
        )
        return critic.to(device)
    return PatchCritic(
        standard_layers(options.widths, options.activation),
        in_channels=options.channels,
        noise_conditioned=noise_conditioned,
        generator=generator,
    ).to(device)


def _learn_noise(recipe: DenoiserRecipe, clean: list[ImageSource]) -> NoiseModel:
    """The noise of the degraded images, from as many of them as are enough."""
    noisy = list_sources(recipe.degraded_paths)
    order = np.random.default_rng(recipe.data.seed).permutation(len(noisy))
    parts = [clean[:_NOISE_IMAGES], [noisy[i] for i in order[:_NOISE_IMAGES]]]
    channels, white = recipe.critic.channels, recipe.data.white
    crops = [
        load_crops(part, size=_NOISE_IMAGE_SIZE, channels=channels, white=white) for part in parts
    ]
    return learn_noise(*crops, seed=recipe.data.seed)


def _describe_noise(recipe: DenoiserRecipe, noise: NoiseRange | NoiseModel) -> str:
    if isinstance(noise, NoiseRange):
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


def _load_initial(network: PatchCritic, path: Path | str) -> dict[str, Any]:
    """Begin with the weights of a file, perhaps narrower; returns the record of their training."""
    initial = load_weights(path)
    critic = initial.critic
    if critic.noise_conditioned and network.in_channels == 1 and critic.in_channels > 1:
        critic = critic.of_grey()
    try:
        network.begin_with(critic)
    except LocregError:
        raise LocregError(
            f"{path} holds another architecture: give its channels and activation, and widths that "
            "are nowhere smaller."
        ) from None
    return initial.training
