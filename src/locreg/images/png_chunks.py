"""The chunks of a PNG file that libvips leaves out: how its numbers are meant as colours."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_END_OF_HEADER = 33  # after the signature and the first chunk, IHDR

Chunk = tuple[bytes, bytes]  # name and content


def colour_chunks(png: bytes) -> tuple[Chunk, ...]:
    """The chunks of a PNG file that say how its colours are meant, but for an ICC profile."""
    return tuple(chunk for chunk in _header(png) if chunk[0] in _COLOUR)


def is_animated(png: bytes) -> bool:
    """Whether a PNG file has several frames."""
    return any(name == b"acTL" for name, _ in _header(png))


def doubled_chunk(png: bytes) -> str | None:
    """A chunk that decides about samples or colours and is there twice; None if there is none.

    Decoders differ in which of the two they take.
    """
    counts = Counter(name for name, _ in _header(png))
    twice = [name for name in (b"PLTE", b"tRNS", b"iCCP", *_COLOUR) if counts[name] > 1]
    return twice[0].decode() if twice else None


def png_gives_density(png: bytes) -> bool:
    """Whether a PNG file says how many pixels there are in a metre."""
    return any(name == b"pHYs" and content[8:9] == b"\1" for name, content in _header(png))


def with_chunks(png: bytes, added: tuple[Chunk, ...], without: tuple[bytes, ...] = ()) -> bytes:
    """A PNG file with more chunks after its header, and without those of some names."""
    result = png[:_END_OF_HEADER] + b"".join(_stored(*chunk) for chunk in added)
    position = _END_OF_HEADER
    while position < len(png):
        (length,) = struct.unpack_from(">I", png, position)
        name, end = png[position + 4 : position + 8], position + 12 + length
        if name == b"IDAT":
            return result + png[position:]
        if name not in without:
            result += png[position:end]
        position = end
    return result


def _header(png: bytes) -> Iterator[Chunk]:
    """The chunks before the pixels; none if the file is no PNG."""
    position = len(SIGNATURE)
    while png.startswith(SIGNATURE) and position + 8 <= len(png):
        (length,) = struct.unpack_from(">I", png, position)
        name = png[position + 4 : position + 8]
        if name == b"IDAT":
            return
        yield name, png[position + 8 : position + 8 + length]
        position += 12 + length


def _stored(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
