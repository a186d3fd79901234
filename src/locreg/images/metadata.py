"""What an image file says beside its samples, in one form for all formats."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from locreg.images.files import READING
from locreg.images.photoshop import MOST_IN_JPEG, with_iptc
from locreg.images.png_chunks import Chunk, means_colours, texts_of

if TYPE_CHECKING:
    from PIL.Image import Exif

Unit = Literal["none", "inch", "centimetre"]

_MILLIMETRES = {"inch": 25.4, "centimetre": 10.0}
EXIF, GPS = 0x8769, 0x8825  # tags that point to the further parts of EXIF
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_INTEROPERABILITY = 0xA005  # a pointer in such a part
#: The tags that TIFF and EXIF share: description, maker, model, software, date, artist, computer,
#: copyright.
SHARED_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298)
COMMENT = "Comment"
LARGEST_TIFF = 4_000_000_000  # bytes of samples; beyond, BigTIFF is written
# Size, bits, compression, orientation, resolution, place of the pixels and of a small copy.
_OF_THE_FORMAT = {
    *range(0x00FE, 0x0108), 0x0111, 0x0112, *range(0x0115, 0x0118), 0x011A, 0x011B, 0x011C, 0x0128,
    *range(0x0200, 0x0216),
}  # fmt: skip
_DIRECTORY_FIRST = b"II*\0\x08\0\0\0"  # the start of a TIFF structure
_ASCII = 2  # type of a tag


@dataclass(frozen=True)
class Resolution:
    """Pixels per unit of length; without a unit only their ratio means something to a viewer."""

    horizontal: float
    vertical: float
    unit: Unit

    def times(self, factor: float) -> Resolution:
        """The resolution of an image with ``factor`` times as many pixels in a row."""
        return Resolution(factor * self.horizontal, factor * self.vertical, self.unit)

    @property
    def per_millimetre(self) -> tuple[float, float] | None:
        """Pixels per millimetre; None without a unit."""
        if self.unit == "none":
            return None
        millimetres = _MILLIMETRES[self.unit]
        return self.horizontal / millimetres, self.vertical / millimetres


@dataclass(frozen=True)
class Tag:
    """A further tag of a TIFF file, with its value as stored."""

    code: int
    kind: int
    count: int
    value: bytes


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file says about its image.

    Attributes:
        profile: ICC profile.
        exif: EXIF, a small TIFF structure.
        xmp: XMP, an XML text.
        iptc: IPTC.
        photoshop: image resources of Photoshop, which may hold the same IPTC.
        orientation: the EXIF code of how viewers turn and flip the pixels; 1: not at all.
        resolution: None if the file has none.
        description: the ImageDescription of TIFF.
        comment: that of JPEG, or the text of PNG with the keyword `COMMENT`.
        chunks: chunks of PNG: how the colours are meant, texts, time.
        tags: further tags of TIFF, in the order of bytes of ``big_endian``.
        big_endian: whether the numbers in ``tags`` begin with their highest byte.
        unread: names of further parts of the file, which no result has.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    orientation: int = 1
    resolution: Resolution | None = None
    description: str | None = None
    comment: str | None = None
    chunks: tuple[Chunk, ...] = ()
    tags: tuple[Tag, ...] = ()
    big_endian: bool = False
    unread: tuple[str, ...] = ()

    def enlarged(self, factor: int) -> Metadata:
        """The metadata of the same scene with ``factor`` times as many pixels in a row."""
        resolution = None if self.resolution is None else self.resolution.times(factor)
        description = self.description
        if description is not None and "<OME" in description:
            description = _ome_enlarged(description, factor)
        return replace(self, resolution=resolution, description=description)

    def in_single_precision(self) -> Metadata:
        """The metadata of the same samples as float32."""
        if self.description is None or "<OME" not in self.description:
            return self
        xml = re.sub(r'(<(?:\w+:)?Pixels\b[^>]*?\sType=")[^"]+(")', r"\1float\2", self.description)
        return replace(self, description=xml)


def what_is_lost(metadata: Metadata, suffix: str, size: int = 0) -> list[str]:
    """What a file with this suffix, and so many bytes of samples, cannot keep, in words."""
    tiff, png, jpeg = (suffix in s for s in ((".tif", ".tiff"), (".png",), (".jpg", ".jpeg")))
    unitless = metadata.resolution is not None and metadata.resolution.unit == "none"
    resources = len(with_iptc(metadata.photoshop or b"", metadata.iptc))
    comment = metadata.comment is not None
    long = {
        "a long comment": (metadata.comment or "").encode(errors="surrogateescape"),
        "XMP of more than 64 KB": metadata.xmp or b"",
        "EXIF of more than 64 KB": metadata.exif or b"",
    }
    found = {
        "further tags of TIFF": bool(metadata.tags) and not tiff,
        "further tags of EXIF": tiff and bool(_further_codes(metadata.exif)),
        "a resolution without unit": unitless and not tiff,
        "the gamma and colour space of PNG": any(map(means_colours, metadata.chunks)) and not png,
        "lens, exposure and place in more than 4 GB": tiff
        and size > LARGEST_TIFF
        and bool(_parts(metadata.exif or b"")),
        "texts of PNG": not png
        and any(keyword != COMMENT for keyword in texts_of(metadata.chunks)),
        "the comment": comment and not (png or jpeg),
        "IPTC": metadata.iptc is not None and not (tiff or jpeg),
        "Photoshop's resources": metadata.photoshop is not None
        and resources > (math.inf if tiff else MOST_IN_JPEG if jpeg else 0),
        **{name: jpeg and len(content) > MOST_IN_JPEG for name, content in long.items()},
        ", ".join(metadata.unread): bool(metadata.unread),
    }
    return [name for name, lost in found.items() if lost]


def _ome_enlarged(xml: str, factor: int) -> str:
    """The XML of OME for planes ``factor`` times as wide and high, of smaller pixels."""
    for attribute, change in (
        ("SizeX", factor),
        ("SizeY", factor),
        ("PhysicalSizeX", 1 / factor),
        ("PhysicalSizeY", 1 / factor),
    ):
        pattern = rf'(<(?:\w+:)?Pixels\b[^>]*?\s{attribute}=")([^"]+)(")'
        xml = re.sub(pattern, partial(_times, factor=change), xml)
    return xml


def _times(found: re.Match[str], factor: float) -> str:
    """An attribute with its number times a factor."""
    before, number, after = found.groups()
    return f"{before}{float(number) * factor:.15g}{after}"


def exif_of_tiff(tiff: bytes) -> bytes | None:
    """EXIF that says what the tags of a TIFF file say; None if they say nothing of the kind."""
    shared, pointers = shared_tags(tiff), dict.fromkeys(_parts(tiff), 0)
    if not shared and not pointers:
        return None
    start = len(_DIRECTORY_FIRST)

    def directory() -> bytes:
        texts = {code: text.encode(errors="surrogateescape") for code, text in shared.items()}
        stored = _directory({**texts, **pointers}, start, big_endian=False, texts=texts)
        return stored + b"\0" * (len(stored) % 2)

    end = start + len(directory())
    parts = b""
    for pointer, part in parts_of_exif(tiff, big_endian=False, offset=end).items():
        pointers[pointer] = end + len(parts)
        parts += part + b"\0" * (len(part) % 2)
    return _DIRECTORY_FIRST + directory() + parts


def shared_tags(exif: bytes) -> dict[int, str]:
    """The texts in EXIF, or in a TIFF file, that both formats have tags for."""
    parsed = _parsed(exif)
    return {
        code: parsed[code].encode("latin-1").decode(errors="surrogateescape")
        for code in SHARED_TAGS
        if is_caption(parsed.get(code))
    }


def _further_codes(exif: bytes | None) -> set[int]:
    """The tags of the first part of EXIF that TIFF has no place for here."""
    known = {*SHARED_TAGS, EXIF, GPS, *_OF_THE_FORMAT}
    return set(_parsed(exif or b"")) - known


def is_caption(text: object) -> TypeGuard[str]:
    """Whether this is a text that means something without the samples of the file.

    tifffile writes the shape of the image as its description.
    """
    return isinstance(text, str) and text != "" and not text.startswith('{"shape":')


def resolution_in_exif(exif: bytes | None) -> Resolution | None:
    """The resolution that EXIF gives; None if it gives none."""
    parsed = _parsed(exif or b"")
    try:
        horizontal, vertical = (float(parsed[code]) for code in (_X_RESOLUTION, _Y_RESOLUTION))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    unit: Unit = "centimetre" if parsed.get(_RESOLUTION_UNIT) == 3 else "inch"
    usable = 0 < horizontal < math.inf and 0 < vertical < math.inf
    return Resolution(horizontal, vertical, unit) if usable else None


def parts_of_exif(exif: bytes, big_endian: bool, offset: int) -> dict[int, bytes]:
    """The further parts of EXIF, as a file stores them one after the other from ``offset`` on.

    Each begins at an even offset and is found by the tag that points to it.
    """
    stored = {}
    for pointer, part in _parts(exif).items():
        values = {
            # As bytes, since the library reads any encoding and writes ASCII alone.
            code: value.encode("latin-1", "replace") if isinstance(value, str) else value
            for code, value in part.items()
        }
        texts = [code for code, value in part.items() if isinstance(value, str)]
        stored[pointer] = _directory(values, offset, big_endian=big_endian, texts=texts)
        offset += len(stored[pointer]) + len(stored[pointer]) % 2
    return stored


def _directory(
    values: dict[int, Any], offset: int, *, big_endian: bool, texts: Iterable[int] = ()
) -> bytes:
    """A directory of tags as a file stores it at an offset; the values of texts are bytes."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2((b"MM\0*" if big_endian else b"II*\0") + bytes(4))
    for code in texts:
        directory.tagtype[code] = _ASCII
    for code, value in values.items():
        directory[code] = value
    return bytes(directory.tobytes(offset))


def _parts(exif: bytes) -> dict[int, dict[int, Any]]:
    """The further parts of EXIF, by the tags that point to them."""
    parsed = _parsed(exif)
    parts = {
        pointer: {c: v for c, v in parsed.get_ifd(pointer).items() if c != _INTEROPERABILITY}
        for pointer in (EXIF, GPS)
    }
    return {pointer: part for pointer, part in parts.items() if part}


def _parsed(exif: bytes) -> Exif:
    """EXIF that can be asked; what cannot be parsed is empty."""
    from PIL import Image

    parsed = Image.Exif()
    # A damaged one makes the library warn, or raise almost anything.
    with READING, contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed.load(exif)
    return parsed
