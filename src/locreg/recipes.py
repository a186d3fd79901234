"""From folders of photographs to a calibrated weight file: split, train, calibrate, save."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from locreg.calibration import calibrate_unpaired, calibrate_white_noise
from locreg.critic import PatchCritic, standard_layers
from locreg.errors import LocregError, UsageError
from locreg.options import CriticOptions, DataOptions, NoiseRange, TrainingOptions
from locreg.patches import PatchPool, UnpairedPatches, split_folder
from locreg.regularizer import LocalRegularizer
from locreg.training import TrainedCritic, Validate, train_critic
from locreg.validation import CriterionValidation, WhiteNoiseValidation, load_crops
from locreg.version import __version__
from locreg.weights import Calibration, Weights, save_weights


def checkpoint_path(output: Path) -> Path:
    """Where the training of a weight file keeps its checkpoint."""
    return output.with_name(output.stem + ".checkpoint")


def log_path(output: Path) -> Path:
    """Where the training of a weight file keeps its log."""
    return output.with_name(output.stem + ".log.jsonl")


def train_from_folders(
    output: Path,
    *,
    clean: Path,
    degraded: Path | None = None,
    noise: NoiseRange | None = None,
    critic: CriticOptions = CriticOptions(),
    data: DataOptions = DataOptions(),
    training: TrainingOptions = TrainingOptions(),
    resume: bool = False,
    device: torch.device | str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> Weights:
    """Train a critic on unpaired patches, calibrate it, and write its weight file.

    With ``noise``, the clean folder is cut into two halves of different images, and noise is added
    to the patches of one of them. With ``degraded``, nothing is assumed of the degradation.

    Args:
        output: the weight file; its log is written beside it, and until the end a checkpoint.
        clean: folder of clean images, searched with all its subfolders.
        degraded: folder of degraded images, of other scenes.
        noise: white Gaussian noise to add, where there is no folder of degraded images.
        resume: continue from the checkpoint of an interrupted run of the same recipe.
        command: what to record as the command that made the file.

    Raises:
        UsageError: when not exactly one of ``degraded`` and ``noise`` is given.
        LocregError: when folders or checkpoint cannot be used or the output cannot be written.
    """
    if (degraded is None) == (noise is None):
        raise UsageError("Give either a folder of degraded images or a noise level.")
    if not output.parent.is_dir():
        raise LocregError(f"{output.parent} does not exist: make this folder first.")
    if not resume and checkpoint_path(output).exists():
        raise LocregError(
            f"{checkpoint_path(output)} is left from an earlier training: "
            "resume it, or delete it to start anew."
        )
    if not resume and output.exists():
        raise LocregError(f"{output} exists already: choose another name, or delete it.")
    begin = time.time()
    clean_files, clean_held_out = split_folder(clean, held_out=data.held_out, seed=data.seed)
    if degraded is None:
        half = len(clean_files) // 2
        clean_files, degraded_files = clean_files[:half], clean_files[half:]
        degraded_held_out = clean_held_out
    else:
        degraded_files, degraded_held_out = split_folder(
            degraded, held_out=data.held_out, seed=data.seed
        )

    network = PatchCritic(
        standard_layers(critic.width, critic.activation),
        in_channels=critic.channels,
        generator=torch.Generator().manual_seed(data.seed),
    ).to(device)

    def unpaired(clean_part: list[Path], degraded_part: list[Path]) -> UnpairedPatches:
        size, augment = network.receptive_field, data.augment and degraded is None
        pools = [
            PatchPool(
                files, size=size, channels=critic.channels, seed=2 * data.seed + k, augment=augment
            )
            for k, files in ((1, clean_part), (2, degraded_part))
        ]
        return UnpairedPatches(pools[0], pools[1], noise, data.seed)

    validate: Validate | None = None
    sigma = data.validation_sigma
    if sigma is None and noise is not None:
        sigma = (noise.low + noise.high) / 2
    if data.held_out and sigma is not None:
        crops = load_crops(clean_held_out, size=data.validation_size, channels=critic.channels)
        validate = WhiteNoiseValidation([x.to(device) for x in crops], sigma, data.seed)
    elif data.held_out:
        validate = CriterionValidation(
            unpaired(clean_held_out, degraded_held_out), training.penalty
        )

    sources: dict[str, Any] = {
        "clean": f"{clean.name}, {len(clean_files)} images",
        "degraded": f"{(degraded or clean).name}, {len(degraded_files)} other images",
        "noise": str(noise) if noise else None,
        "validation_sigma": sigma,
    }
    trained = train_critic(
        unpaired(clean_files, degraded_files),
        network,
        training,
        validate=validate,
        checkpoint=checkpoint_path(output),
        recipe={"data": asdict(data), "sources": sources},
        resume=resume,
        log=log_path(output),
        progress=progress,
    )
    weights = Weights(
        critic=trained.critic.requires_grad_(False).cpu(),
        criterion={"name": "wasserstein", "penalty": training.penalty, "two_sided": True},
        training={
            **_record(trained, network, sources, data, training, command),
            "seconds_of_last_session": round(time.time() - begin),
        },
    )
    save_weights(weights, output)  # an interrupted calibration must not cost the training
    if data.calibration_images:
        calibration = _calibrate(
            trained.critic, clean_files, degraded_files, critic, data, noise, progress
        )
        weights = Weights(
            critic=weights.critic,
            criterion=weights.criterion,
            training=weights.training,
            calibration=calibration,
        )
        save_weights(weights, output)
    checkpoint_path(output).unlink(missing_ok=True)
    return weights


def _calibrate(
    critic: PatchCritic,
    clean_files: list[Path],
    degraded_files: list[Path],
    options: CriticOptions,
    data: DataOptions,
    noise: NoiseRange | None,
    progress: bool,
) -> Calibration:
    regularizer = LocalRegularizer(critic)
    clean, degraded = (
        load_crops(
            files[: data.calibration_images], size=data.calibration_size, channels=options.channels
        )
        for files in (clean_files, degraded_files)
    )
    if noise is None:
        return calibrate_unpaired(regularizer, clean, degraded, progress=progress)
    return calibrate_white_noise(
        regularizer,
        clean,
        degraded_sigmas=(noise.low, noise.high),
        seed=data.seed,
        progress=progress,
    )


def _record(
    trained: TrainedCritic,
    network: PatchCritic,
    sources: dict[str, Any],
    data: DataOptions,
    training: TrainingOptions,
    command: str | None,
) -> dict[str, Any]:
    return {
        "command": command,
        "locreg": __version__,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "receptive_field": network.receptive_field,
        **sources,
        **asdict(training),
        "data": asdict(data),
        "iterations_done": trained.iterations,
        "validations": trained.validations,
        "skipped_files": len(trained.skipped),
    }


def shell_command(arguments: list[str]) -> str:
    """The command line as one would type it."""
    return shlex.join(["locreg", *arguments])
