"""Writes files atomically, lists the files of a folder, and checks paths."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock, RLock

from locreg.errors import LocregError, UsageError

_TEMPORARY = ".locreg-"
_OLD = 24 * 3600.0  # seconds: such a file belongs to no process that still writes


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a failure leaves its old content, never half of the new one.

    Raises:
        LocregError: when the folder is missing or not writable, or the disk is full.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of a file when nothing has failed.

    Raises:
        LocregError: when the folder is missing or not writable, or the disk is full.
    """
    temporary = None
    try:
        path = path.resolve()  # a link stays a link; its target is replaced
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_TEMPORARY, delete=False) as file:
            temporary = Path(file.name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LocregError(f"{path} cannot be written: {error.strerror}.") from None
        if isinstance(error, RuntimeError):  # raised by resolve for a circular link
            raise LocregError(f"{path} cannot be written: it is a link to itself.") from None
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and its parent folders, unless they exist.

    In one that exists, the temporary files of processes that were killed long ago are removed.

    Raises:
        LocregError: when the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
                if time.time() - left.stat().st_mtime > _OLD:
                    left.unlink()
    except OSError as error:
        raise LocregError(f"{folder} cannot be made: {error.strerror}.") from None


def files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder and its subfolders, also through links, except hidden subfolders.

    Each folder is visited once, since a link may lead back to it.

    Raises:
        OSError: when a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen = set()
    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in names)


# Decoders warn through loggers and settings of the whole process, so one file is read at a time.
READING = RLock()

_ASKING = Lock()  # the mask can only be read by setting it, for all threads


def _umask() -> int:
    with _ASKING:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def as_paths(paths: Path | tuple[Path, ...]) -> tuple[Path, ...]:
    """A single path as a tuple of one; a tuple unchanged."""
    return (paths,) if isinstance(paths, Path) else paths


def check_apart(paths: tuple[Path, ...]) -> None:
    """Check that no path contains another one, whose images would then be used twice.

    Raises:
        UsageError: when one does, or no path is given.
    """
    if not paths:
        raise UsageError("Give at least one folder or tar file of clean images.")
    for index, path in enumerate(paths):
        for other in paths[:index]:
            one, two = path.resolve(), other.resolve()
            if one == two or one in two.parents or two in one.parents:
                raise UsageError(f"{other} and {path} overlap: give paths that do not.")
