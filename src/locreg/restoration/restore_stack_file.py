"""Restore a TIFF file of several planes: one noise level for each channel, a plane at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from locreg.arrays import Array
from locreg.degradation.measure_noise import MeasuredNoise
from locreg.errors import LocregError
from locreg.images.files import replacing
from locreg.images.image_file import ImageFile, check_writable, image_of, samples_of
from locreg.images.mask import Mask
from locreg.images.tiff_stack import TiffStack, opened_stack
from locreg.images.write_tiff import tiff_writer, write_page
from locreg.restoration.file_tasks import FileTask
from locreg.restoration.find_noise import find_noise, level_for_inversion, with_noise
from locreg.restoration.jobs import Job
from locreg.restoration.options import FileOptions, RestoreOptions
from locreg.restoration.restore_image_file import (
    Events,
    LoadedWeights,
    RestoredFile,
    as_visible,
    is_measured,
    named_in_errors,
    restore_image,
    tell_about,
    weights_for,
)

if TYPE_CHECKING:
    from tifffile import TiffWriter

_MEASURED = 8  # planes of each channel whose noise is measured, at equal distances


def restore_stack_file(
    job: Job, task: FileTask, options: FileOptions, events: Events, weights: LoadedWeights
) -> RestoredFile:
    """Restore every plane, and write the stack with the tags of its pages.

    A noise level for each plane would make a film flicker, so the levels of a channel are measured
    in some of its planes and pooled. Independent pages have a level each.

    Raises:
        UsageError, LocregError: when that fails; nothing is written then.
    """
    mask = task.mask(job.source)
    independent = options.pages == "independent"
    with opened_stack(job.source, options.axes, independent=independent) as stack:
        before = _plane(stack, 0, options, mask)
        tell_about(before, job, task, options, events)
        if stack.has_exif:
            events.message("stacks cannot keep lens, exposure and place of the input.")
        _check_target(job.target, before, task)
        size = stack.size * task.factor**2
        by_channel = {} if independent else _by_channel(stack, task, options, weights, mask)
        first, seconds = None, 0.0
        with (
            replacing(job.target) as temporary,
            tiff_writer(temporary, before.metadata, size) as writer,
        ):
            for number, channel in enumerate(stack.channels):
                name = f"{job.source.name} {number + 1}/{len(stack.pages)}"
                image = _plane(stack, number, options, mask)
                settings = by_channel.get(channel, ())
                with named_in_errors(f"{job.source}, plane {number + 1}"):
                    plane = restore_image(image, name, task, options, events, weights, settings)
                _write_plane(writer, image.enlarged(task.factor), plane.pixels)
                first = first or plane
                seconds += plane.restoration.seconds
    assert first is not None  # a stack has planes
    return RestoredFile(
        job,
        task,
        first.weights,
        first.regularizer,
        before,
        first.pixels,
        replace(first.restoration, seconds=seconds),
        planes=len(stack.pages),
        levels=_levels(by_channel),
    )


def _write_plane(writer: TiffWriter, source: ImageFile, pixels: NDArray[np.float32]) -> None:
    samples = samples_of(pixels, source)
    assert source.form is not None  # a plane is a page of TIFF
    write_page(writer, samples.values, source.form, source.metadata)


def _plane(stack: TiffStack, number: int, options: FileOptions, mask: Mask | None) -> ImageFile:
    name = f"{stack.path}, plane {number + 1}"
    return image_of(*stack.plane(number), name, options.white, mask)


def _check_target(target: Path, plane: ImageFile, task: FileTask) -> None:
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise LocregError(f"{target} cannot hold several planes: write a .tif file.")
    check_writable(target, plane, task.factor)


def _by_channel(
    stack: TiffStack,
    task: FileTask,
    options: FileOptions,
    weights: LoadedWeights,
    mask: Mask | None,
) -> dict[int, tuple[RestoreOptions, ...]]:
    """For each channel, the settings with its noise, pooled over some of its planes."""
    return {
        channel: _pooled(
            stack,
            [number for number, other in enumerate(stack.channels) if other == channel],
            task,
            options,
            weights,
            mask,
        )
        for channel in sorted(set(stack.channels))
    }


def _pooled(
    stack: TiffStack,
    numbers: list[int],
    task: FileTask,
    options: FileOptions,
    weights: LoadedWeights,
    mask: Mask | None,
) -> tuple[RestoreOptions, ...]:
    """Settings with the noise of some planes, for each channel that is restored by itself."""
    settings, first = options.restoration, _plane(stack, numbers[0], options, mask)
    apart = len(first.pixels) if is_measured(first) else 1
    regularizer = weights.of_task(weights_for(first, options), task)
    if settings.sigma != "auto" or regularizer.learned_level is not None:
        return (settings,) * apart

    def with_noise_of(channels: list[tuple[Array, Array | None]]) -> RestoreOptions:
        if not task.denoises:
            levels = [level_for_inversion(y, known) for y, known in channels]
            return replace(settings, sigma=float(np.mean(levels)))
        noise = _pooled_noise([find_noise(y, settings, known) for y, known in channels])
        if regularizer.removes_white_noise:
            return with_noise(settings, noise)
        return replace(settings, sigma=noise.level)

    chosen = numbers[:: -(-len(numbers) // _MEASURED)]
    planes = [as_visible(_plane(stack, number, options, mask)) for number in chosen]
    with named_in_errors(stack.path):
        return tuple(
            with_noise_of([(np.split(y, apart, axis=1)[k], known) for y, known in planes])
            for k in range(apart)
        )


def _pooled_noise(found: list[MeasuredNoise]) -> MeasuredNoise:
    """The kind that most planes have, and the root mean square of what these planes have."""
    ((kind, _),) = Counter(noise.kind for noise in found).most_common(1)
    alike = [noise for noise in found if noise.kind == kind]

    def pooled(values: list[float]) -> float:
        return float(np.sqrt(np.mean(np.square(values))))

    level = pooled([noise.level for noise in alike])
    gains = [noise.gain for noise in alike if noise.gain is not None]
    read = [noise.read_noise for noise in alike if noise.read_noise is not None]
    if not gains or not read:
        return MeasuredNoise(kind=kind, level=level)
    gain = float(np.mean(gains))  # a variance, unlike the levels
    return MeasuredNoise(kind=kind, level=level, gain=gain, read_noise=pooled(read))


def _levels(pooled: dict[int, tuple[RestoreOptions, ...]]) -> tuple[float, ...]:
    """The level of each channel, as far as it was given or measured for all its planes."""
    levels = [settings.level for channel in sorted(pooled) for settings in pooled[channel]]
    return tuple(level for level in levels if level is not None)
