"""The chunks of a PNG file that libvips leaves out: how colours are meant, and texts."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LATE = (b"eXIf", b"tIME", *_TEXTS)  # may stand behind the pixels, where libvips does not look
_XMP, _RAW = b"XML:com.adobe.xmp\0", b"Raw profile type "  # texts that hold other metadata
_KNOWN = (
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"IEND",
    b"iCCP",
    b"pHYs",
    b"sBIT",
    b"bKGD",
    b"hIST",
    b"sPLT",
)
_END_OF_HEADER = 33  # after the signature and the first chunk, IHDR

Chunk = tuple[bytes, bytes]  # name and content


def kept_chunks(png: bytes) -> tuple[Chunk, ...]:
    """The chunks of a PNG file that are kept as they are: meaning of colours, texts, time."""

    def kept(name: bytes, content: bytes) -> bool:
        return name in (*_COLOUR, b"tIME") or (
            name in _TEXTS and not content.startswith((_XMP, _RAW))
        )

    return tuple(chunk for chunk in _header(png) if kept(*chunk))


def further_chunks(png: bytes) -> list[str]:
    """The names of other chunks that no result has."""
    known = (*_KNOWN, *_COLOUR, *_LATE)
    names = {name.decode("latin-1") for name, _ in _header(png) if name not in known}
    return sorted(name for name in names if name.isascii() and name.isalpha())


def means_colours(chunk: Chunk) -> bool:
    """Whether a chunk says how the colours are meant."""
    return chunk[0] in _COLOUR


def texts_of(chunks: Iterable[Chunk]) -> dict[str, str]:
    """The texts in some chunks by their keywords."""
    return dict(text for text in map(_text_of, chunks) if text is not None)


def _text_of(chunk: Chunk) -> tuple[str, str] | None:
    """The keyword and the text of a chunk; None if it is no text, or a damaged one."""
    name, content = chunk
    keyword, _, rest = content.partition(b"\0")
    try:
        if name == b"tEXt":
            return keyword.decode("latin-1"), rest.decode("latin-1")
        if name == b"zTXt":
            return keyword.decode("latin-1"), zlib.decompress(rest[1:]).decode("latin-1")
        if name == b"iTXt":
            _, _, text = rest[2:].split(b"\0", 2)
            text = zlib.decompress(text) if rest[:1] == b"\1" else text
            return keyword.decode("latin-1"), text.decode()
    except (zlib.error, ValueError):
        return None
    return None


def text_chunk(keyword: str, text: str) -> Chunk:
    """A chunk with a text, of the kind that can hold it."""
    start = keyword.encode("latin-1") + b"\0"
    try:
        return b"tEXt", start + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", start + bytes(4) + text.encode()


def with_metadata_first(png: bytes) -> bytes:
    """A PNG file whose metadata stands before its pixels; other files are unchanged."""
    if not png.startswith(SIGNATURE):
        return png
    first, position = None, len(SIGNATURE)
    late, rest = list[memoryview](), list[memoryview]()  # views: there may be thousands of chunks
    view = memoryview(png)
    while position + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, position)
        name, chunk = png[position + 4 : position + 8], view[position : position + 12 + length]
        if first is None and name == b"IDAT":
            first = position
        if first is not None:
            (late if name in _LATE else rest).append(chunk)
        position += 12 + length
    return b"".join([view[:first], *late, *rest, view[position:]]) if late else png


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
