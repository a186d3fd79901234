"""Samples and metadata to TIFF files."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from locreg.images.metadata import LARGEST_TIFF, Metadata, parts_of_exif, shared_tags
from locreg.images.read_tiff import DESCRIPTION, IPTC, ORIENTATION, PHOTOSHOP, XMP, TiffForm

if TYPE_CHECKING:
    from tifffile import TiffWriter

_BYTE, _ASCII, _SHORT, _LONG, _UNDEFINED = 1, 2, 3, 4, 7  # types of tags
_UNITS = {"none": 1, "inch": 2, "centimetre": 3}
_INVERTED, _GREY, _RGB = 0, 1, 2
_UNASSOCIATED = 2


def tiff_form(channels: int, colour: bool, alpha: bool) -> TiffForm:
    """The form of a new file with so many channels, without counting alpha."""
    measured = channels - (3 if colour else 1)
    return TiffForm(_RGB if colour else _GREY, (0,) * measured + (_UNASSOCIATED,) * alpha)


def tiff_bytes(values: NDArray[Any], form: TiffForm, metadata: Metadata) -> bytes:
    """A TIFF file with samples (H, W, C).

    Args:
        values: the samples.
        form: how they are meant. Inverted samples are inverted here.
        metadata: what else the file says.
    """
    file = io.BytesIO()
    with tiff_writer(file, metadata, values.nbytes) as writer:
        write_page(writer, values, form, metadata)
    return _with_exif(file.getvalue(), metadata)


def tiff_writer(file: io.BytesIO | Path, metadata: Metadata, size: int) -> TiffWriter:
    """A writer of `tifffile` in the order of bytes of the metadata, for ``size`` bytes."""
    import tifffile

    return tifffile.TiffWriter(
        file, byteorder=">" if metadata.big_endian else "<", bigtiff=size > LARGEST_TIFF
    )


def write_page(
    writer: TiffWriter, values: NDArray[Any], form: TiffForm, metadata: Metadata
) -> None:
    """Write a page; see `tiff_bytes`. Only the first parts of EXIF are written, as tags."""
    if form.photometric == _INVERTED:
        values = np.iinfo(values.dtype).max - values
    shared = shared_tags(metadata.exif) if metadata.exif else {}
    resolution = metadata.resolution
    tags: list[tuple[int, int, int, Any, bool]] = [
        (tag.code, tag.kind, tag.count, tag.value, True) for tag in metadata.tags
    ]
    texts = [(code, _stored(text)) for code, text in shared.items() if code != DESCRIPTION]
    tags += [(code, _ASCII, len(text), text, True) for code, text in texts if text]
    for code, kind, content in (
        (XMP, _BYTE, metadata.xmp),
        (IPTC, _UNDEFINED, metadata.iptc),
        (PHOTOSHOP, _BYTE, metadata.photoshop),
    ):
        if content is not None:
            tags.append((code, kind, len(content), content, True))
    if metadata.orientation != 1:
        tags.append((ORIENTATION, _SHORT, 1, metadata.orientation, True))
    writer.write(
        values if values.shape[2] > 1 else values[:, :, 0],
        photometric=form.photometric,
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=form.extra or None,
        compression="zlib",
        predictor=values.dtype.kind == "u",
        description=_stored(metadata.description or shared.get(DESCRIPTION)),
        metadata=None,
        software=False,
        resolution=None if resolution is None else (resolution.horizontal, resolution.vertical),
        resolutionunit=None if resolution is None else _UNITS[resolution.unit],
        iccprofile=metadata.profile,
        extratags=tags,
    )


def _stored(text: str | None) -> bytes | None:
    """A text with the 0 that ends it in a TIFF file."""
    return text.encode(errors="surrogateescape") + b"\0" if text else None


def _with_exif(file: bytes, metadata: Metadata) -> bytes:
    """The file with the further parts of EXIF at its end, and tags that point to them.

    The library writes no tags that point to tags, so the first directory is written anew.
    """
    if metadata.exif is None or file[2:4] in (b"+\0", b"\0+"):
        return file
    order = ">" if metadata.big_endian else "<"
    file += b"\0" * (len(file) % 2)
    parts = parts_of_exif(metadata.exif, metadata.big_endian, len(file))
    if not parts:
        return file
    entries = _entries(file, order)
    for pointer, part in parts.items():
        entries.append(struct.pack(order + "HHII", pointer, _LONG, 1, len(file)))
        file += part + b"\0" * (len(part) % 2)
    entries.sort(key=lambda entry: struct.unpack(order + "H", entry[:2]))
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return file[:4] + struct.pack(order + "I", len(file)) + file[8:] + directory


def _entries(file: bytes, order: str) -> list[bytes]:
    """The entries of the first directory of a TIFF file."""
    (start,) = struct.unpack_from(order + "I", file, 4)
    (number,) = struct.unpack_from(order + "H", file, start)
    return [file[start + 2 + 12 * k : start + 14 + 12 * k] for k in range(number)]
