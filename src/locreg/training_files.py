"""A training that ends in a weight file, and what lies around it: log, checkpoint, record."""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from locreg.critic import PatchCritic
from locreg.errors import LocregError, UsageError
from locreg.images import ImageSource, list_sources
from locreg.training import Criterion, TrainedCritic, Validate, train_critic
from locreg.training_options import DenoiserRecipe, LoopOptions, Recipe
from locreg.version import __version__
from locreg.weights import Weights, save_weights


def checkpoint_path(output: Path) -> Path:
    """Where the training of a weight file keeps its checkpoint."""
    return output.with_name(output.stem + ".checkpoint")


def log_path(output: Path) -> Path:
    """Where the training of a weight file keeps its log."""
    return output.with_name(output.stem + ".log.jsonl")


def can_resume(output: Path) -> bool:
    """Whether a training was interrupted; the log of one that had no checkpoint yet is removed."""
    if checkpoint_path(output).exists():
        return True
    if not output.exists():
        log_path(output).unlink(missing_ok=True)
    return False


def check_new_output(output: Path) -> None:
    """Refuse a weight file that cannot be written, or exists, before any work is done.

    Raises:
        UsageError: when its suffix is another.
        LocregError: when its folder does not exist, or it does.
    """
    _check_name(output)
    if output.exists():
        raise LocregError(f"{output} exists already: choose another name, or delete it.")


def check_outputs(output: Path, resume: bool) -> None:
    """The same for a training with its log, and a checkpoint if there is none to resume.

    Raises:
        UsageError, LocregError: as `check_new_output`; or when a log or a checkpoint is in the way.
    """
    _check_name(output)
    if resume:
        return
    if checkpoint_path(output).exists():
        raise LocregError(
            f"{checkpoint_path(output)} is left from an earlier training: "
            "resume it, or delete it to start anew."
        )
    check_new_output(output)
    if log_path(output).exists():
        raise LocregError(f"{log_path(output)} exists already: choose another name, or delete it.")


def shell_command(arguments: list[str]) -> str:
    """The command line that makes the whole file, with the names of files but not their folders."""
    return shlex.join(["locreg", *(_without_folders(a) for a in arguments if a != "--resume")])


def _without_folders(argument: str) -> str:
    option, separator, value = (
        argument.partition("=") if argument[:1] == "-" else ("", "", argument)
    )
    is_path = "/" in value or value == "."
    return option + separator + (Path(value).resolve().name if is_path else value)


def folder_names(paths: Sequence[Path]) -> str:
    """Names, not paths: a weight file must not tell where its maker's folders are."""
    return " + ".join(path.resolve().name for path in paths)


def listing(sources: Iterable[ImageSource]) -> str:
    """Checksum of the names of images, which decide what is held out and in which order they come.

    Names, not paths, so that a folder can be moved.
    """
    names = "\n".join(Path(source.name).name for source in sources)
    # Of a name that is no UTF-8 the bytes themselves.
    return f"{zlib.crc32(names.encode(errors='surrogateescape')):08x}"


def check_made_alike(
    path: Path, weights: Weights, criterion: str, recipe: Recipe | DenoiserRecipe
) -> None:
    """Refuse weights that were made in another way than is asked for now.

    Raises:
        LocregError: when criterion, number of iterations, images or their white are others.
    """
    made, sources = weights.training, [*recipe.clean_paths, *recipe.degraded_paths]
    if (
        weights.criterion.get("name") != criterion
        or made.get("iterations") != recipe.training.iterations
        or made.get("files") != listing(list_sources(sources))
        or made.get("data", {}).get("white") != recipe.data.white
    ):
        raise LocregError(
            f"{path} was learned from other images or with other options: give another output, or "
            "delete it and all that was made with it."
        )


def train_to_file(
    output: Path,
    criterion: Criterion,
    critic: PatchCritic,
    options: LoopOptions,
    *,
    learned: dict[str, Any],
    sources: dict[str, Any],
    findings: dict[str, Any] | None = None,
    validate: Validate | None,
    resume: bool,
    command: str | None,
    progress: bool,
) -> Weights:
    """Train a critic with its log and checkpoint beside the weight file, and write this.

    The checkpoint stays, so that an interrupted calibration does not cost the training: whoever
    calls removes it when all is done.

    Args:
        learned: of the criterion, for the weight file.
        sources: what else the weights are made from; in a resumed run it must be equal.
        findings: what else was found, for the record.
        validate, resume, progress: as `train_critic`.
        command: what to record as the command that made the file.

    Raises:
        LocregError: as `train_critic`, or when the file cannot be written.
    """
    trained = train_critic(
        criterion,
        critic,
        options,
        validate=validate,
        checkpoint=checkpoint_path(output),
        recipe=sources,
        resume=resume,
        log=log_path(output),
        progress=progress,
    )
    record = _training_record(options, trained, command) | (findings or {}) | sources
    trained.critic.requires_grad_(False).cpu()
    weights = Weights(critic=trained.critic, criterion=learned, training=record)
    save_weights(weights, output)
    return weights


def _training_record(
    options: LoopOptions, trained: TrainedCritic, command: str | None
) -> dict[str, Any]:
    """What every weight file tells of its training."""
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


def _check_name(output: Path) -> None:
    if output.suffix != ".safetensors":
        raise UsageError(f"{output} must have the suffix .safetensors.")
    if not output.parent.is_dir():
        raise LocregError(f"{output.parent} does not exist: make this folder first.")
