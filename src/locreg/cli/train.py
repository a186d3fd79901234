"""The commands that make weights: train, train-ridge, train-denoiser, refine, import-localreg."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tyro.conf import OmitArgPrefixes, Positional

from locreg.arguments import Device, torch_device
from locreg.cli.console import DONE, say
from locreg.cli.settings import Output
from locreg.degradation.noise import NoiseRange, NoiseShares
from locreg.training.options import (
    DENOISER_CRITIC,
    RIDGE_DATA,
    RIDGE_TRAINING,
    CalibratedOptions,
    CriticOptions,
    DataOptions,
    DenoiserCriticOptions,
    DenoisingOptions,
    RefinementOptions,
    RidgeCriticOptions,
    SplitOptions,
    TrainingOptions,
)
from locreg.training.recipes import CriticRecipe, DenoiserRecipe, RefinementRecipe

if TYPE_CHECKING:
    from locreg.regularizer.weights import Weights
    from locreg.training.output import TrainingRun

AnyRecipe = TypeVar("AnyRecipe", CriticRecipe, DenoiserRecipe, RefinementRecipe)


@dataclass(frozen=True, kw_only=True)
class ImportLocalreg:
    """Convert the regularizer that the paper's authors released into a weight file."""

    input: Positional[Path]
    """Folder with params.json and checkpoint_last.pt."""
    output: Output
    """Weight file to write (.safetensors)."""
    clean: Path | None = None
    """Folder of clean images to fit lam on; without it, restoring needs --lam."""

    def run(self) -> int:
        """Convert, calibrate if clean images are given, and write."""
        from locreg.regularizer.array_file import check_new_output
        from locreg.regularizer.weights import save_weights
        from locreg.training.import_localreg import calibrated, import_localreg

        check_new_output(self.output)
        weights = import_localreg(self.input)
        if self.clean is not None:
            weights = calibrated(weights, self.clean)
        save_weights(weights, self.output)
        critic = weights.critic
        print(
            f"{self.output}: receptive field {critic.receptive_field}x{critic.receptive_field}, "
            f"stride {critic.stride}"
        )
        if self.clean is None:
            say("lam is not fitted: restore with --lam, or import with --clean FOLDER.")
        return DONE


@dataclass(frozen=True, kw_only=True)
class _TrainingCommand:
    """The options that all trainings share."""

    clean: tuple[Path, ...]
    """Clean images: folders or tar files."""
    output: Output
    """Weight file to write (.safetensors)."""
    resume: bool = False
    """Continue an interrupted run; all other options must be the same."""
    device: Device = "auto"
    """Where to compute; auto: on a CUDA GPU if there is one."""
    json: bool = False
    """Print one JSON record."""

    def _run(self, train: Callable[[AnyRecipe, TrainingRun], Weights], recipe: AnyRecipe) -> int:
        """Train by a recipe, and report what was done."""
        from locreg.training.output import TrainingRun, shell_command

        run = TrainingRun(
            output=self.output,
            resume=self.resume,
            device=torch_device(self.device),
            command=shell_command(sys.argv[1:]),
        )
        training = train(recipe, run).training
        if self.json:
            print(json.dumps({"output": str(self.output), "training": training}))
        else:
            print(f"{self.output}: {training['iterations_done']} iterations")
        if training["skipped_files"]:
            say(f"{training['skipped_files']} files could not be used: see their names above.")
        return DONE


@dataclass(frozen=True, kw_only=True)
class _TrainUnpaired(_TrainingCommand):
    """The options that all trainings of critics share."""

    degraded: tuple[Path, ...] = ()
    """Degraded images, which may show other scenes: folders or tar files. Give these or --noise."""
    noise: str | None = None
    """Standard deviation S, or range LO:HI, of white noise to add, on the [0, 1] scale. Give this
    or --degraded."""
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    training: OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)

    def _train(self, critic: CriticOptions | RidgeCriticOptions) -> int:
        recipe = CriticRecipe(
            clean=self.clean,
            degraded=self.degraded or None,
            noise=None if self.noise is None else NoiseRange.parse(self.noise),
            critic=critic,
            data=self.data,
            training=self.training,
        )
        from locreg.training.train_critic import train_critic

        return self._run(train_critic, recipe)


@dataclass(frozen=True, kw_only=True)
class Train(_TrainUnpaired):
    """Learn a regularizer from clean images and degraded images of other scenes (unpaired).

    Its critic is that of the paper. Instead of degraded images, a noise level can be given. A log
    (NAME.log.jsonl) and, until training ends, a checkpoint (NAME.checkpoint) are written next to
    the weight file; --resume continues an interrupted run.
    """

    critic: OmitArgPrefixes[CriticOptions] = field(default_factory=CriticOptions)

    def run(self) -> int:
        """Train, calibrate, write."""
        return self._train(self.critic)


@dataclass(frozen=True, kw_only=True)
class TrainRidge(_TrainUnpaired):
    """Learn a regularizer like `locreg train`, but with a ridge critic, made of linear filters.

    It trains in minutes and restores better. Instead of degraded images, a noise level can be
    given. Log, checkpoint and --resume are as for `locreg train`.
    """

    critic: OmitArgPrefixes[RidgeCriticOptions] = field(default_factory=RidgeCriticOptions)
    data: OmitArgPrefixes[DataOptions] = RIDGE_DATA
    training: OmitArgPrefixes[TrainingOptions] = RIDGE_TRAINING

    def run(self) -> int:
        """Train, calibrate, write."""
        return self._train(self.critic)


@dataclass(frozen=True, kw_only=True)
class TrainDenoiser(_TrainingCommand):
    """Learn a denoising energy, which removes noise in one step or a few, from clean images.

    The noise is white; or it is that of a folder of noisy images of other scenes, and is learned
    first. Log, checkpoint and --resume are as for `locreg train`.
    """

    degraded: tuple[Path, ...] = ()
    """Noisy images, which may show other scenes, to learn their noise: folders or tar files."""
    noise: str | None = None
    """Standard deviation S, or range LO:HI, of the white noise to remove, on the [0, 1] scale; or
    "real": the kinds of noise in real pictures. By default 0:0.5, unless --degraded is given."""
    initial: str | None = None
    """Denoising energy to start from: packaged weights or a weight file; by default random
    weights."""
    critic: OmitArgPrefixes[DenoiserCriticOptions] = DENOISER_CRITIC
    data: OmitArgPrefixes[SplitOptions] = field(default_factory=SplitOptions)
    training: OmitArgPrefixes[DenoisingOptions] = field(default_factory=DenoisingOptions)

    def run(self) -> int:
        """Train and write."""
        recipe = DenoiserRecipe(
            clean=self.clean,
            degraded=self.degraded or None,
            noise=_parse_noise(self.noise),
            initial=self.initial,
            critic=self.critic,
            data=self.data,
            training=self.training,
        )
        from locreg.training.train_denoiser import train_denoiser

        return self._run(train_denoiser, recipe)


def _parse_noise(text: str | None) -> NoiseRange | NoiseShares | None:
    """The noise that an option names; None if it is not given."""
    if text == "real":
        return NoiseShares()
    return None if text is None else NoiseRange.parse(text)


@dataclass(frozen=True, kw_only=True)
class Refine(_TrainingCommand):
    """Refine a trained regularizer, so that it restores clean images from white noise better.

    Training minimises the error of the restored images at one noise level (bilevel optimisation).
    The regularizer gains accuracy and loses the generality of unpaired training. Log, checkpoint
    and --resume are as for `locreg train`.
    """

    initial: str
    """Regularizer to refine: packaged weights or a weight file."""
    sigma: float
    """Standard deviation of the white noise, on the [0, 1] scale."""
    lam: float | None = None
    """Weight of the regularizer; by default the best for the initial weights and this sigma."""
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
        from locreg.training.refine import refine

        return self._run(refine, recipe)
