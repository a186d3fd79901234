"""The header of a JPEG file: what libvips reads into it, or writes without being asked."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from locreg.images.metadata import Resolution
from locreg.images.photoshop import HEADER as PHOTOSHOP

_START, _JFIF, _EXIF = b"\xff\xd8", b"JFIF\0", b"Exif\0\0"
_COMMENT = 0xFE
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/"
_KNOWN = (
    *(_JFIF, b"JFXX\0", _EXIF, b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", PHOTOSHOP),
    b"Adobe",
)
_UNITS = {"none": 0, "inch": 1, "centimetre": 2}
_MOST = 65_535  # pixels per unit


def jpeg_gives_density(jpeg: bytes) -> bool:
    """Whether the JFIF header of a JPEG file says how many pixels an inch or a centimetre has."""
    return jpeg[6:11] == _JFIF and jpeg[13] in (1, 2)


def jpeg_comment(jpeg: bytes) -> str | None:
    """The comments of a JPEG file; None if it is no JPEG file or has none."""
    contents = [content for marker, content in _segments_of(jpeg) if marker == _COMMENT]
    return "\n".join(map(_decoded, contents)) or None


def photoshop_resources(jpeg: bytes) -> bytes | None:
    """The image resources of Photoshop in all segments of a JPEG file; None if there are none."""
    contents = [content for _, content in _segments_of(jpeg) if content.startswith(PHOTOSHOP)]
    return b"".join(content.removeprefix(PHOTOSHOP) for content in contents) or None


def further_segments(jpeg: bytes) -> list[str]:
    """The names of other segments that no result has, such as MPF."""
    others = {
        _name(marker, content)
        for marker, content in _segments_of(jpeg)
        if marker != _COMMENT and not content.startswith(_KNOWN)
    }
    return sorted(others)


def _name(marker: int, content: bytes) -> str:
    """What a segment calls itself; else its number."""
    if content.startswith(_MORE_XMP):
        return "extended XMP"
    name = content.split(b"\0")[0][:20].decode("latin-1")
    return name if name.isalnum() and name.isascii() else f"APP{marker - 0xE0}"


def _decoded(comment: bytes) -> str:
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")


def _segments_of(jpeg: bytes) -> list[tuple[int, bytes]]:
    """The markers and contents of the segments at the start of a JPEG file."""
    return [(jpeg[start + 1], jpeg[start + 4 : end]) for start, end in _segments(jpeg)]


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """A JPEG file with a comment after its other segments, of at most `MOST_IN_JPEG` bytes."""
    end = max((end for _, end in _segments(jpeg)), default=len(_START))
    return jpeg[:end] + struct.pack(">BBH", 0xFF, _COMMENT, 2 + len(comment)) + comment + jpeg[end:]


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the application segments and comments at the start of a JPEG file."""
    position = len(_START)
    while jpeg.startswith(_START) and position + 4 <= len(jpeg) and jpeg[position] == 0xFF:
        if not (0xE0 <= jpeg[position + 1] <= 0xEF or jpeg[position + 1] == _COMMENT):
            return
        (length,) = struct.unpack_from(">H", jpeg, position + 2)
        yield position, position + 2 + length
        position += 2 + length


def has_exact_density(resolution: Resolution | None) -> bool:
    """Whether a JFIF header can hold a resolution, in whole numbers of pixels."""
    if resolution is None:
        return True
    sides = (resolution.horizontal, resolution.vertical)
    return all(side == round(side) and 1 <= side <= _MOST for side in sides)


def with_density_for_exif(jpeg: bytes, resolution: Resolution | None) -> bytes:
    """A JPEG file whose EXIF, which libvips has made up, is replaced by a JFIF header.

    The resolution is one for which `has_exact_density` is true.
    """
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
        sides = round(resolution.horizontal), round(resolution.vertical)
    header = struct.pack(">HH5sHBHHBB", 0xFFE0, 16, _JFIF, 0x0101, unit, *sides, 0, 0)
    return _START + header + jpeg[len(_START) :]
