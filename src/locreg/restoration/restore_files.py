"""Restore image files, one, several or a folder. Nothing is printed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event as ThreadEvent
from threading import Lock

from locreg.arguments import uses_gpu
from locreg.at_the_same_time import each_in_order
from locreg.engine.session import sharing_the_cores
from locreg.errors import LocregError, UsageError, out_of_memory_is
from locreg.images.tiff_stack import is_stack
from locreg.restoration.file_tasks import FileTask
from locreg.restoration.finished import Finished
from locreg.restoration.jobs import Job, is_single, plan_jobs
from locreg.restoration.options import FileOptions
from locreg.restoration.restore_image_file import (
    Events,
    LoadedWeights,
    RestoredFile,
    restore_image_file,
)
from locreg.restoration.restore_stack_file import restore_stack_file
from locreg.solvers.solution import OnStep
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
    # What a result depends on.
    lasting = replace(options, overwrite=False, device="auto", workers=1)
    made_by = (__version__, task.name, task.settings, lasting)
    others = [Path(options.weights), *(() if task.mask_file else task.inputs)]
    finished = Finished(target, made_by, others, task.mask_file) if several else None
    waiting = _waiting(plan.jobs, finished, options.overwrite, total, events)
    failed += _restore_all(waiting, task, options, events, weights, finished)
    return FileCounts(total, len(plan.jobs) - len(waiting), failed)


def _restore_all(
    jobs: list[Job],
    task: FileTask,
    options: FileOptions,
    events: Events,
    weights: LoadedWeights,
    finished: Finished | None,
) -> int:
    """Do the jobs, some at the same time; returns how many failed.

    ``finished`` is None if a single image was given.

    Raises:
        UsageError: when a job fails in a way in which every other one would.
        LocregError: when a single image was given, and fails.
    """
    workers = min(options.workers, max(len(jobs), 1))
    recording, stopped, failed = Lock(), ThreadEvent(), 0
    if workers > 1:
        events = replace(events, progress=partial(_until, stopped))

    def restored(job: Job) -> RestoredFile:
        way = "choose another --device" if workers == 1 else "choose fewer --workers"
        too_large = f"{job.source} does not fit into the memory: {way}, or cut it into parts."
        with out_of_memory_is(too_large), sharing_the_cores():
            restore = restore_stack_file if is_stack(job.source) else restore_image_file
            file = restore(job, task, options, events, weights)
        if finished is not None:
            with recording:
                finished.add(job)
        return file

    with (
        events.several(len(jobs) if workers > 1 else 0) as one_more,
        contextlib.closing(each_in_order(restored, jobs, workers)) as outcomes,
    ):
        try:
            for outcome in outcomes:
                try:
                    events.restored(outcome())
                except UsageError:
                    raise
                except (LocregError, OSError) as error:
                    if finished is None:
                        raise
                    failed += 1
                    events.message(f"error: {error}")
                one_more()
        finally:
            stopped.set()
    return failed


@contextlib.contextmanager
def _until(stopped: ThreadEvent, *_: object) -> Iterator[OnStep]:
    """No progress, but an end at the next step once it is asked for."""

    def on_step(*_: object) -> None:
        if stopped.is_set():
            raise LocregError("interrupted.")

    yield on_step


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
    said, saying = set[str](), Lock()

    def say(sentence: str) -> None:
        with saying:
            if sentence in said:
                return
            said.add(sentence)
        message(sentence)

    return say


def _about_left_out(left_out: dict[str, int]) -> str:
    kinds = ", ".join(f"{number} {suffix}" for suffix, number in sorted(left_out.items()))
    return f"files that cannot be read as images are left out: {kinds}."
