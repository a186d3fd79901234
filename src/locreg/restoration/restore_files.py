"""Restore image files, one, several or a folder. Nothing is printed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from locreg.arguments import uses_gpu
from locreg.errors import LocregError, UsageError, out_of_memory_is
from locreg.images.tiff_stack import is_stack
from locreg.restoration.at_the_same_time import each_in_order
from locreg.restoration.file_tasks import FileTask
from locreg.restoration.finished import Finished
from locreg.restoration.jobs import Job, is_single, plan_jobs
from locreg.restoration.options import FileOptions
from locreg.restoration.restore_image_file import (
    Events,
    LoadedWeights,
    RestoredFile,
    no_progress,
    restore_image_file,
)
from locreg.restoration.restore_stack_file import restore_stack_file
from locreg.version import __version__


@dataclass(frozen=True)
class FileCounts:
    """How many images there were, how many were skipped, and how many failed."""

    total: int
    skipped: int
    failed: int


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
    uses_gpu(options.device)  # fail before reading any image
    weights = weights or LoadedWeights(options)
    if options.weights != "auto":
        weights.of_task(options.weights, task)
    events = replace(events, message=_once(events.message))
    sources = [source] if isinstance(source, Path) else list(source)
    plan = plan_jobs(sources, target, pages, others=task.inputs)
    several = not is_single(sources)
    for sentence in plan.refused:
        events.message(f"error: {sentence}")
    if plan.left_out:
        events.message(_about_left_out(plan.left_out))
    failed = sum(plan.refused.values())
    total = len(plan.jobs) + failed
    lasting = replace(
        options, overwrite=False, device="auto", workers=1
    )  # what a result depends on
    made_by = (__version__, task.name, task.settings, lasting)
    others = [Path(options.weights), *(() if task.mask_file else task.inputs)]
    finished = Finished(target, made_by, others, task.mask_file) if several else None
    waiting = _waiting(plan.jobs, finished, options.overwrite, total, events)
    workers = min(options.workers, max(len(waiting), 1))
    recording = Lock()

    def restored(job: Job) -> RestoredFile:
        too_large = (
            f"{job.source} does not fit into the memory of the device {options.device}: choose "
            "another --device or fewer --workers, or cut the image into parts."
        )
        own = events if workers == 1 else replace(events, progress=no_progress)
        with out_of_memory_is(too_large):
            restore = restore_stack_file if is_stack(job.source) else restore_image_file
            file = restore(job, task, options, own, weights)
        if finished is not None:
            with recording:
                finished.add(job)
        return file

    with (
        events.several(len(waiting) if workers > 1 else 0) as one_more,
        contextlib.closing(each_in_order(restored, waiting, workers)) as outcomes,
    ):
        for outcome in outcomes:
            try:
                events.restored(outcome())
            except UsageError:
                raise  # every other image would fail in the same way
            except (LocregError, OSError) as error:
                if not several:
                    raise
                failed += 1
                events.message(f"error: {error}")
            one_more()
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


def _once(message: Callable[[str], None]) -> Callable[[str], None]:
    """Pass each sentence on once: what is true of many files is said of their kind."""
    said = set[str]()

    def say(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            message(sentence)

    return say


def _about_left_out(left_out: dict[str, int]) -> str:
    kinds = ", ".join(f"{number} {suffix}" for suffix, number in sorted(left_out.items()))
    return f"files that cannot be read as images are left out: {kinds}."
