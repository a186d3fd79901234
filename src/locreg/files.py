"""Writing files so that a failure leaves nothing half-written; finding those of a folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from locreg.errors import LocregError


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either what it held before or all of it.

    Raises:
        LocregError: when the folder is missing or not writable, or the disk is full.
    """
    temporary = None
    try:
        path = path.resolve()  # through a link, to the file it names
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".locreg-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LocregError(f"{path} cannot be written: {error.strerror}.") from None
        if isinstance(error, RuntimeError):  # of resolve
            raise LocregError(f"{path} cannot be written: it is a link to itself.") from None
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they exist.

    Raises:
        LocregError: when it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocregError(f"{folder} cannot be made: {error.strerror}.") from None


def files_below(folder: Path) -> Iterator[Path]:
    """Its files and those of its subfolders, linked ones too; of hidden folders none.

    A folder counts once, since a link may lead back.

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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
