"""Plan the work on an image or a folder: what to read, what to write, what to leave alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from locreg.errors import LocregError, UsageError
from locreg.images.files import make_folder
from locreg.images.image_file import WRITABLE, check_writable
from locreg.images.sources import list_images


@dataclass(frozen=True)
class Job:
    """One image to read, and the files to write: the restored image and, if wanted, its page."""

    source: Path
    target: Path
    page: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether an earlier run has written both files."""
        return self.target.exists() and (self.page is None or self.page.exists())


def check_folders(source: Path, target: Path) -> None:
    """Check, before any work is done, that the folders of inputs and outputs do not overlap.

    Raises:
        UsageError: when one of them is a file, or one holds the other.
        LocregError: when the folder that is to hold the outputs' folder does not exist.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder: give a folder of images.")
    _check_is_folder(target, source)
    outer, inner = source.resolve(), target.resolve()
    if outer == inner or outer in inner.parents or inner in outer.parents:
        raise UsageError(f"{source} and {target} overlap: give another folder for the results.")
    if not inner.parent.is_dir():
        raise LocregError(f"{target.parent} does not exist: make this folder first.")


def plan_jobs(
    source: Path, target: Path, pages: Path | None = None, *, others: Iterable[Path] = ()
) -> list[Job]:
    """List what to read and write for a file or a folder, and make the folders of the outputs.

    Outputs keep the subfolders and names of the inputs; a format that cannot be written becomes
    PNG. No input is ever overwritten.

    Args:
        source: image, or folder of images.
        target: image to write, or folder.
        pages: folder for one page per image.
        others: further files that are read, such as a mask.

    Raises:
        UsageError: when an output is an input, even under another name, the folder of outputs holds
            the folder of inputs, or source is a folder and target is not.
        LocregError: when the source does not exist or holds no images, two images would be written
            to the same file, or an output cannot be written.
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
    """Refuse outputs that are inputs.

    Files are compared by device and inode, since an output may be a link to an input.
    """
    read = {_identity(path) for path in inputs if path.exists()}
    for path in (path for job in jobs for path in (job.target, job.page) if path is not None):
        if path.exists() and _identity(path) in read:
            raise UsageError(
                f"{path} is an input itself, and inputs are never overwritten: give another output."
            )


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
