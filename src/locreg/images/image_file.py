"""Image files to arrays and back; only this module converts samples of 8 and 16 bits to [0, 1].

A restoration keeps a file's bit depth, colour profile, EXIF and alpha: `read_image` splits a file
into pixels in [0, 1] and everything else, and `write_image` puts the two together again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.arguments import check_positive
from locreg.errors import LocregError
from locreg.images.archives import ImageSource
from locreg.images.files import write_atomically

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".tif": {"compression": "deflate"},
    ".tiff": {"compression": "deflate"},
    ".webp": {"lossless": True, "exact": True},
    ".jpg": {"Q": 95},
    ".jpeg": {"Q": 95},
}

WRITABLE = tuple(sorted(_SAVE_OPTIONS))
_LARGEST_SIDES = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500}  # width and height, in pixels
_ROWS = 256  # rows that are converted at a time: float64 needs much memory
_SAMPLE_TYPES = ("uint8", "uint16", "float32")

_METADATA = (
    *("icc-", "exif-", "xmp-", "iptc-"),
    *("image-description", "orientation", "resolution-unit"),
)

_INTERPRETATIONS = ("b-w", "grey16", "multiband", "rgb", "rgb16", "scrgb", "srgb")
_MOST_WHITES = 10.0  # largest pixel over white: room for stars, but not for a wrong unit
_MOST_USED = 0.26  # share of the range: below it, two bits or more are unused

# Rec. ITU-R BT.601 luma, what most software means by the grey version of a photograph.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class ImageFile:
    """The content of an image file.

    Attributes:
        pixels: (C, H, W), float32, nominally in [0, 1]; C is 1 for grey and 3 for colour.
        alpha: (1, H, W) samples as stored, or None.
        sample_type: ``uint8``, ``uint16`` or ``float32``.
        metadata: colour profile, EXIF and the like, under their names in libvips.
        resolution: horizontal and vertical, in pixels per millimetre.
        white: sample value that is 1 in the pixels; None: the largest that the type can hold, or 1
            for floats.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[Any] | None
    sample_type: str
    metadata: dict[str, tuple[int, Any]]
    resolution: tuple[float, float] = (1.0, 1.0)
    white: float | None = None

    @property
    def orientation(self) -> int:
        """The EXIF code of how viewers turn and flip the pixels; 1: not at all."""
        return int(self.metadata.get("orientation", (0, 1))[1])

    def enlarged(self, factor: int) -> ImageFile:
        """A source for writing pixels ``factor`` times as wide and high: only alpha is enlarged."""
        if factor == 1 or self.alpha is None:
            return self
        alpha = self.alpha.repeat(factor, axis=1).repeat(factor, axis=2)
        return replace(self, alpha=alpha)


def read_image(path: Path, white: float | None = None) -> ImageFile:
    """Read a file with all that `write_image` needs to write it back.

    Args:
        path: the image file.
        white: sample value that becomes 1; by default the largest that the type can hold, or 1 for
            floats.

    Raises:
        UsageError, LocregError: as `read_samples`.
    """
    image = open_image(path)
    samples = _samples(image, path, white)
    bands = samples.shape[2]
    alpha = samples[:, :, -1:].transpose(2, 0, 1) if bands in (2, 4) else None
    metadata = {
        name: (image.get_typeof(name), image.get(name))
        for name in image.get_fields()
        if name.startswith(_METADATA)
    }
    pixels = to_unit_range(to_channels(samples, 1 if bands < 3 else 3), white)
    resolution = (image.xres, image.yres)
    return ImageFile(pixels, alpha, samples.dtype.name, metadata, resolution, white)


def write_image(path: Path, pixels: NDArray[np.float32], source: ImageFile | None = None) -> None:
    """Write pixels (C, H, W) in [0, 1] atomically, in the format of the file name.

    Integer samples are clipped and rounded; float samples are written unchanged. Bit depth, white,
    alpha and metadata come from ``source``; without it the file has 8 bits per sample.

    Raises:
        LocregError: when the format cannot hold the image, or the file cannot be written.
    """
    import pyvips

    check_writable(path, source)
    suffix = path.suffix.lower()
    sample_type = source.sample_type if source else "uint8"
    samples = _from_unit_range(pixels, sample_type, source.white if source else None)
    if source is not None and source.alpha is not None:
        samples = np.concatenate([samples, source.alpha])
    image = pyvips.Image.new_from_array(np.ascontiguousarray(samples.transpose(1, 2, 0)))
    grey = len(pixels) == 1
    interpretations = {"uint8": ("srgb", "b-w"), "uint16": ("rgb16", "grey16")}
    if sample_type in interpretations:
        image = image.copy(interpretation=interpretations[sample_type][grey])
    if source is not None:
        image = image.copy(xres=source.resolution[0], yres=source.resolution[1])
    for name, (kind, value) in (source.metadata if source else {}).items():
        image.set_type(kind, name, value)
    try:
        content = image.write_to_buffer(suffix, **_SAVE_OPTIONS[suffix])
    except pyvips.Error as error:
        raise LocregError(f"{path} cannot be written: {error.message}.") from None
    write_atomically(path, content)


def check_writable(path: Path, source: ImageFile | None = None, factor: int = 1) -> None:
    """Check, before any work is done, that an image can be written to this path without loss.

    Args:
        path: the file to write.
        source: an image with the bit depth and alpha of the one that will be written; None: 8 bits.
        factor: how many times as wide and high as ``source`` that one will be.

    Raises:
        LocregError: when the suffix is not a writable format, the format cannot hold the depth,
            alpha or size, the path is a folder, or its parent folder does not exist.
    """
    suffix = path.suffix.lower()
    if suffix not in _SAVE_OPTIONS:
        raise LocregError(
            f"{path} has no format that can be written ({' '.join(WRITABLE)})"
            + ("." if suffix else "; to write into a folder, make it first.")
        )
    if path.is_dir():
        raise LocregError(f"{path} is a folder: give the name of a file in it.")
    if not path.parent.is_dir():
        raise LocregError(f"{path.parent} does not exist: make this folder first.")
    if source is None:
        return
    if source.sample_type == "float32" and suffix not in (".tif", ".tiff"):
        raise LocregError(f"{path} cannot hold float samples: write a .tif file.")
    if source.sample_type == "uint16" and suffix not in (".png", ".tif", ".tiff"):
        raise LocregError(f"{path} cannot hold 16-bit samples: write a .tif or .png file.")
    if source.alpha is not None and suffix in (".jpg", ".jpeg"):
        raise LocregError(f"{path} cannot hold the image's alpha channel: write a .png file.")
    side, largest = factor * max(source.pixels.shape[1:]), _LARGEST_SIDES.get(suffix)
    if largest is not None and side > largest:
        raise LocregError(
            f"{path} cannot hold {side} pixels in a row, but at most {largest}: write a .png "
            "or .tif file."
        )


def read_mask(path: Path) -> tuple[NDArray[np.bool_], int]:
    """Where an image file is white, above half of its largest value: (H, W) as stored.

    Returns the mask and the file's orientation.

    Raises:
        LocregError: as `read_samples`, or when all pixels are white, or none is.
    """
    image = read_image(path)
    white: NDArray[np.bool_] = to_channels(image.pixels.transpose(1, 2, 0), 1)[0] > 0.5
    if white.all():
        raise LocregError(
            f"{path} is white all over, which marks every pixel as missing: white marks what to "
            "fill, black what to keep."
        )
    if not white.any():
        raise LocregError(f"{path} is black all over: white marks the pixels to fill.")
    return white, image.orientation


def to_unit_range(samples: NDArray[Any], white: float | None = None) -> NDArray[np.float32]:
    """Samples of a file as float32, nominally in [0, 1], where 1 is white."""
    return samples.astype(np.float32) / np.float32(white or _largest(samples.dtype))


def _largest(sample_type: Any) -> float:
    """The default value of white: the largest that an integer type can hold, and 1 for floats."""
    integer = np.issubdtype(sample_type, np.integer)
    return float(np.iinfo(sample_type).max) if integer else 1.0


def hint_at_unused_range(brightest: float) -> str | None:
    """Advice if the brightest pixel is dark, as in 16-bit files of 12-bit cameras; else None."""
    if brightest > _MOST_USED:
        return None
    return (
        f"the brightest pixel has {brightest:.2g} of the largest value; if white has a lower "
        "value, as in 16-bit files of 12-bit cameras, give --white, such as 4095."
    )


def _from_unit_range(
    pixels: NDArray[np.float32], sample_type: str, white: float | None
) -> NDArray[Any]:
    samples = np.empty(pixels.shape, sample_type)
    for top in range(0, pixels.shape[1], _ROWS):
        rows = slice(top, top + _ROWS)
        # In float64, since float32 rounds scaled 16-bit samples too coarsely.
        scaled = pixels[:, rows].astype(np.float64) * (white or _largest(sample_type))
        if sample_type != "float32":
            scaled = np.rint(scaled.clip(0, _largest(sample_type)))
        samples[:, rows] = scaled
    return samples


def _without_alpha(samples: NDArray[Any]) -> NDArray[Any]:
    """Samples (H, W, C), C from 1 to 4, without their alpha channel: C becomes 1 or 3."""
    return samples[:, :, :-1] if samples.shape[2] in (2, 4) else samples


def to_channels(samples: NDArray[Any], channels: int) -> NDArray[Any]:
    """Samples (H, W, C), C from 1 to 4, as (channels, H, W) with 1 or 3 channels.

    Alpha is dropped. Colour becomes grey by BT.601 luma; grey becomes colour by repetition.
    """
    colour = _without_alpha(samples)
    if channels == 1 and colour.shape[2] == 3:
        luma = colour.astype(np.float32) @ _LUMA
        if np.issubdtype(samples.dtype, np.integer):
            luma = np.rint(luma)
        colour = luma.astype(samples.dtype)[:, :, None]
    if channels == 3 and colour.shape[2] == 1:
        colour = np.repeat(colour, 3, axis=2)
    return np.ascontiguousarray(colour.transpose(2, 0, 1))


def read_samples(path: ImageSource, white: float | None = None) -> NDArray[Any]:
    """Samples (H, W, C) of an image file exactly as stored: uint8, uint16 or float32.

    Raises:
        UsageError: when white is not positive.
        LocregError: when the file is missing, damaged or not an image, has several frames or an
            unsupported kind of samples, or holds values that are not finite or far above white.
    """
    return _samples(open_image(path), path, white)


def read_pixels(
    path: ImageSource, channels: int, white: float | None = None
) -> NDArray[np.float32]:
    """Pixels (channels, H, W) of an image file, nominally in [0, 1], converted by `to_channels`.

    Raises:
        UsageError, LocregError: as `read_samples`.
    """
    return to_unit_range(to_channels(read_samples(path, white), channels), white)


def open_image(path: ImageSource) -> Any:
    """The libvips image of a file; its pixels are decoded later.

    Raises:
        LocregError: when the file is missing, empty, not readable or not an image.
    """
    import pyvips

    if isinstance(path, Path):
        if path.is_dir():
            raise LocregError(f"{path} is a folder: give an image.")
        if not path.exists():
            raise LocregError(f"{path} does not exist.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LocregError(f"{path} cannot be read: {error.strerror}.") from None
    if not content:
        raise LocregError(f"{path} is empty (0 bytes).")
    try:
        return pyvips.Image.new_from_buffer(content, "", access="sequential", fail_on="truncated")
    except pyvips.Error:
        raise LocregError(f"{path} is not an image that can be read.") from None


def check_kind(image: Any, path: ImageSource) -> None:
    """Check that a libvips image is grey or RGB, with or without alpha, and has a single frame.

    Raises:
        LocregError: when it is not.
    """
    if "n-pages" in image.get_fields() and image.get("n-pages") > 1:
        raise LocregError(
            f"{path} has {image.get('n-pages')} frames or pages: save each as a file of its own "
            "(in ImageJ: Save As, Image Sequence)."
        )
    if image.coding != "none" or image.interpretation not in _INTERPRETATIONS:
        raise LocregError(f"{path} is a {image.interpretation} image: convert it to RGB first.")
    if image.bands > 4:
        raise LocregError(f"{path} has {image.bands} channels; grey, RGB and alpha are supported.")


def _samples(image: Any, path: ImageSource, white: float | None = None) -> NDArray[Any]:
    import pyvips

    if white is not None:
        check_positive("white", white)
    check_kind(image, path)
    try:
        samples = np.asarray(image.numpy()).reshape(image.height, image.width, image.bands)
    except pyvips.Error:
        raise LocregError(f"{path} is damaged: its pixels cannot be decoded.") from None
    if samples.dtype == np.float64:
        samples = samples.astype(np.float32)
    if samples.dtype.name not in _SAMPLE_TYPES:
        raise LocregError(
            f"{path} stores {samples.dtype} samples; 8-bit, 16-bit and float images are supported."
        )
    if samples.dtype == np.float32 or white is not None:  # other samples are in range
        _check_values(samples, path, white)
    return samples


def _check_values(samples: NDArray[Any], path: ImageSource, white: float | None) -> None:
    if not np.isfinite(samples).all():
        raise LocregError(f"{path} holds NaN or infinite pixels: replace them first.")
    if samples.dtype != np.float32 and white is not None and white > _largest(samples.dtype):
        raise LocregError(f"{path} has no values above {_largest(samples.dtype):g}: lower --white.")
    # Alpha has its own scale.
    largest, white = float(np.abs(_without_alpha(samples)).max()), white or _largest(samples.dtype)
    if largest > _MOST_WHITES * white:
        raise LocregError(
            f"{path} holds values up to {largest:g}, where {white:g} is white: give --white, the "
            "value that stands for white."
        )


def is_grey(pixels: NDArray[np.float32]) -> bool:
    """Whether an image (C, H, W) is grey, which may be stored as three equal channels."""
    return bool((pixels == pixels[0]).all())
