"""Images inside tar files, read in place without unpacking."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from locreg.errors import LocregError

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True)
class ArchiveMember:
    """A file inside an uncompressed tar file.

    Attributes:
        archive: the tar file.
        name: the member's path in the tar file.
        offset, size: position and number of its bytes in the tar file.
    """

    archive: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """The member's content; shorter if the archive has been cut off since.

        Raises:
            OSError: when the archive cannot be read.
        """
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}"


def list_archive(path: Path) -> list[ArchiveMember]:
    """The regular files in a tar file, in its order. Only the headers are read.

    Raises:
        LocregError: when the tar file cannot be read, or is compressed, damaged or cut off.
    """
    try:
        with path.open("rb") as file:
            start = file.read(5)
        if start.startswith(_COMPRESSED):
            raise LocregError(
                f"{path} is compressed, and its images can only be listed by unpacking it: "
                "decompress it to a plain .tar first (gunzip, unxz, unzstd)."
            )
        with tarfile.open(path, "r:") as archive:
            members = [
                ArchiveMember(path, member.name, member.offset_data, member.size)
                for member in archive
                if member.isreg()
            ]
            end = archive.offset
        with path.open("rb") as file:
            file.seek(end)
            # tarfile stops silently at a header that is damaged or cut off.
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise LocregError(f"{path} is not a complete tar file: it is cut off or damaged.")
        return members
    except OSError as error:
        raise LocregError(f"{path} cannot be read: {error.strerror}.") from None
    except tarfile.TarError as error:
        raise LocregError(
            f"{path} is not a complete tar file ({error}): give folders of images, or tar files."
        ) from None


ImageSource = Path | ArchiveMember
