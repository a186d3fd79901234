"""Restore image files, one or a folder: read, restore, write. Nothing is printed."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locreg.arguments import torch_device
from locreg.errors import LocregError, UsageError, out_of_memory_is
from locreg.images.image_file import (
    ImageFile,
    check_writable,
    read_image,
    write_image,
)
from locreg.images.samples import brightest, hint_at_unused_range, is_grey
from locreg.regularizer.local_regularizer import LocalRegularizer, load
from locreg.restoration.channels import measured_apart
from locreg.restoration.defaults import chosen_solver, default_weights, takes_energy
from locreg.restoration.file_tasks import FileTask
from locreg.restoration.find_noise import find_noise, noise_of_level, with_noise
from locreg.restoration.finished import Finished
from locreg.restoration.jobs import Job, is_single, plan_jobs
from locreg.restoration.options import FileOptions, RestoreOptions
from locreg.restoration.result import Restoration
from locreg.solvers.solution import OnStep, Status
from locreg.version import __version__

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestoredFile:
    """One image file, restored and written.

    Attributes:
        job: the files that were read and written.
        task: what was done.
        weights: name of the weights.
        regularizer: the regularizer of these weights.
        before: the image as it was read.
        after: the restored pixels (C, H, W), before they were clipped and rounded for the file.
        restoration: the restoration that gave them.
    """

    job: Job
    task: FileTask
    weights: str
    regularizer: LocalRegularizer
    before: ImageFile
    after: NDArray[np.float32]
    restoration: Restoration


def _to_log(sentence: str) -> None:
    log.warning("%s", sentence)


def _ignore(*_: object) -> None:
    """Do nothing at a step, or with a restored file."""


def _no_progress(_: str, __: int | None) -> AbstractContextManager[OnStep]:
    return contextlib.nullcontext(_ignore)


@dataclass(frozen=True, kw_only=True)
class Events:
    """The callbacks of `restore_files`.

    Attributes:
        message: called with a sentence for the user: a hint, or the error of one image of a folder.
            By default it goes to the log of this module.
        progress: called with the name of a file and the number of steps (None: not known yet). It
            returns a context manager, which yields the function to call at every step.
        restored: called with every file that has been written. If it raises a `LocregError`, this
            file counts as failed.
    """

    message: Callable[[str], None] = _to_log
    progress: Callable[[str, int | None], AbstractContextManager[OnStep]] = _no_progress
    restored: Callable[[RestoredFile], None] = _ignore


@dataclass(frozen=True)
class FileCounts:
    """How many images there were, how many were skipped, and how many failed."""

    total: int
    skipped: int
    failed: int


class LoadedWeights:
    """Regularizers by the name of their weights, each loaded once and moved to the device.

    Args:
        options: gives precision, ensemble, device and white.
    """

    def __init__(self, options: FileOptions) -> None:
        self._options = options
        self._loaded: dict[str, LocalRegularizer] = {}

    def get(self, name: str) -> LocalRegularizer:
        """The regularizer of packaged weights or of a file.

        Raises:
            UsageError: when the weights were learned from images with another value of white, since
                their noise level is on that scale.
            LocregError: when there are no such weights.
        """
        if name not in self._loaded:
            options = self._options
            regularizer = load(name, precision=options.precision, symmetric=options.ensemble)
            _check_white(regularizer, options.white)
            self._loaded[name] = regularizer.to(torch_device(options.device))
        return self._loaded[name]


def restore_files(
    source: Path | Sequence[Path],
    target: Path,
    task: FileTask,
    options: FileOptions = FileOptions(),
    events: Events = Events(),
    *,
    pages: Path | None = None,
    weights: LoadedWeights | None = None,
) -> FileCounts:
    """Restore images, or every image of a folder that is not in the target folder yet.

    If there are several, an image that fails does not stop the others: its error is passed to
    ``events.message``. A result of an earlier run is made again if its input or the options have
    changed since. A file that was not made here is left alone, unless ``options.overwrite``.

    Args:
        source: image, folder of images, or several of them.
        target: image to write, or folder; an input is never overwritten.
        task: what to do.
        options: how to do it.
        events: callbacks.
        pages: folder for the page of each image, which ``events.restored`` has to write. An image
            whose page is missing is not skipped.
        weights: regularizers that are already loaded; by default none.

    Raises:
        UsageError: when options, weights or paths cannot work for any image.
        LocregError: when the only image fails, or nothing can be read or written.
    """
    torch_device(options.device)  # fail before reading any image
    weights = weights or LoadedWeights(options)
    if options.weights != "auto":
        weights.get(options.weights)
    sources = [source] if isinstance(source, Path) else list(source)
    plan = plan_jobs(sources, target, pages, others=task.inputs)
    several = not is_single(sources)
    for sentence in plan.refused:
        events.message(f"error: {sentence}")
    if plan.left_out:
        events.message(_about_left_out(plan.left_out))
    total, failed = len(plan.jobs) + sum(plan.refused.values()), sum(plan.refused.values())
    lasting = replace(options, overwrite=False, device="auto")  # what a result depends on
    made_by = (__version__, task.name, task.settings, lasting)
    finished = Finished(target, made_by) if several else None
    waiting = _waiting(plan.jobs, finished, options.overwrite, total, events)
    for job in waiting:
        too_large = (
            f"{job.source} does not fit into the memory of the device {options.device}: choose "
            "another --device, or cut the image into parts."
        )
        try:
            with out_of_memory_is(too_large):
                restored = _restore_file(job, task, options, events, weights)
            if finished is not None:
                finished.add(job)
            events.restored(restored)
        except UsageError:
            raise  # every other image would fail in the same way
        except (LocregError, OSError) as error:
            if not several:
                raise
            failed += 1
            events.message(f"error: {error}")
    return FileCounts(total, len(plan.jobs) - len(waiting), failed)


def _waiting(
    jobs: list[Job], finished: Finished | None, overwrite: bool, total: int, events: Events
) -> list[Job]:
    """The jobs that are to be done; the others are told about."""
    if finished is None or overwrite:
        return jobs
    states = {job.target: finished.state(job) for job in jobs}
    number = Counter(states.values())
    if number["done"]:
        events.message(f"{number['done']} of {total} images are done already: skipped.")
    if number["outdated"]:
        events.message(
            f"{number['outdated']} of {total} images were made with other settings, or from other "
            "inputs: made again."
        )
    if number["unknown"]:
        events.message(
            f"{number['unknown']} of {total} results exist already, but were not made here or were "
            "changed since: left alone (--overwrite replaces them)."
        )
    return [job for job in jobs if states[job.target] in ("missing", "outdated")]


def _about_left_out(left_out: dict[str, int]) -> str:
    kinds = ", ".join(f"{number} {suffix}" for suffix, number in sorted(left_out.items()))
    return f"files that cannot be read as images are left out: {kinds}."


def _restore_file(
    job: Job, task: FileTask, options: FileOptions, events: Events, weights: LoadedWeights
) -> RestoredFile:
    """Read one image, restore it and write the result."""
    image = read_image(job.source, options.white)
    hint = hint_at_unused_range(brightest(image.pixels))
    if hint is not None and image.sample_type == "uint16" and options.white is None:
        events.message(f"{job.source}: {hint}")
    for note in image.notes:
        events.message(f"{job.source}: {note}")
    check_writable(job.target, image, task.factor)
    y = torch.from_numpy(image.pixels)[None].to(torch_device(options.device))
    with _named_in_errors(job.source):
        task.check(image)
        apart = not image.colour and y.shape[1] > 1
        name = options.weights
        if name == "auto":
            name = default_weights(options.restoration, grey=apart or is_grey(image.pixels))
        regularizer = weights.get(name)

        def restored(y: Tensor) -> Restoration:
            chosen = options.restoration
            if task.denoises and regularizer.removes_white_noise and takes_energy(chosen):
                chosen = _describe_noise(y, chosen)
            solver = chosen_solver(chosen, regularizer, denoising=task.denoises)
            with events.progress(job.source.name, solver.steps) as on_step:
                return task.restore(y, regularizer, options=chosen, on_step=on_step)

        restoration = measured_apart(restored, y) if apart else restored(y)
    if restoration.solution.status is Status.FAILED:
        raise LocregError(f"{job.source}: the energy grew without bound: use a smaller lam.")
    pixels = restoration.image[0].cpu().numpy()
    write_image(job.target, pixels, image.enlarged(task.factor), quality=options.quality)
    return RestoredFile(job, task, name, regularizer, image, pixels, restoration)


@contextlib.contextmanager
def _named_in_errors(source: Path) -> Iterator[None]:
    """Put the name of the file in front of error messages."""
    try:
        yield
    except LocregError as error:
        raise type(error)(f"{source}: {error}") from None


def _describe_noise(y: Tensor, options: RestoreOptions) -> RestoreOptions:
    """Options that describe the noise of y (1, C, H, W): what they leave open is measured."""
    kind_alone = options.sigma != "auto" and options.noise == "auto"
    noise = noise_of_level(y, float(options.sigma)) if kind_alone else find_noise(y, options)
    return with_noise(options, noise)


def _check_white(regularizer: LocalRegularizer, white: float | None) -> None:
    learned = regularizer.learned_white
    if regularizer.learned_level is not None and white != learned:
        given = "without --white" if learned is None else f"with --white {learned:g}"
        raise UsageError(f"These weights were learned {given}: restore in the same way.")
