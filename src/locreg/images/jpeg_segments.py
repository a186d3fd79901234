"""The header of a JPEG file: what libvips reads into it, or writes without being asked."""

from __future__ import annotations

import struct

from locreg.images.metadata import Resolution

_START, _JFIF, _EXIF = b"\xff\xd8", b"JFIF\0", b"Exif\0\0"
_UNITS = {"none": 0, "inch": 1, "centimetre": 2}
_MOST = 65_535  # pixels per unit


def jpeg_gives_density(jpeg: bytes) -> bool:
    """Whether the JFIF header of a JPEG file says how many pixels an inch or a centimetre has."""
    return jpeg[6:11] == _JFIF and jpeg[13] in (1, 2)


def with_density_for_exif(jpeg: bytes, resolution: Resolution | None) -> bytes:
    """A JPEG file whose EXIF, which libvips has made up, is replaced by a JFIF header."""
    position = len(_START)
    while jpeg[position] == 0xFF and 0xE0 <= jpeg[position + 1] <= 0xEF:
        (length,) = struct.unpack_from(">H", jpeg, position + 2)
        end = position + 2 + length
        if jpeg[position + 4 :].startswith((_EXIF, _JFIF)):
            jpeg = jpeg[:position] + jpeg[end:]
        else:
            position = end
    unit, sides = 0, (1, 1)
    if resolution is not None:
        unit = _UNITS[resolution.unit]
        sides = (
            min(round(resolution.horizontal), _MOST) or 1,
            min(round(resolution.vertical), _MOST) or 1,
        )
    header = struct.pack(">HH5sHBHHBB", 0xFFE0, 16, _JFIF, 0x0101, unit, *sides, 0, 0)
    return _START + header + jpeg[len(_START) :]
