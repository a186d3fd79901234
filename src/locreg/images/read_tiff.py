"""TIFF files to samples and metadata. What would come out wrong is refused."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.images.files import READING
from locreg.images.metadata import (
    EXIF,
    GPS,
    SHARED_TAGS,
    Metadata,
    Resolution,
    Tag,
    Unit,
    exif_of_tiff,
    is_caption,
)
from locreg.images.samples import Samples

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffTag

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are those of BigTIFF

_INVERTED, _GREY, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6  # PhotometricInterpretation
_OTHER_COLOURS = {
    4: "mask",
    5: "CMYK",
    8: "Lab",
    9: "Lab",
    10: "Lab",
    32844: "LogL",
    32845: "LogLuv",
}
_RAW = (32803, 34892)  # a colour filter array, and the same after demosaicing
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha
_PLANAR, _FILL_ORDERS = (1, 2), (1, 2)
_JPEG = (6, 7)  # compressions whose decoder makes RGB of YCbCr
_TYPES = ("uint8", "uint16", "float16", "float32", "float64")
_UNITS: dict[int, Unit] = {1: "none", 2: "inch", 3: "centimetre"}

DESCRIPTION, ORIENTATION, XMP, IPTC, PHOTOSHOP, PROFILE = 270, 274, 700, 33723, 34377, 34675
#: Tags of how the samples are stored, and those that `Metadata` has fields for.
OWN_TAGS = {
    *(254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284),
    *(296, 301, 317, 318, 319, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347),
    *(*range(512, 522), *range(529, 533)),
    *(ORIENTATION, XMP, IPTC, PHOTOSHOP, PROFILE, EXIF, GPS, 40965, *SHARED_TAGS),
}
#: Bytes of one value of each type of tags.
TAG_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


@dataclass(frozen=True)
class TiffForm:
    """How a TIFF file means its samples.

    Attributes:
        photometric: PhotometricInterpretation.
        extra: ExtraSamples.
    """

    photometric: int
    extra: tuple[int, ...]

    @property
    def in_colour(self) -> bool:
        """Whether the only channels, but for alpha, are red, green and blue."""
        return self.photometric == _RGB and len(self.extra) == self.has_alpha

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return bool(self.extra) and self.extra[-1] in _ALPHA


def read_tiff(content: bytes, name: object) -> tuple[Samples, Metadata, TiffForm]:
    """Decode the picture of a TIFF file.

    Args:
        content: the file.
        name: of the file, for errors.

    Raises:
        LocregError: when the file is damaged, or holds several pictures or one that is neither
            grey, RGB nor measured channels.
    """
    with opened_tiff(io.BytesIO(content), name) as file, READING, refusing_damage(name):
        page = _only_page(file, name)
        samples, form = read_page(page, name)
        return samples, page_metadata(page, exif_of_tiff(content)), form


def channels_of_tiff(content: bytes, name: object) -> int:
    """The number of channels of a TIFF file without alpha.

    Raises:
        LocregError: as `read_tiff`, as far as the header shows it.
    """
    with opened_tiff(io.BytesIO(content), name) as file, READING, refusing_damage(name):
        page = _only_page(file, name)
        form = _form(page, name)
        if form.photometric == _PALETTE:
            return 3
        return int(page.samplesperpixel) - form.has_alpha


@contextlib.contextmanager
def opened_tiff(content: io.BytesIO | Path, name: object) -> Iterator[TiffFile]:
    """A TIFF file of `tifffile`.

    Raises:
        LocregError: when it cannot be opened.
        OSError: when it cannot be read.
    """
    import tifffile

    with _silent():
        with READING, refusing_damage(name):
            file = tifffile.TiffFile(content)
        with file:
            yield file


@contextlib.contextmanager
def refusing_damage(name: object) -> Iterator[None]:
    """Refuse a file at which the library fails, except for lack of memory.

    Raises:
        LocregError: when anything else is raised.
    """
    try:
        yield
    except (LocregError, OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes the library raise almost anything
        raise LocregError(f"{name} is damaged or of an unknown kind: {_reason(error)}.") from None


def read_page(page: TiffPage, name: object) -> tuple[Samples, TiffForm]:
    """Decode a page; see `read_tiff`."""
    form = _form(page, name)
    _check_storage(page, name)
    try:
        with READING, _refusing_complaints(name):
            values = np.asarray(page.asarray())
    except MemoryError:
        raise LocregError(f"{name} does not fit into the memory, or is damaged.") from None
    if page.axes.startswith("S"):  # planes one after the other
        values = np.moveaxis(values, 0, -1)
    values = values.reshape(page.imagelength, page.imagewidth, -1)
    if form.photometric == _PALETTE:
        values, form = _from_palette(page, values), TiffForm(_RGB, ())
    if form.photometric == _INVERTED:
        values = np.iinfo(values.dtype).max - values
    if form.photometric == _YCBCR:
        form = TiffForm(_RGB, form.extra)
    return Samples(np.ascontiguousarray(values), form.in_colour, form.has_alpha), form


_SILENCED: list[bool] = []  # for each open file, whether the log was heard before


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What the library logs is not for the user."""
    log, nowhere = logging.getLogger("tifffile"), logging.NullHandler()
    log.addHandler(nowhere)
    with READING:
        _SILENCED.append(log.propagate)
        log.propagate = False
    try:
        yield
    finally:
        with READING:
            before = _SILENCED.pop(0)
            if _SILENCED:  # another file is open: it hands on what was before
                _SILENCED[0] = before
            else:
                log.propagate = before
        log.removeHandler(nowhere)


@contextlib.contextmanager
def _refusing_complaints(name: object) -> Iterator[None]:
    """Refuse a file if the library logs a warning while it decodes."""
    complaints: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("tifffile")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
    if complaints:
        raise LocregError(f"{name} is damaged: {complaints[0]}.")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text[:200] or type(error).__name__


def full_pages(file: TiffFile, name: object) -> list[TiffPage]:
    """The pages that are neither smaller copies nor masks.

    Raises:
        LocregError: when there is none, since a smaller copy hides the picture; or when a page has
            no pixels, with which the library would not come to an end.
    """
    pages = [page.aspage() for page in file.pages]
    if any(min(page.imagewidth, page.imagelength, page.samplesperpixel) < 1 for page in pages):
        raise LocregError(f"{name} is damaged: it has no pixels.")
    full = [page for page in pages if not page.subfiletype & 5]
    if not full:
        raise LocregError(
            f"{name} holds a small copy first and the picture behind it, as raw photographs do: "
            "develop it (darktable, RawTherapee) and save it as TIFF."
        )
    return full


def _only_page(file: TiffFile, name: object) -> TiffPage:
    full = full_pages(file, name)
    several = max(len(full), planes_in_one_page(file, full[0]))
    if several > 1:
        raise LocregError(
            f"{name} has {several} frames or pages: save each as a file of its own (in ImageJ: "
            "Save As, Image Sequence)."
        )
    return full[0]


def planes_in_one_page(file: TiffFile, page: TiffPage) -> int:
    """The planes that follow each other without pages of their own, as ImageJ stores large ones."""
    samples = int(np.prod(page.shape))
    return max((int(series.size) // samples for series in file.series), default=1)


def _form(page: TiffPage, name: object) -> TiffForm:
    """How the samples are meant.

    Raises:
        LocregError: when they are no grey, RGB or measured channels, or of an unknown type.
    """
    photometric = int(page.photometric)
    if photometric in _RAW:
        raise LocregError(f"{name} is a raw photograph: develop it and save it as TIFF first.")
    if photometric in _OTHER_COLOURS:
        raise LocregError(
            f"{name} is a {_OTHER_COLOURS[photometric]} image: convert it to RGB first."
        )
    if photometric == _YCBCR and int(page.compression) not in _JPEG:
        raise LocregError(f"{name} is a YCbCr image: convert it to RGB first.")
    if photometric not in (_INVERTED, _GREY, _RGB, _PALETTE, _YCBCR):
        raise LocregError(f"{name} has an unknown PhotometricInterpretation, {photometric}.")
    bits, stored = page.bitspersample, None if page.dtype is None else page.dtype.name
    if photometric == _PALETTE and stored in ("uint8", "uint16"):
        return TiffForm(photometric, ())
    if stored not in _TYPES or bits != 8 * np.dtype(stored).itemsize:
        kind = f"{bits}-bit" if stored in (None, "bool", *_TYPES) else stored
        raise LocregError(
            f"{name} stores {kind} samples; 8-bit, 16-bit and float images are supported."
        )
    if photometric == _INVERTED and stored.startswith("float"):
        raise LocregError(
            f"{name} stores inverted float samples (PhotometricInterpretation 0), but floats have "
            "no largest value: invert it and save it again."
        )
    if page.imagedepth > 1:
        raise LocregError(f"{name} is a volume of {page.imagedepth} planes: save each as a file.")
    extra = tuple(int(kind) if kind in (0, *_ALPHA) else 0 for kind in page.extrasamples)
    number = int(page.samplesperpixel) - (3 if photometric in (_RGB, _YCBCR) else 1)
    if number < 0:
        raise LocregError(f"{name} is damaged: it is an RGB image with too few channels.")
    return TiffForm(photometric, extra if len(extra) == number else (0,) * number)


def _check_storage(page: TiffPage, name: object) -> None:
    """Check that every strip or tile is there, since the library leaves missing ones black."""
    if int(page.planarconfig) not in _PLANAR or int(page.fillorder) not in _FILL_ORDERS:
        raise LocregError(f"{name} is damaged: it does not say how its samples are stored.")
    size = page.parent.filehandle.size
    chunks = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    complete = len(chunks) >= int(np.prod(page.chunked))
    if not complete or any(count == 0 or offset + count > size for offset, count in chunks):
        raise LocregError(f"{name} is damaged: a part of its pixels is missing.")
    if page.compression == 1 and sum(count for _, count in chunks) < page.nbytes:
        raise LocregError(f"{name} is damaged: a part of its pixels is missing.")


def _from_palette(page: TiffPage, values: NDArray[Any]) -> NDArray[Any]:
    """The colours that the samples stand for: 8 bits, or 16 if the palette needs them.

    Programs multiply 8 bits by 257, as they should, or by 256.
    """
    palette = np.asarray(page.colormap)
    if not (palette % 257).any() or not (palette % 256).any():
        palette = (palette // 256).astype(np.uint8)
    return np.moveaxis(palette[:, values[:, :, 0]], 0, -1)


def page_metadata(page: TiffPage, exif: bytes | None) -> Metadata:
    """What the tags of a page say.

    Args:
        page: the page.
        exif: what is kept as EXIF; None: all that it could hold is kept as tags.
    """
    tags = {tag.code: tag for tag in page.tags}
    own = OWN_TAGS if exif is not None else OWN_TAGS - {*SHARED_TAGS} | {DESCRIPTION}

    def stored(code: int) -> bytes | None:
        tag = tags.get(code)
        if tag is None:
            return None
        file = page.parent.filehandle
        file.seek(tag.valueoffset)
        return bytes(file.read(tag.count * TAG_SIZES.get(int(tag.dtype), 0)))

    description = (stored(DESCRIPTION) or b"").rstrip(b"\0").decode(errors="surrogateescape")
    orientation = tags[ORIENTATION].value if ORIENTATION in tags else 1
    unread = ["tags of unknown types"] if any(map(_is_unknown, page.tags)) else []
    if exif is None and (EXIF in tags or GPS in tags):
        unread.append("lens, exposure and place")
    further = [
        Tag(tag.code, int(tag.dtype), tag.count, stored(tag.code) or b"")
        for tag in page.tags
        if tag.code not in own and int(tag.dtype) in TAG_SIZES
    ]
    return Metadata(
        profile=stored(PROFILE),
        exif=exif,
        xmp=stored(XMP),
        iptc=stored(IPTC),
        photoshop=stored(PHOTOSHOP),
        orientation=orientation if orientation in range(1, 9) else 1,
        resolution=_resolution(page),
        description=description if is_caption(description) else None,
        tags=tuple(further),
        unread=tuple(unread),
        big_endian=page.parent.byteorder == ">",
    )


def _is_unknown(tag: TiffTag) -> bool:
    """Whether values of this type cannot be written."""
    return int(tag.dtype) not in TAG_SIZES and tag.code not in OWN_TAGS


def _resolution(page: TiffPage) -> Resolution | None:
    """Pixels per unit; None if the file gives no unit and no ratio either."""
    fractions = [page.tags.valueof(code) for code in (282, 283)]
    if any(f is None or f[0] == 0 or f[1] == 0 for f in fractions):
        return None
    horizontal, vertical = (f[0] / f[1] for f in fractions)
    unit = _UNITS.get(int(page.tags.valueof(296, default=2)), "none")
    if unit == "none" and horizontal == vertical == 1:
        return None
    return Resolution(horizontal, vertical, unit)
