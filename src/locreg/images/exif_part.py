"""The EXIF inside a PNG, JPEG or WebP file, changed in place."""

from __future__ import annotations

import struct
import zlib

from locreg.images.png_chunks import SIGNATURE as PNG

_CODES = (0x011A, 0x011B, 0x0128)  # resolution along both axes, and its unit
_ENTRY = 12  # bytes
_RIFF, _JPEG = b"RIFF", b"\xff\xd8"
_HEADER = b"Exif\0\0"


def without_resolution(content: bytes) -> bytes:
    """A file whose EXIF gives no resolution; all else is where it was.

    libvips writes 72 pixels an inch if there is none.
    """
    part = _exif_part(content)
    if part is None:
        return content
    start, end = part
    changed = content[:start] + _without_entries(content[start:end]) + content[end:]
    if content.startswith(PNG):
        checksum = zlib.crc32(changed[start - 4 : end])  # of the name of the chunk too
        changed = changed[:end] + struct.pack(">I", checksum) + changed[end + 4 :]
    return changed


def _without_entries(exif: bytes) -> bytes:
    """EXIF whose first directory lacks the entries of `_CODES`, of the same length."""
    order = "<" if exif.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (number,) = struct.unpack_from(order + "H", exif, start)
    first, after = start + 2, start + 2 + _ENTRY * number
    entries = [exif[k : k + _ENTRY] for k in range(first, after, _ENTRY)]
    kept = [e for e in entries if struct.unpack_from(order + "H", e)[0] not in _CODES]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + exif[after : after + 4]
    padding = bytes(_ENTRY * (number - len(kept)))
    return exif[:start] + directory + padding + exif[after + 4 :]


def _exif_part(content: bytes) -> tuple[int, int] | None:
    """Where the TIFF structure of EXIF begins and ends; None if there is none."""
    if content.startswith(PNG):
        return _find_chunk(content, len(PNG), b"eXIf", ">")
    if content.startswith(_RIFF):
        part = _find_chunk(content, 12, b"EXIF", "<")
        if part is not None and content[part[0] :].startswith(_HEADER):
            return part[0] + len(_HEADER), part[1]
        return part
    start = content.find(_HEADER) + len(_HEADER)
    if not content.startswith(_JPEG) or start < len(_HEADER):
        return None
    (length,) = struct.unpack_from(">H", content, start - len(_HEADER) - 2)
    return start, start - len(_HEADER) - 2 + length


def _find_chunk(content: bytes, position: int, name: bytes, order: str) -> tuple[int, int] | None:
    """Where the content of a chunk begins and ends; in RIFF its name comes before its length."""
    while position + 8 <= len(content):
        head = content[position : position + 8]
        found, stored = (head[4:], head[:4]) if order == ">" else (head[:4], head[4:])
        (length,) = struct.unpack(order + "I", stored)
        if found == name:
            return position + 8, position + 8 + length
        position += 8 + length + (4 if order == ">" else length % 2)
    return None
