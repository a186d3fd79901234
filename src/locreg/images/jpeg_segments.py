"""The header of a JPEG file: what libvips reads into it, or writes without being asked."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from locreg.images.metadata import Resolution

_START, _JFIF, _EXIF = b"\xff\xd8", b"JFIF\0", b"Exif\0\0"
_COMMENT = 0xFE
_UNITS = {"none": 0, "inch": 1, "centimetre": 2}
_MOST = 65_535  # pixels per unit, or bytes of a segment


def jpeg_gives_density(jpeg: bytes) -> bool:
    """Whether the JFIF header of a JPEG file says how many pixels an inch or a centimetre has."""
    return jpeg[6:11] == _JFIF and jpeg[13] in (1, 2)


def jpeg_comment(jpeg: bytes) -> str | None:
    """The comment of a JPEG file; None if it is no JPEG file or has none."""
    for position, end in _segments(jpeg):
        if jpeg[position + 1] == _COMMENT:
            comment = jpeg[position + 4 : end]
            try:
                return comment.decode()
            except UnicodeDecodeError:
                return comment.decode("latin-1")
    return None


def with_comment(jpeg: bytes, comment: str) -> bytes:
    """A JPEG file with a comment after its other segments; what is too long for it is cut off."""
    content = comment.encode()[: _MOST - 2]
    end = max((end for _, end in _segments(jpeg)), default=len(_START))
    return jpeg[:end] + struct.pack(">BBH", 0xFF, _COMMENT, 2 + len(content)) + content + jpeg[end:]


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the application segments and comments at the start of a JPEG file."""
    position = len(_START)
    while jpeg.startswith(_START) and position + 4 <= len(jpeg) and jpeg[position] == 0xFF:
        if not (0xE0 <= jpeg[position + 1] <= 0xEF or jpeg[position + 1] == _COMMENT):
            return
        (length,) = struct.unpack_from(">H", jpeg, position + 2)
        yield position, position + 2 + length
        position += 2 + length


def with_density_for_exif(jpeg: bytes, resolution: Resolution | None) -> bytes:
    """A JPEG file whose EXIF, which libvips has made up, is replaced by a JFIF header."""
    unwanted = [
        (start, end)
        for start, end in _segments(jpeg)
        if jpeg[start + 4 :].startswith((_EXIF, _JFIF))
    ]
    for start, end in reversed(unwanted):
        jpeg = jpeg[:start] + jpeg[end:]
    unit, sides = 0, (1, 1)
    if resolution is not None:
        unit = _UNITS[resolution.unit]
        sides = (
            min(round(resolution.horizontal), _MOST) or 1,
            min(round(resolution.vertical), _MOST) or 1,
        )
    header = struct.pack(">HH5sHBHHBB", 0xFFE0, 16, _JFIF, 0x0101, unit, *sides, 0, 0)
    return _START + header + jpeg[len(_START) :]
