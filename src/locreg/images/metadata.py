"""What an image file says beside its samples, in one form for all formats."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from locreg.images.photoshop import MOST_IN_JPEG
from locreg.images.png_chunks import Chunk

if TYPE_CHECKING:
    from PIL.Image import Exif

Unit = Literal["none", "inch", "centimetre"]

_MILLIMETRES = {"inch": 25.4, "centimetre": 10.0}
EXIF, GPS = 0x8769, 0x8825  # tags that point to the further parts of EXIF
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_INTEROPERABILITY = 0xA005  # a pointer in such a part
#: The tags that TIFF and EXIF share: description, maker, model, software, date, artist, copyright.
SHARED_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
COMMENT = "Comment"
LARGEST_TIFF = 4_000_000_000  # bytes of samples; beyond, BigTIFF is written
_HEADER = b"Exif\0\0"


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
        texts: comments with their keywords, as in PNG; that of JPEG has the keyword `COMMENT`.
        chunks: chunks of PNG that say how the colours are meant.
        tags: further tags of TIFF, in the order of bytes of ``big_endian``.
        big_endian: whether the numbers in ``tags`` begin with their highest byte.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    orientation: int = 1
    resolution: Resolution | None = None
    description: str | None = None
    texts: tuple[tuple[str, str], ...] = ()
    chunks: tuple[Chunk, ...] = ()
    tags: tuple[Tag, ...] = ()
    big_endian: bool = False

    def enlarged(self, factor: int) -> Metadata:
        """The metadata of the same scene with ``factor`` times as many pixels in a row."""
        resolution = None if self.resolution is None else self.resolution.times(factor)
        description = self.description
        if description is not None and "<OME" in description:
            description = _ome_enlarged(description, factor)
        return replace(self, resolution=resolution, description=description)


def what_is_lost(metadata: Metadata, suffix: str, size: int = 0) -> list[str]:
    """What a file with this suffix, and so many bytes of samples, cannot keep, in words."""
    tiff, png, jpeg = (suffix in s for s in ((".tif", ".tiff"), (".png",), (".jpg", ".jpeg")))
    unitless = metadata.resolution is not None and metadata.resolution.unit == "none"
    resources = len(metadata.photoshop or b"")
    comments = [key for key, _ in metadata.texts if not (jpeg and key == COMMENT)]
    found = {
        "further tags of TIFF": bool(metadata.tags) and not tiff,
        "a resolution without unit": unitless and not tiff,
        "the gamma and colour space of PNG": bool(metadata.chunks) and not png,
        "lens, exposure and place in more than 4 GB": tiff
        and size > LARGEST_TIFF
        and bool(_parts(metadata.exif or b"")),
        "comments": bool(comments) and not png,
        "IPTC": metadata.iptc is not None and not (tiff or jpeg),
        "Photoshop's resources": resources > (math.inf if tiff else MOST_IN_JPEG if jpeg else 0),
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
    from PIL import Image

    shared, parts = shared_tags(tiff), _parts(tiff)
    if not shared and not parts:
        return None
    exif = Image.Exif()
    for code, text in shared.items():
        exif[code] = text
    for pointer, part in parts.items():
        exif.get_ifd(pointer).update(part)
    return exif.tobytes().removeprefix(_HEADER)


def shared_tags(exif: bytes) -> dict[int, str]:
    """The texts in EXIF, or in a TIFF file, that both formats have tags for."""
    parsed = _parsed(exif)
    return {code: parsed[code] for code in SHARED_TAGS if is_caption(parsed.get(code))}


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
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stored = {}
    for pointer, part in _parts(exif).items():
        directory = ImageFileDirectory_v2((b"MM\0*" if big_endian else b"II*\0") + bytes(4))
        for code, value in part.items():
            directory[code] = value
        stored[pointer] = directory.tobytes(offset)
        offset += len(stored[pointer]) + len(stored[pointer]) % 2
    return stored


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
    with contextlib.suppress(Exception), warnings.catch_warnings():  # a damaged one: almost any
        warnings.simplefilter("ignore")
        parsed.load(exif)
    return parsed
