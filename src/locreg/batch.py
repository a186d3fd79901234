"""One image or a folder of images: what is read, what is written, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from locreg.errors import LocregError, UsageError
from locreg.files import make_folder
from locreg.images import WRITABLE, check_writable, list_images


@dataclass(frozen=True)
class Job:
    """One image to read and the files to write: the image and, if one is asked for, its page."""

    source: Path
    target: Path
    page: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether an earlier run has written all of it."""
        return self.target.exists() and (self.page is None or self.page.exists())


def check_folders(source: Path, target: Path) -> None:
    """Refuse a folder of inputs and one of outputs that hold each other, before any work is done.

    Raises:
        UsageError: when one of them is a file, or they overlap.
        LocregError: when the outputs' folder cannot be made.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder: give a folder of images.")
    _check_is_folder(target, source)
    outer, inner = source.resolve(), target.resolve()
    if outer == inner or outer in inner.parents or inner in outer.parents:
        raise UsageError(f"{source} and {target} overlap: give another folder for the results.")
    if not inner.parent.is_dir():
        raise LocregError(f"{target.parent} does not exist: make this folder first.")


def plan(
    source: Path, target: Path, pages: Path | None = None, *, others: Iterable[Path] = ()
) -> list[Job]:
    """What to read and write for a file or a folder; no input is ever overwritten.

    A folder keeps its structure and its names; formats that cannot be written become PNG.

    Args:
        source: image, or folder of images.
        target: image to write, or folder.
        pages: folder for a page per image.
        others: files that are read beside the images, such as a mask.

    Raises:
        UsageError: when an output is an input, by whatever name, the folder of outputs holds that
            of the inputs, or one is a folder and the other is not.
        LocregError: when the input does not exist or the output cannot be written to.
    """
    if source.is_dir():
        if target.resolve() == source.resolve():
            raise UsageError(f"{target} is the folder of the inputs: give another folder.")
        _check_is_folder(target, source)
        inside = target.resolve()
        if inside in source.resolve().parents:
            raise UsageError(f"{target} holds {source}: give another folder for the results.")
        files = [f for f in list_images(source) if inside not in f.resolve().parents]
        if not files:
            raise LocregError(f"{source} holds no images outside {target}.")
        names = [_writable_name(file.relative_to(source)) for file in files]
        jobs = [
            Job(file, target / name, _page(pages, name))
            for file, name in zip(files, names, strict=True)
        ]
        _refuse_collisions(jobs)
        _refuse_inputs(jobs, [*files, *others])
        _make_folders(jobs)
        return jobs
    if not source.exists():
        raise LocregError(f"{source} does not exist.")
    if target.is_dir():
        target = _writable_name(target / source.name)
    jobs = [Job(source, target, _page(pages, Path(target.name)))]
    _refuse_inputs(jobs, [source, *others])
    check_writable(target)
    _make_folders(jobs)
    return jobs


def _check_is_folder(target: Path, source: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{source} is a folder, so {target} must be a folder too.")


def _page(pages: Path | None, name: Path) -> Path | None:
    return None if pages is None else pages / name.with_name(f"{name.name}.html")


def _make_folders(jobs: list[Job]) -> None:
    files = (file for job in jobs for file in (job.target, job.page) if file is not None)
    for folder in {file.parent for file in files}:
        make_folder(folder)


def _writable_name(path: Path) -> Path:
    return path if path.suffix.lower() in WRITABLE else path.with_suffix(".png")


def _refuse_inputs(jobs: list[Job], inputs: Iterable[Path]) -> None:
    """By what the files are, not by their names: a link in the outputs may lead to an input."""
    read = {_identity(path) for path in inputs if path.exists()}
    for path in (path for job in jobs for path in (job.target, job.page) if path is not None):
        if path.exists() and _identity(path) in read:
            raise UsageError(f"{path} is an input itself, which is never overwritten.")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _refuse_collisions(jobs: list[Job]) -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.target in seen:
            raise LocregError(
                f"{seen[job.target]} and {job.source} would both be written to {job.target}: "
                "rename one of them."
            )
        seen[job.target] = job.source
