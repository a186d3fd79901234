"""Restore an image file: read, restore, write. Nothing is printed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from locreg.arguments import torch_device, uses_gpu
from locreg.arrays import Array
from locreg.errors import LocregError, UsageError
from locreg.images.fill import fill
from locreg.images.image_file import ImageFile, check_writable, read_image, write_image
from locreg.images.metadata import what_is_lost
from locreg.images.samples import brightest, hint_at_unused_range, is_grey
from locreg.regularizer.denoising_energy import DenoisingEnergy
from locreg.regularizer.stored_weights import read_weights
from locreg.regularizer.trained_regularizer import TrainedRegularizer
from locreg.restoration.batch import estimates_noise
from locreg.restoration.channels import measured_apart
from locreg.restoration.defaults import (
    chosen_solver,
    default_weights,
    takes_energy,
    takes_gradient_steps,
)
from locreg.restoration.file_tasks import FileTask
from locreg.restoration.find_noise import (
    find_noise,
    level_for_inversion,
    noise_of_level,
    with_noise,
)
from locreg.restoration.jobs import Job
from locreg.restoration.options import FileOptions, RestoreOptions
from locreg.restoration.result import Restoration
from locreg.solvers.solution import OnStep, Status

if TYPE_CHECKING:
    from locreg.regularizer.local_regularizer import LocalRegularizer

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
        planes: how many planes the file has. ``before``, ``after`` and ``restoration`` are those of
            the first.
        levels: the noise level of each channel of a stack, if one was used for all its planes.
    """

    job: Job
    task: FileTask
    weights: str
    regularizer: TrainedRegularizer
    before: ImageFile
    after: NDArray[np.float32]
    restoration: Restoration
    planes: int = 1
    levels: tuple[float, ...] = ()


def _to_log(sentence: str) -> None:
    log.warning("%s", sentence)


def _ignore(*_: object) -> None:
    """Do nothing at a step, or with a restored file."""


def _no_progress(_: str, __: int | None) -> AbstractContextManager[OnStep]:
    return contextlib.nullcontext(_ignore)


def _no_count(_: int) -> AbstractContextManager[Callable[[], None]]:
    return contextlib.nullcontext(_ignore)


@dataclass(frozen=True, kw_only=True)
class Events:
    """The callbacks of `restore_files`.

    Attributes:
        message: called with a sentence for the user: a hint, or the error of one image of a folder.
            By default it goes to the log of this module. Other threads call it too, if several
            images are restored at the same time.
        progress: called with the name of a file and the number of steps (None: not known yet). It
            returns a context manager, which yields the function to call at every step.
        several: called with the number of images if some are restored at the same time, when
            ``progress`` is not called, and else with 0. It returns a context manager, which yields
            the function to call after each image.
        restored: called with every file that has been written. If it raises a `LocregError`, this
            file counts as failed.
    """

    message: Callable[[str], None] = _to_log
    progress: Callable[[str, int | None], AbstractContextManager[OnStep]] = _no_progress
    several: Callable[[int], AbstractContextManager[Callable[[], None]]] = _no_count
    restored: Callable[[RestoredFile], None] = _ignore


class LoadedWeights:
    """Regularizers by the name of their weights, each loaded once and moved to the device.

    Args:
        options: gives precision, ensemble, device and white.
    """

    def __init__(self, options: FileOptions) -> None:
        self._options = options
        self._loading = RLock()
        self._energies: dict[str, DenoisingEnergy | None] = {}
        self._regularizers: dict[str, LocalRegularizer] = {}

    def of_task(self, name: str, task: FileTask) -> TrainedRegularizer:
        """The regularizer of packaged weights or of a file, by the engine that the task needs.

        Gradient steps that denoise on the processor need no PyTorch.

        Raises:
            UsageError: when the weights were learned from images with another value of white, since
                their noise level is on that scale.
            LocregError: when there are no such weights.
        """
        if not task.denoises:
            return self.get(name)
        with self._loading:
            if name not in self._energies:
                self._energies[name] = self._energy(name)
        return self._energies[name] or self.get(name)

    def get(self, name: str) -> LocalRegularizer:
        """The regularizer of packaged weights or of a file, by PyTorch; errors as `of_task`."""
        from locreg.regularizer.local_regularizer import load

        with self._loading:
            if name not in self._regularizers:
                options = self._options
                regularizer = load(name, precision=options.precision, symmetric=options.ensemble)
                _check_white(regularizer, options.white)
                self._regularizers[name] = regularizer.to(torch_device(options.device))
        return self._regularizers[name]

    def _energy(self, name: str) -> DenoisingEnergy | None:
        """The energy without PyTorch; None if the options need PyTorch."""
        options = self._options
        if options.precision != "float32" or uses_gpu(options.device):
            return None
        stored = read_weights(name)
        if not stored.scales[0].noise_conditioned:
            return None
        energy = DenoisingEnergy.of(stored, symmetric=options.ensemble)
        if not takes_gradient_steps(options.restoration, energy):
            return None
        _check_white(energy, options.white)
        return energy


def restore_image_file(
    job: Job, task: FileTask, options: FileOptions, events: Events, weights: LoadedWeights
) -> RestoredFile:
    """Read one image, restore it and write the result.

    Raises:
        UsageError, LocregError: when that fails; nothing is written then.
    """
    image = read_image(job.source, options.white, task.mask(job.source))
    tell_about(image, job, task, options, events)
    check_writable(job.target, image, task.factor)
    with named_in_errors(job.source):
        found = restore_image(image, job.source.name, task, options, events, weights)
    write_image(job.target, found.pixels, image.enlarged(task.factor), quality=options.quality)
    return RestoredFile(
        job, task, found.weights, found.regularizer, image, found.pixels, found.restoration
    )


def tell_about(
    image: ImageFile, job: Job, task: FileTask, options: FileOptions, events: Events
) -> None:
    """Say what a user should know about an image before it is restored."""
    hint = hint_at_unused_range(brightest(_seen(image)))
    if hint is not None and image.sample_type == "uint16" and options.white is None:
        events.message(f"{job.source}: {hint}")
    for note in image.notes:
        events.message(f"{job.source}: {note}")
    suffix = job.target.suffix.lower()
    size = image.pixels.size * np.dtype(image.sample_type).itemsize * task.factor**2
    if lost := what_is_lost(image.metadata, suffix, size):
        events.message(f"{suffix} files cannot keep {', '.join(lost)} of the input.")


@dataclass(frozen=True)
class RestoredImage:
    """A restored image, and the weights that restored it."""

    pixels: NDArray[np.float32]
    restoration: Restoration
    weights: str
    regularizer: TrainedRegularizer


def restore_image(
    image: ImageFile,
    name: str,
    task: FileTask,
    options: FileOptions,
    events: Events,
    weights: LoadedWeights,
    settings: Sequence[RestoreOptions] = (),
) -> RestoredImage:
    """Restore the pixels of an image.

    Args:
        image: the image.
        name: for the progress.
        task, options, events, weights: see `restore_image_file`.
        settings: for each channel that is restored by itself, or for all; by default those of the
            options.

    Raises:
        UsageError, LocregError: as `locreg.restore`, or when the energy grew without bound.
    """
    y, known = as_visible(image)
    chosen = weights_for(image, options)
    regularizer, restore = weights.of_task(chosen, task), task.restore_of(image)
    each = settings or [options.restoration] * y.shape[1]

    def restored(channel: int, y: Array) -> Restoration:
        own = _with_noise_of(y, each[channel], regularizer, known, denoises=task.denoises)
        solver = chosen_solver(own, regularizer, denoising=task.denoises)
        with events.progress(name, solver.steps) as on_step:
            return restore(y, regularizer, options=own, on_step=on_step)

    restoration = measured_apart(restored, y) if is_measured(image) else restored(0, y)
    if restoration.solution.status is Status.FAILED:
        raise LocregError("the energy grew without bound: use a smaller lam.")
    pixels: NDArray[np.float32] = restoration.image[0]
    if image.hidden is not None and task.factor == 1:
        pixels = np.where(image.hidden, image.pixels, pixels)  # the residual needs the others
    return RestoredImage(pixels, restoration, chosen, regularizer)


def weights_for(image: ImageFile, options: FileOptions) -> str:
    """The weights that restore an image."""
    if options.weights != "auto":
        return options.weights
    grey = is_measured(image) or is_grey(_seen(image))
    return default_weights(options.restoration, grey=grey)


def is_measured(image: ImageFile) -> bool:
    """Whether an image has several channels that are no colours."""
    return len(image.pixels) > 1 and not image.colour


@contextlib.contextmanager
def named_in_errors(source: object) -> Iterator[None]:
    """Put the name of the file in front of error messages."""
    try:
        yield
    except LocregError as error:
        raise type(error)(f"{source}: {error}") from None


def _seen(image: ImageFile) -> NDArray[np.float32]:
    """The pixels (C, ...) that are known."""
    return image.pixels if image.known is None else image.pixels[:, image.known]


def as_visible(image: ImageFile) -> tuple[Array, Array | None]:
    """The pixels (1, C, H, W) of an image, and where they are known (H, W) if not everywhere.

    What is transparent gets the colours around it. Its own mean nothing, and would colour the edge
    of what can be seen.
    """
    y, known = image.pixels[None], image.known
    if known is not None and image.hidden is not None:
        filled = fill(np.where(known, y, np.float32(0)), known)  # what is hidden may be NaN
        y = np.where(image.hidden, filled, y)
    return y, known


def _with_noise_of(
    y: Array,
    options: RestoreOptions,
    regularizer: TrainedRegularizer,
    known: Array | None,
    *,
    denoises: bool,
) -> RestoreOptions:
    """Options with the noise of what is known of y (1, C, H, W), as far as they leave it open."""
    if denoises and regularizer.removes_white_noise and takes_energy(options):
        level = options.level
        if level is None or options.noise != "auto":
            return with_noise(options, find_noise(y, options, known))
        return with_noise(options, noise_of_level(y, level, known))
    learned = regularizer.learned_level is not None
    if known is None or learned or not estimates_noise(options, regularizer):
        return options
    found = find_noise(y, options, known).level if denoises else level_for_inversion(y, known)
    return replace(options, sigma=found)


def _check_white(regularizer: TrainedRegularizer, white: float | None) -> None:
    learned = regularizer.learned_white
    if regularizer.learned_level is not None and white != learned:
        given = "without --white" if learned is None else f"with --white {learned:g}"
        raise UsageError(f"These weights were learned {given}: restore in the same way.")
