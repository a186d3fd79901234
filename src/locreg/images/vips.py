"""PNG, JPEG, WebP and further formats to samples and metadata, and back, by libvips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from locreg.errors import LocregError
from locreg.images.exif_part import without_resolution
from locreg.images.gif_blocks import SIGNATURE as GIF
from locreg.images.gif_blocks import lacks_pixels
from locreg.images.jpeg_segments import (
    further_segments,
    has_exact_density,
    jpeg_comment,
    jpeg_gives_density,
    photoshop_resources,
    with_comment,
    with_density_for_exif,
)
from locreg.images.metadata import (
    COMMENT,
    Metadata,
    Resolution,
    Unit,
    resolution_in_exif,
)
from locreg.images.photoshop import HEADER, MOST_IN_JPEG, iptc_in, with_iptc
from locreg.images.png_chunks import (
    Chunk,
    doubled_chunk,
    further_chunks,
    is_animated,
    kept_chunks,
    png_gives_density,
    text_chunk,
    texts_of,
    with_chunks,
    with_metadata_first,
)
from locreg.images.samples import Samples

SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".webp": {"lossless": True, "exact": True},
    ".jpg": {"Q": 95},
    ".jpeg": {"Q": 95},
}

_INTERPRETATIONS = ("b-w", "grey16", "rgb", "rgb16", "scrgb", "srgb")
_COLOURS = ("rgb", "rgb16", "scrgb", "srgb")
_PROFILE, _EXIF, _XMP = "icc-profile-data", "exif-data", "xmp-data"
_PHOTOSHOP = "iptc-data"  # as libvips calls the image resources of JPEG


def read_other(content: bytes, name: object) -> tuple[Samples, Metadata]:
    """Decode an image file that is no TIFF.

    Args:
        content: the file.
        name: of the file, for errors.

    Raises:
        LocregError: when it is damaged, no image, or an image of another kind than grey or RGB.
    """
    import pyvips

    content = with_metadata_first(content)
    image = _opened(content, name)
    try:
        values = np.asarray(image.numpy()).reshape(image.height, image.width, image.bands)
    except pyvips.Error as error:
        reason = _reason(error)
        known = "" if reason == "unable to write to memory" else f" ({reason})"
        raise LocregError(f"{name} is damaged: its pixels cannot be decoded{known}.") from None
    metadata = _metadata(image, content)
    if not (png_gives_density(content) or jpeg_gives_density(content)):
        metadata = replace(metadata, resolution=resolution_in_exif(metadata.exif))
    return Samples(values, _in_colour(image), _has_alpha(image)), metadata


def channels_of_other(content: bytes, name: object) -> int:
    """The number of channels of an image file without alpha; see `read_other`."""
    image = _opened(content, name)
    return 3 if _in_colour(image) else 1


def other_bytes(samples: Samples, metadata: Metadata, path: Path, quality: int | None) -> bytes:
    """An image file in the format of the path, whose suffix is one of `SAVE_OPTIONS`.

    Raises:
        LocregError: when the format cannot hold the image.
    """
    import pyvips

    suffix = path.suffix.lower()
    image = pyvips.Image.new_from_array(np.ascontiguousarray(samples.values))
    deep = samples.values.dtype == np.uint16
    if samples.colour:
        image = image.copy(interpretation="rgb16" if deep else "srgb")
    else:
        image = image.copy(interpretation="grey16" if deep else "b-w")
    resolution = metadata.resolution
    if resolution is not None and (density := resolution.per_millimetre):
        image = image.copy(xres=density[0], yres=density[1])
        unit = "in" if resolution.unit == "inch" else "cm"
        image.set_type(pyvips.GValue.gstr_type, "resolution-unit", unit)
    for field, blob in (
        (_PROFILE, metadata.profile),
        (_EXIF, metadata.exif),
        (_XMP, metadata.xmp),
        (_PHOTOSHOP, _photoshop(metadata)),
    ):
        if blob is not None:
            image.set_type(pyvips.GValue.blob_type, field, blob)
    image.set_type(pyvips.GValue.gint_type, "orientation", metadata.orientation)
    try:
        content = bytes(image.write_to_buffer(suffix, **_save_options(suffix, quality)))
    except pyvips.Error as error:
        raise LocregError(f"{path} cannot be written: {_reason(error)}.") from None
    # libvips invents a resolution, and EXIF that repeats it.
    no_resolution = resolution is None or resolution.per_millimetre is None
    no_exif = metadata.exif is None and metadata.orientation == 1
    if suffix == ".png":
        invented = (b"pHYs",) * no_resolution + (b"eXIf",) * no_exif
        content = with_chunks(content, _chunks(metadata), without=invented)
    if suffix in (".jpg", ".jpeg"):
        if no_exif and has_exact_density(None if no_resolution else resolution):
            content = with_density_for_exif(content, None if no_resolution else resolution)
        comment = (metadata.comment or "").encode(errors="surrogateescape")
        if 0 < len(comment) <= MOST_IN_JPEG:
            content = with_comment(content, comment)
    return without_resolution(content) if no_resolution else content


def _save_options(suffix: str, quality: int | None) -> dict[str, Any]:
    if quality is None or suffix == ".png":
        return SAVE_OPTIONS[suffix]
    return {"Q": quality, "exact": True} if suffix == ".webp" else {"Q": quality}


def _opened(content: bytes, name: object) -> Any:
    """The libvips image, decoded later. A warning while it decodes is an error."""
    import pyvips

    try:
        image = pyvips.Image.new_from_buffer(content, "", access="sequential", fail_on="warning")
    except pyvips.Error:
        raise LocregError(f"{name} is not an image that can be read.") from None
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if pages > 1 or is_animated(content):
        frames = f"{pages} frames or pages" if pages > 1 else "several frames"
        raise LocregError(
            f"{name} has {frames}: save each as a file of its own (in ImageJ: Save As, Image "
            "Sequence)."
        )
    if chunk := doubled_chunk(content):
        raise LocregError(f"{name} is damaged: it has two chunks {chunk}.")
    if content.startswith(GIF) and lacks_pixels(content):
        raise LocregError(
            f"{name} is damaged: its first frame does not fill the canvas, or ends too early."
        )
    if image.coding != "none" or image.interpretation not in _INTERPRETATIONS:
        raise LocregError(f"{name} is a {image.interpretation} image: convert it to RGB first.")
    if image.format not in ("uchar", "ushort", "float"):
        raise LocregError(
            f"{name} stores samples of type {image.format}; 8-bit, 16-bit and float images are "
            "supported."
        )
    if image.bands != (3 if _in_colour(image) else 1) + _has_alpha(image):
        raise LocregError(f"{name} has {image.bands} channels; grey, RGB and alpha are supported.")
    return image


def _in_colour(image: Any) -> bool:
    return image.interpretation in _COLOURS


def _has_alpha(image: Any) -> bool:
    return bool(image.hasalpha())


def _metadata(image: Any, content: bytes) -> Metadata:
    fields = set(image.get_fields())

    def blob(field: str) -> bytes | None:
        return bytes(image.get(field)) if field in fields else None

    inch = "resolution-unit" in fields and image.get("resolution-unit") == "in"
    unit: Unit = "inch" if inch else "centimetre"
    scale = 25.4 if inch else 10.0
    exif, resources, chunks = blob(_EXIF), photoshop_resources(content), kept_chunks(content)
    return Metadata(
        profile=blob(_PROFILE),
        exif=None if exif is None else exif.removeprefix(b"Exif\0\0"),
        xmp=blob(_XMP),
        iptc=None if resources is None else iptc_in(resources),
        photoshop=resources,
        orientation=image.get("orientation") if "orientation" in fields else 1,
        resolution=Resolution(scale * image.xres, scale * image.yres, unit),
        comment=jpeg_comment(content) or texts_of(chunks).get(COMMENT),
        chunks=chunks,
        unread=(*further_chunks(content), *further_segments(content)),
    )


def _chunks(metadata: Metadata) -> tuple[Chunk, ...]:
    """The chunks of PNG, with a comment that comes from JPEG."""
    if metadata.comment is None or COMMENT in texts_of(metadata.chunks):
        return metadata.chunks
    return *metadata.chunks, text_chunk(COMMENT, metadata.comment)


def _photoshop(metadata: Metadata) -> bytes | None:
    """The image resources as JPEG stores them; only IPTC if they are too long for it."""
    resources = with_iptc(metadata.photoshop or b"", metadata.iptc)
    if len(resources) > MOST_IN_JPEG:
        resources = with_iptc(b"", metadata.iptc)
    return HEADER + resources if resources else None


def _reason(error: Any) -> str:
    """The last line of what libvips says."""
    lines = [line for line in str(error.message).strip().splitlines() if line]
    return lines[-1] if lines else "unknown error"
