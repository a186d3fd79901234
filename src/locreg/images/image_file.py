"""Image files to pixels and back.

A restoration keeps a file's bit depth, channels, colour profile, EXIF and alpha: `read_image`
splits a file into pixels in [0, 1] and everything else, and `write_image` puts the two together
again. TIFF is read and written by `read_tiff` and `write_tiff`, other formats by `vips`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.images.archives import ImageSource
from locreg.images.files import write_atomically
from locreg.images.mask import Mask
from locreg.images.metadata import Metadata
from locreg.images.read_tiff import MAGIC, TiffForm, channels_of_tiff, read_tiff
from locreg.images.samples import (
    Samples,
    check_values,
    from_unit_range,
    to_channels,
    to_unit_range,
)
from locreg.images.vips import SAVE_OPTIONS, channels_of_other, other_bytes, read_other
from locreg.images.write_tiff import tiff_bytes, tiff_form

_TIFF = (".tif", ".tiff")
WRITABLE = tuple(sorted([*SAVE_OPTIONS, *_TIFF]))
_MOST = 2.0  # of the value of a missing pixel that may be looked at in a report
_LARGEST_SIDES = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500}  # width and height, in pixels


@dataclass(frozen=True)
class ImageFile:
    """The content of an image file.

    Attributes:
        pixels: (C, H, W), float32, nominally in [0, 1].
        alpha: (1, H, W) samples as stored, or None.
        sample_type: ``uint8``, ``uint16`` or ``float32``.
        metadata: colour profile, EXIF, resolution and the like.
        white: sample value that is 1 in the pixels; None: the largest that the type can hold, or 1
            for floats.
        form: how a TIFF file means its samples; None for other formats.
        missing: (H, W), True where a pixel is missing and its value means nothing; None: nowhere.
        notes: what could not be kept as it is, as sentences for the user.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[Any] | None
    sample_type: str
    metadata: Metadata = field(default_factory=Metadata)
    white: float | None = None
    form: TiffForm | None = None
    missing: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()

    @property
    def colour(self) -> bool:
        """Whether the channels are red, green and blue, and not measurements of their own."""
        return len(self.pixels) == 3 and (self.form is None or self.form.in_colour)

    @property
    def hidden(self) -> NDArray[np.bool_] | None:
        """(H, W), True where the image is transparent; None if it is so nowhere or everywhere."""
        return None if self.alpha is None else _hidden_by(self.alpha[0])

    @property
    def known(self) -> NDArray[np.bool_] | None:
        """(H, W), True where a pixel is neither missing nor hidden; None: everywhere."""
        parts = [part for part in (self.missing, self.hidden) if part is not None]
        return ~np.logical_or.reduce(parts) if parts else None

    @property
    def orientation(self) -> int:
        """The EXIF code of how viewers turn and flip the pixels; 1: not at all."""
        return self.metadata.orientation

    def enlarged(self, factor: int) -> ImageFile:
        """A source for writing pixels ``factor`` times as wide and high: these are not enlarged.

        Alpha is interpolated, so that its edges are as smooth as those of the colours.
        """
        if factor == 1:
            return self
        alpha = self.alpha
        if alpha is not None:
            from scipy.ndimage import zoom  # it takes a third of a second to load

            large = zoom(
                alpha.astype(float), (1, factor, factor), order=1, mode="nearest", grid_mode=True
            )
            alpha = (large if alpha.dtype.kind == "f" else np.rint(large)).astype(alpha.dtype)
        return replace(self, alpha=alpha, metadata=self.metadata.enlarged(factor))


def read_image(path: Path, white: float | None = None, mask: Mask | None = None) -> ImageFile:
    """Read a file with all that `write_image` needs to write it back.

    Args:
        path: the image file.
        white: sample value that becomes 1; by default the largest that the type can hold, or 1 for
            floats.
        mask: marks missing pixels, which may have any value.

    Raises:
        UsageError, LocregError: as `read_samples`, or when the mask does not fit.
    """
    return image_of(*_decoded(path), path, white, mask)


def image_of(
    samples: Samples,
    metadata: Metadata,
    form: TiffForm | None,
    name: object,
    white: float | None,
    mask: Mask | None,
) -> ImageFile:
    """An image from what was decoded; see `read_image`."""
    height, width, _ = samples.values.shape
    size = (height, width)
    missing = None if mask is None else mask.of_image(size, metadata.orientation, name)
    check_values(samples, name, white, _meaningless(samples, missing, name))
    notes = []
    if samples.values.dtype.name in ("float16", "float64"):
        notes.append(f"{samples.values.dtype} samples are written as float32.")
        metadata = metadata.in_single_precision()
    single = _in_single_precision(samples)
    alpha = single.values[:, :, -1:].transpose(2, 0, 1) if single.alpha else None
    pixels = to_unit_range(np.ascontiguousarray(single.opaque.transpose(2, 0, 1)), white)
    sample_type = single.values.dtype.name
    if missing is not None:
        usable = (np.abs(pixels) <= _MOST).all(0)  # no NaN, no value that stands for no data
        pixels[:, missing & ~usable] = 0
    return ImageFile(pixels, alpha, sample_type, metadata, white, form, missing, tuple(notes))


def _hidden_by(alpha: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where alpha (H, W) is 0; None if it is so nowhere or everywhere."""
    hidden: NDArray[np.bool_] = alpha == 0
    return hidden if hidden.any() and not hidden.all() else None


def _meaningless(
    samples: Samples, missing: NDArray[np.bool_] | None, name: object
) -> NDArray[np.bool_] | None:
    """Where values may be anything: what is missing, and in floats what is transparent.

    Raises:
        LocregError: when that is everywhere.
    """
    hidden = _hidden_by(samples.values[:, :, -1]) if samples.alpha else None
    if hidden is not None:
        missing = hidden if missing is None else missing | hidden
    if missing is not None and missing.all():
        raise LocregError(f"{name}: the mask marks every pixel that can be seen as missing.")
    return missing


def write_image(
    path: Path,
    pixels: NDArray[np.float32],
    source: ImageFile | None = None,
    *,
    quality: int | None = None,
) -> None:
    """Write pixels (C, H, W) in [0, 1] atomically, in the format of the file name.

    Integer samples are clipped and rounded; float samples are written unchanged. Bit depth, white,
    alpha and metadata come from ``source``; without it the file has 8 bits per sample. The quality
    is that of JPEG and WebP, from 1 to 100; by default 95, and WebP without loss.

    Raises:
        LocregError: when the format cannot hold the image, or the file cannot be written.
    """
    check_writable(path, source)
    source = source or ImageFile(pixels, None, "uint8")
    samples = samples_of(pixels, source)
    suffix = path.suffix.lower()
    if suffix in _TIFF:
        form = source.form or tiff_form(len(pixels), samples.colour, samples.alpha)
        content = tiff_bytes(samples.values, form, source.metadata)
    else:
        content = other_bytes(samples, source.metadata, path, quality)
    write_atomically(path, content)


def samples_of(pixels: NDArray[np.float32], source: ImageFile) -> Samples:
    """The samples that stand for pixels (C, H, W), with depth, white and alpha of the source."""
    values = from_unit_range(pixels, source.sample_type, source.white)
    alpha = source.alpha is not None
    if source.alpha is not None:
        values = np.concatenate([values, source.alpha])
    return Samples(np.ascontiguousarray(values.transpose(1, 2, 0)), source.colour, alpha)


def check_writable(path: Path, source: ImageFile | None = None, factor: int = 1) -> None:
    """Check, before any work is done, that an image can be written to this path without loss.

    Args:
        path: the file to write.
        source: an image with the bit depth and channels of the one that will be written; None: 8
            bits, grey or RGB.
        factor: how many times as wide and high as ``source`` that one will be.

    Raises:
        LocregError: when the suffix is not a writable format, the format cannot hold the depth,
            channels or size, the path is a folder, or its parent folder does not exist.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise LocregError(
            f"{path} has no format that can be written ({' '.join(WRITABLE)})"
            + ("." if suffix else "; to write into a folder, make it first.")
        )
    if path.is_dir():
        raise LocregError(f"{path} is a folder: give the name of a file in it.")
    if not path.parent.is_dir():
        raise LocregError(f"{path.parent} does not exist: make this folder first.")
    if source is None or suffix in _TIFF:
        return
    if source.sample_type == "float32":
        raise LocregError(f"{path} cannot hold float samples: write a .tif file.")
    if source.sample_type == "uint16" and suffix != ".png":
        raise LocregError(f"{path} cannot hold 16-bit samples: write a .tif or .png file.")
    if len(source.pixels) != (3 if source.colour else 1):
        raise LocregError(
            f"{path} cannot hold {len(source.pixels)} measured channels: write a .tif file."
        )
    if source.alpha is not None and suffix in (".jpg", ".jpeg"):
        raise LocregError(f"{path} cannot hold the image's alpha channel: write a .png file.")
    side, largest = factor * max(source.pixels.shape[1:]), _LARGEST_SIDES.get(suffix)
    if largest is not None and side > largest:
        raise LocregError(
            f"{path} cannot hold {side} pixels in a row, but at most {largest}: write a .png "
            "or .tif file."
        )


def read_mask(path: Path) -> Mask:
    """The mask in an image file: missing is what is white.

    That is above half of the largest value of its samples, or the larger one if there are only two
    values, such as 0 and 1. What is transparent is not white.

    Raises:
        LocregError: as `read_samples`, or when all pixels are white, or none is.
    """
    samples, metadata, _ = _checked(path)
    level = to_unit_range(_to_channels(samples, 1, path))[0]
    if samples.alpha:
        level = level * to_unit_range(samples.values[:, :, -1])
    values = np.unique(level)
    white: NDArray[np.bool_] = level > (values.mean() if len(values) == 2 else 0.5)
    if white.all():
        raise LocregError(
            f"{path} is white all over, which marks every pixel as missing: white marks what to "
            "fill, black what to keep."
        )
    if not white.any():
        raise LocregError(f"{path} is black all over: white marks the pixels to fill.")
    return Mask(white, metadata.orientation)


def read_samples(path: ImageSource, white: float | None = None) -> NDArray[Any]:
    """Samples (H, W, C) of an image file exactly as stored, with alpha.

    Raises:
        UsageError: when white is not positive.
        LocregError: when the file is missing, damaged or not an image, has several frames or an
            unsupported kind of samples, or holds values that are not finite or far above white.
    """
    return _checked(path, white)[0].values


def read_channels(path: ImageSource, channels: int, white: float | None = None) -> NDArray[Any]:
    """Samples (channels, H, W) of an image file as stored, converted by `to_channels`.

    Raises:
        UsageError, LocregError: as `read_samples`, or when the channels are no colours.
    """
    return _to_channels(_in_single_precision(_checked(path, white)[0]), channels, path)


def read_pixels(
    path: ImageSource, channels: int, white: float | None = None
) -> NDArray[np.float32]:
    """Pixels (channels, H, W) of an image file, nominally in [0, 1], converted by `to_channels`.

    Raises:
        UsageError, LocregError: as `read_channels`.
    """
    return to_unit_range(read_channels(path, channels, white), white)


def number_of_channels(path: ImageSource) -> int:
    """The number of channels of an image file, without alpha; most files are not decoded for it.

    Raises:
        LocregError: when the file is missing or no image.
    """
    content = _content(path)
    if content.startswith(MAGIC):
        return channels_of_tiff(content, path)
    return channels_of_other(content, path)


def _checked(
    path: ImageSource, white: float | None = None
) -> tuple[Samples, Metadata, TiffForm | None]:
    decoded = _decoded(path)
    check_values(decoded[0], path, white)
    return decoded


def _decoded(path: ImageSource) -> tuple[Samples, Metadata, TiffForm | None]:
    content = _content(path)
    if content.startswith(MAGIC):
        return read_tiff(content, path)
    return *read_other(content, path), None


def _content(path: ImageSource) -> bytes:
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
    return content


def _in_single_precision(samples: Samples) -> Samples:
    if samples.values.dtype.kind != "f":
        return samples
    with np.errstate(over="ignore"):  # only of missing pixels
        return replace(samples, values=samples.values.astype(np.float32, copy=False))


def _to_channels(samples: Samples, channels: int, path: ImageSource) -> NDArray[Any]:
    if samples.number != (3 if samples.colour else 1):
        raise LocregError(
            f"{path} has {samples.number} channels that are no colours; here only grey and RGB "
            "images can be used."
        )
    return to_channels(samples, channels)
