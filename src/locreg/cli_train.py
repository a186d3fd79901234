"""The commands that train: critics, denoising energies, and from two folders to restored images."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import OmitArgPrefixes

from locreg.cli_common import DONE, Device, Output, say, torch_device
from locreg.cli_restore import Denoise
from locreg.cli_settings import Settings
from locreg.errors import LocregError
from locreg.options import NoiseRange, check_at_least
from locreg.ready_recipes import recipe_for_damage, recipe_for_noise
from locreg.refinement_options import RefinementOptions, RefinementRecipe
from locreg.training_options import (
    DENOISER_CRITIC,
    RIDGE_DATA,
    RIDGE_TRAINING,
    CalibratedOptions,
    CriticOptions,
    DataOptions,
    DenoiserRecipe,
    DenoisingOptions,
    Recipe,
    RidgeCriticOptions,
    SplitOptions,
    TrainingOptions,
)

if TYPE_CHECKING:
    from locreg.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Restore:
    """Learn from two folders what is wrong with the images of one of them, and restore those.

    The folders need not show the same scenes, and nothing else is asked for. What was learned is
    kept beside the output, as OUTPUT.safetensors, for `locreg denoise`; a critic of the damage as
    OUTPUT.critic.safetensors, for `locreg score`. After an interruption the same command goes on.
    Exit status 0: done; 1: something failed; 2: wrong usage.
    """

    clean: tuple[Path, ...]
    """Clean images of the same kind, at least six, for noise of at least 192 pixels in width and
    height: folders, or tar files."""
    degraded: Path
    """Folder of the images to restore. For noise a single one will do, of at least 216 pixels in
    width and height; for any other damage both folders should hold a hundred, of at least 60."""
    output: Output
    """Folder for the restored images."""
    damage: Literal["noise", "any"] = "noise"
    """noise: grain, stripes, sensor noise, of which strength, correlation and growth with
    brightness are learned. any: a critic learns what a damaged patch looks like, whatever it is,
    such as JPEG, and tells how strongly to smooth the images; a blur stays. Where both serve,
    noise is better."""
    iterations: int | None = None
    """Of the training; by default 1500 for noise, 600 for any."""
    white: float | None = None
    """Pixel value that counts as 1 in all images, such as 4095 in the 16-bit files of a 12-bit
    camera; by default the largest that a file can hold, and 1 in float files."""
    device: Device = "auto"
    """Where to compute."""
    json: bool = False
    """Print one machine-readable record per image, with the energy at every step."""

    def run(self) -> int:
        """Train, if that has not been done, and restore every image that is not there yet."""
        from locreg.batch import check_folders

        if self.iterations is not None:
            check_at_least(1, "iterations", self.iterations)
        for folder in (self.degraded, *(path for path in self.clean if path.is_dir())):
            check_folders(folder, self.output)
        output = self.output.resolve()
        weights = self.output.parent / f"{output.name}.safetensors"
        self._learn(weights)
        settings = Settings(
            weights=str(weights), white=self.white, device=self.device, json=self.json
        )
        return Denoise(input=self.degraded, output=self.output, settings=settings).run()

    def _learn(self, path: Path) -> None:
        from locreg.damage import critic_path, learn_damage
        from locreg.recipes import train_denoiser_from_folder
        from locreg.training_files import can_resume, check_made_alike, shell_command
        from locreg.weights import load_weights

        recipe = self._recipe()
        checkpointed, criterion_of = path, {path: "denoising"}
        if isinstance(recipe, Recipe):
            checkpointed = critic_path(path)
            criterion_of = {checkpointed: "wasserstein", path: "damage"}
        existing = [file for file in criterion_of if file.exists()]
        for file in existing:
            check_made_alike(file, load_weights(file), criterion_of[file], recipe)
        unfinished = can_resume(checkpointed)
        if path in existing and not unfinished:
            say(f"{path} has been learned already.")
            return
        resume = unfinished or bool(existing)  # of a damage the critic may be done already
        device, command = torch_device(self.device), shell_command(sys.argv[1:])
        if isinstance(recipe, Recipe):
            weights = learn_damage(path, recipe, resume=resume, device=device, command=command)
            level = weights.criterion["level"]
            say(f"the damage is removed as strongly as white noise of level {level:.4f}.")
            return
        weights = train_denoiser_from_folder(
            path, recipe, resume=resume, device=device, command=command
        )
        say(f"the noise was taken for {weights.training['noise']}.")

    def _recipe(self) -> Recipe | DenoiserRecipe:
        from locreg.images import find_channels, list_images

        channels = find_channels(list_images(self.degraded))
        if len(channels) > 1:
            raise LocregError(
                f"{self.degraded} holds grey and colour images: sort them into two folders."
            )
        make_recipe = recipe_for_noise if self.damage == "noise" else recipe_for_damage
        recipe = partial(
            make_recipe, self.clean, self.degraded, 1 if channels == {1} else 3, white=self.white
        )
        return recipe() if self.iterations is None else recipe(iterations=self.iterations)


@dataclass(frozen=True, kw_only=True)
class _TrainUnpaired:
    """What a critic is learned from, whatever its form."""

    clean: tuple[Path, ...]
    """Clean images: folders, or tar files."""
    degraded: tuple[Path, ...] = ()
    """Degraded images of other scenes: folders, or tar files."""
    noise: str | None = None
    """Standard deviation S, or range LO:HI, of white noise to add, on the [0, 1] scale."""
    output: Output
    """Weight file to write (.safetensors)."""
    resume: bool = False
    """Continue an interrupted run; all other options must be the same."""
    device: Device = "auto"
    """Where to compute."""
    json: bool = False
    """Print one machine-readable record."""
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    training: OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)

    def _train(self, critic: CriticOptions | RidgeCriticOptions) -> int:
        recipe = Recipe(
            clean=self.clean,
            degraded=self.degraded or None,
            noise=None if self.noise is None else NoiseRange.parse(self.noise),
            critic=critic,
            data=self.data,
            training=self.training,
        )
        from locreg.recipes import train_from_folders

        return _run_training(self, train_from_folders, recipe)


@dataclass(frozen=True, kw_only=True)
class Train(_TrainUnpaired):
    """Learn a regularizer from a folder of clean and a folder of degraded images, unpaired.

    Its critic is that of the paper. Instead of degraded images a noise level can be given. A log
    (NAME.log.jsonl) and, until the end, a checkpoint (NAME.checkpoint) lie beside the weight file;
    an interrupted run goes on with --resume.
    """

    critic: OmitArgPrefixes[CriticOptions] = field(default_factory=CriticOptions)

    def run(self) -> int:
        """Train, calibrate, write."""
        return self._train(self.critic)


@dataclass(frozen=True, kw_only=True)
class TrainRidge(_TrainUnpaired):
    """Learn a regularizer as `locreg train` does, with a critic of linear filters.

    It learns in minutes, and restores better. Instead of degraded images a noise level can be
    given. Log, checkpoint and --resume are as for ``locreg train``.
    """

    critic: OmitArgPrefixes[RidgeCriticOptions] = field(default_factory=RidgeCriticOptions)
    data: OmitArgPrefixes[DataOptions] = RIDGE_DATA
    training: OmitArgPrefixes[TrainingOptions] = RIDGE_TRAINING

    def run(self) -> int:
        """Train, calibrate, write."""
        return self._train(self.critic)


@dataclass(frozen=True, kw_only=True)
class TrainDenoiser:
    """Learn an energy that removes noise in a step or a few, from a folder of clean images.

    The noise is white, or that of a folder of noisy images of other scenes, which is learned first.

    Log, checkpoint and --resume are as for ``locreg train``.
    """

    clean: tuple[Path, ...]
    """Clean images: folders, or tar files."""
    degraded: tuple[Path, ...] = ()
    """Noisy images of other scenes: folders, or tar files."""
    noise: str | None = None
    """Standard deviation S, or range LO:HI, of white noise to serve, on the [0, 1] scale; by
    default 0:0.5."""
    initial: str | None = None
    """Weight file of such an energy, or packaged one, to begin with, in place of random weights."""
    output: Output
    """Weight file to write (.safetensors)."""
    resume: bool = False
    """Continue an interrupted run; all other options must be the same."""
    device: Device = "auto"
    """Where to compute."""
    json: bool = False
    """Print one machine-readable record."""
    critic: OmitArgPrefixes[CriticOptions] = DENOISER_CRITIC
    data: OmitArgPrefixes[SplitOptions] = field(default_factory=SplitOptions)
    training: OmitArgPrefixes[DenoisingOptions] = field(default_factory=DenoisingOptions)

    def run(self) -> int:
        """Train and write."""
        recipe = DenoiserRecipe(
            clean=self.clean,
            degraded=self.degraded or None,
            noise=None if self.noise is None else NoiseRange.parse(self.noise),
            initial=self.initial,
            critic=self.critic,
            data=self.data,
            training=self.training,
        )
        from locreg.recipes import train_denoiser_from_folder

        return _run_training(self, train_denoiser_from_folder, recipe)


@dataclass(frozen=True, kw_only=True)
class Refine:
    """Refine a trained energy on clean images: its minimisers shall be close to them.

    It is refined at one level of white noise (bilevel optimisation), by which it loses the
    generality of unpaired training and gains accuracy. Log, checkpoint and --resume are as for
    ``locreg train``.
    """

    clean: tuple[Path, ...]
    """Clean images: folders, or tar files."""
    initial: str
    """Weight file of the energy to refine, or packaged one."""
    sigma: float
    """Standard deviation of the white noise, on the [0, 1] scale."""
    lam: float | None = None
    """Weight of R; by default the best of the initial weights at this noise level."""
    output: Output
    """Weight file to write (.safetensors)."""
    resume: bool = False
    """Continue an interrupted run; all other options must be the same."""
    device: Device = "auto"
    """Where to compute."""
    json: bool = False
    """Print one machine-readable record."""
    data: OmitArgPrefixes[CalibratedOptions] = field(default_factory=CalibratedOptions)
    training: OmitArgPrefixes[RefinementOptions] = field(default_factory=RefinementOptions)

    def run(self) -> int:
        """Refine, calibrate, write."""
        recipe = RefinementRecipe(
            clean=self.clean,
            initial=self.initial,
            sigma=self.sigma,
            lam=self.lam,
            data=self.data,
            training=self.training,
        )
        from locreg.refinement import refine_from_folder

        return _run_training(self, refine_from_folder, recipe)


def _run_training(
    command: _TrainUnpaired | TrainDenoiser | Refine,
    train: Callable[..., Weights],
    recipe: Recipe | DenoiserRecipe | RefinementRecipe,
) -> int:
    """Train by a recipe, and say what was done."""
    from locreg.training_files import shell_command

    training = train(
        command.output,
        recipe,
        resume=command.resume,
        device=torch_device(command.device),
        command=shell_command(sys.argv[1:]),
    ).training
    if command.json:
        print(json.dumps({"output": str(command.output), "training": training}))
    else:
        print(f"{command.output}: {training['iterations_done']} iterations")
    if training["skipped_files"]:
        say(f"{training['skipped_files']} files could not be used, named above.")
    return DONE
