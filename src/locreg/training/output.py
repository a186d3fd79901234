"""A training run: where it writes, the files next to the weight file, and what is recorded."""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from locreg.errors import LocregError
from locreg.images.archives import ImageSource
from locreg.images.sources import list_sources
from locreg.regularizer.array_file import check_file_name, check_new_output
from locreg.regularizer.criterion_record import CriterionRecord
from locreg.regularizer.multiscale import Critic
from locreg.regularizer.weights import Weights, save_weights
from locreg.training.loop import Batch, Criterion, TrainedCritic, Validate, train
from locreg.training.options import LoopOptions
from locreg.training.recipes import CriticRecipe, DenoiserRecipe
from locreg.version import __version__


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Where a training writes and how it runs, for every kind of training.

    Attributes:
        output: the weight file. Next to it lie the log and, until the end, a checkpoint.
        resume: whether to continue from the checkpoint of an interrupted run of the same recipe.
        device: where to compute.
        command: the command line to record in the file.
        progress: whether to show progress bars.
        on_iteration: called after each iteration, with the number of iterations done. An exception
            that it raises stops the training, which can be resumed from its last checkpoint.
    """

    output: Path
    resume: bool = False
    device: torch.device | str = "cpu"
    command: str | None = None
    progress: bool = True
    on_iteration: Callable[[int], None] | None = None

    @property
    def checkpoint(self) -> Path:
        """The checkpoint, next to the weight file."""
        return self.output.with_name(self.output.stem + ".checkpoint")

    @property
    def log(self) -> Path:
        """The log, next to the weight file."""
        return self.output.with_name(self.output.stem + ".log.jsonl")

    def check(self) -> None:
        """Check that the output can be written, before any work is done.

        Raises:
            UsageError: when its suffix is not that of a weight file.
            LocregError: when the output, its log or its checkpoint already exists (unless the run
                is resumed), or when the folder does not exist.
        """
        check_file_name(self.output)
        if self.resume:
            return
        if self.checkpoint.exists():
            raise LocregError(
                f"{self.checkpoint} is left from an earlier training: resume it, or delete it to "
                "start anew."
            )
        check_new_output(self.output)
        if self.log.exists():
            raise LocregError(
                f"{self.log} exists already: choose another output, or delete this file."
            )

    def is_interrupted(self) -> bool:
        """Whether there is a checkpoint to resume from.

        Without one, the log of a run that never got to write its first checkpoint is removed.
        """
        if self.checkpoint.exists():
            return True
        if not self.output.exists():
            self.log.unlink(missing_ok=True)
        return False


def shell_command(arguments: list[str]) -> str:
    """The command line to record: without --resume, and with file names in place of paths."""
    return shlex.join(["locreg", *(_without_folders(a) for a in arguments if a != "--resume")])


def _without_folders(argument: str) -> str:
    option, separator, value = (
        argument.partition("=") if argument[:1] == "-" else ("", "", argument)
    )
    is_path = "/" in value or value == "."
    return option + separator + (Path(value).resolve().name if is_path else value)


def folder_names(paths: Sequence[Path]) -> str:
    """The names of folders, not their paths: a weight file must not reveal private paths."""
    return " + ".join(path.resolve().name for path in paths)


def listing(sources: Iterable[ImageSource]) -> str:
    """Checksum of the names of images, which determine the held-out images and the order.

    It depends on names, not paths, so that a folder can be moved.
    """
    names = "\n".join(Path(source.name).name for source in sources)
    return f"{zlib.crc32(names.encode(errors='surrogateescape')):08x}"


def check_made_alike(
    path: Path, weights: Weights, criterion: str, recipe: CriticRecipe | DenoiserRecipe
) -> None:
    """Check that existing weights were made by the same recipe as is asked for now.

    Raises:
        LocregError: when the criterion, the number of iterations, the images or the pixel value of
            white differ.
    """
    made, sources = weights.training, [*recipe.clean_paths, *recipe.degraded_paths]
    if (
        weights.criterion is None
        or weights.criterion.name != criterion
        or made.get("iterations") != recipe.training.iterations
        or made.get("files") != listing(list_sources(sources))
        or made.get("data", {}).get("white") != recipe.data.white
    ):
        raise LocregError(
            f"{path} was learned from other images or with other options: give another output, or "
            "delete this file and everything that was made with it."
        )


def train_to_file(
    run: TrainingRun,
    criterion: Criterion[Batch],
    critic: Critic,
    options: LoopOptions,
    *,
    learned: CriterionRecord,
    sources: dict[str, Any],
    findings: dict[str, Any] | None = None,
    validate: Validate | None,
) -> Weights:
    """Train a critic, with log and checkpoint next to the weight file, and write the weight file.

    The checkpoint is kept, so that the training is not lost when the calibration is interrupted.
    The caller removes it when everything is done.

    Args:
        run: where to write, and how to run.
        criterion: computes the gradients.
        critic: the critic to train, in place.
        options: constants of the training.
        learned: description of the criterion, for the weight file.
        sources: what the weights are made from; a resumed run must have the same.
        findings: further entries of the training record.
        validate: see `locreg.training.loop.train`.

    Raises:
        LocregError: as `locreg.training.loop.train`, or when the file cannot be written.
    """
    trained = train(
        criterion,
        critic,
        options,
        validate=validate,
        checkpoint=run.checkpoint,
        recipe=sources,
        resume=run.resume,
        log=run.log,
        progress=run.progress,
        on_iteration=run.on_iteration,
    )
    record = _training_record(options, trained, run.command) | (findings or {}) | sources
    trained.critic.requires_grad_(False).cpu()
    weights = Weights(critic=trained.critic, criterion=learned, training=record)
    save_weights(weights, run.output)
    return weights


def _training_record(
    options: LoopOptions, trained: TrainedCritic, command: str | None
) -> dict[str, Any]:
    """What every weight file records about its training."""
    return {
        "command": command,
        "locreg": __version__,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        **asdict(options),
        "iterations_done": trained.iterations,
        "validations": trained.validations,
        "skipped_files": len(trained.skipped),
    }
