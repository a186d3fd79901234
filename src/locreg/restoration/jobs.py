"""Plan the work on an image or a folder: what to read, what to write, what to leave alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from locreg.errors import LocregError, UsageError
from locreg.images.files import make_folder
from locreg.images.image_file import WRITABLE, check_writable
from locreg.images.sources import list_images, other_suffixes


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


@dataclass(frozen=True)
class Plan:
    """The work on some images.

    Attributes:
        jobs: what to read and to write.
        refused: why images cannot be written, and how many.
        left_out: how many files of the folders are no images that can be read, by their suffix.
    """

    jobs: list[Job]
    refused: dict[str, int]
    left_out: dict[str, int]


def plan_jobs(
    sources: Path | Sequence[Path],
    target: Path,
    pages: Path | None = None,
    *,
    others: Iterable[Path] = (),
) -> Plan:
    """List what to read and write, and make the folders of the outputs.

    Outputs keep the subfolders and names of the inputs; a format that cannot be written becomes
    PNG. No input is ever overwritten.

    Args:
        sources: images, or folders of images.
        target: image to write, if there is one image; otherwise a folder.
        pages: folder for one page per image.
        others: further files that are read, such as a mask.

    Raises:
        UsageError: when an output is an input, even under another name, the folder of outputs holds
            a folder of inputs, or there are several images and the target is a file.
        LocregError: when a source does not exist or holds no images, or an output cannot be
            written.
    """
    sources = [sources] if isinstance(sources, Path) else list(sources)
    if is_single(sources):
        return _plan_one(sources[0], target, pages, others)
    if target.suffix.lower() in WRITABLE and not target.is_dir():
        raise UsageError(f"{target} names one image: give a folder for the results.")
    jobs, left_out = list[Job](), Counter[str]()
    for source in sources:
        _check_is_folder(target, source)
        if source.is_dir():
            files, unread = _files_of_folder(source, target)
            left_out.update(unread)
            names = [_writable_name(file.relative_to(source)) for file in files]
        else:
            _check_exists(source)
            files, names = [source], [_writable_name(Path(source.name))]
        jobs += [
            Job(file, target / name, _page(pages, name))
            for file, name in zip(files, names, strict=True)
        ]
    _refuse_inputs(jobs, [*(job.source for job in jobs), *others])
    jobs, refused = _without_collisions(jobs)
    make_folder(target)
    _make_folders(jobs)
    return Plan(jobs, refused, dict(left_out))


def is_single(sources: Sequence[Path]) -> bool:
    """Whether the sources are one image."""
    return len(sources) == 1 and not sources[0].is_dir()


def _plan_one(source: Path, target: Path, pages: Path | None, others: Iterable[Path]) -> Plan:
    _check_exists(source)
    if target.is_dir():
        target = _writable_name(target / source.name)
    jobs = [Job(source, target, _page(pages, Path(target.name)))]
    _refuse_inputs(jobs, [source, *others])
    check_writable(target)
    _make_folders(jobs)
    return Plan(jobs, {}, {})


def _check_exists(source: Path) -> None:
    if not source.exists():
        raise LocregError(f"{source} does not exist.")


def _files_of_folder(source: Path, target: Path) -> tuple[list[Path], Counter[str]]:
    """The images of a folder outside the target, and how many other files it has, by suffix."""
    inside = target.resolve()
    if inside == source.resolve():
        raise UsageError(f"{target} is the folder of the inputs: give another folder.")
    if inside in source.resolve().parents:
        raise UsageError(f"{target} holds {source}: give another folder for the results.")
    files = [f for f in list_images(source) if inside not in f.resolve().parents]
    if not files:
        raise LocregError(f"{source} holds no images outside {target}.")
    return files, other_suffixes(source, inside)


def _check_is_folder(target: Path, source: Path) -> None:
    if target.exists() and not target.is_dir():
        kind = "a folder" if source.is_dir() else "one of several images"
        raise UsageError(f"{source} is {kind}, so {target} must be a folder too.")


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


def _without_collisions(jobs: list[Job]) -> tuple[list[Job], dict[str, int]]:
    """The jobs that write to a file of their own; why the others cannot, and how many."""
    sources = dict[Path, list[Path]]()
    for job in jobs:
        sources.setdefault(job.target, []).append(job.source)
    refused = {
        f"{' and '.join(map(str, several))} would both be written to {target}: rename one of "
        "them, or give another folder for each.": len(several)
        for target, several in sources.items()
        if len(several) > 1
    }
    return [job for job in jobs if len(sources[job.target]) == 1], refused
