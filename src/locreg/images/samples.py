"""Samples as a file stores them, and pixels in [0, 1]; only this module converts between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.arguments import check_positive
from locreg.errors import LocregError

_ROWS = 256  # rows that are converted at a time: float64 needs much memory
_MOST_WHITES = 2.0  # of the brightest pixels over white, but for highlights
_HIGHLIGHTS = 0.05  # share of the pixels that may be brighter, such as the sun or a lamp
_HOT = 0.001  # share of the pixels that may be hot, and say nothing about white
_SAMPLED = 1_000_000  # pixels that a quantile is taken of, at most
_MOST_USED = 0.26  # share of the range: below it, two bits or more are unused

# Rec. ITU-R BT.601 luma, what most software means by the grey version of a photograph.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Samples:
    """The decoded samples of an image.

    Attributes:
        values: (H, W, C), uint8, uint16 or float32.
        colour: whether the first three channels are red, green and blue.
        alpha: whether the last channel is alpha.
    """

    values: NDArray[Any]
    colour: bool
    alpha: bool

    @property
    def opaque(self) -> NDArray[Any]:
        """(H, W, C) without alpha."""
        return self.values[:, :, :-1] if self.alpha else self.values

    @property
    def number(self) -> int:
        """The number of channels without alpha."""
        return int(self.values.shape[2]) - self.alpha


def largest(sample_type: Any) -> float:
    """The default value of white: the largest that an integer type can hold, and 1 for floats."""
    integer = np.issubdtype(sample_type, np.integer)
    return float(np.iinfo(sample_type).max) if integer else 1.0


def to_unit_range(samples: NDArray[Any], white: float | None = None) -> NDArray[np.float32]:
    """Samples of a file as float32, nominally in [0, 1], where 1 is white."""
    pixels = samples.astype(np.float32)
    pixels /= np.float32(white or largest(samples.dtype))  # in place, since images may be large
    return pixels


def from_unit_range(
    pixels: NDArray[np.float32], sample_type: str, white: float | None
) -> NDArray[Any]:
    """The samples that stand for pixels; integers are clipped and rounded."""
    samples = np.empty(pixels.shape, sample_type)
    for top in range(0, pixels.shape[1], _ROWS):
        rows = slice(top, top + _ROWS)
        # In float64, since float32 rounds scaled 16-bit samples too coarsely.
        scaled = pixels[:, rows].astype(np.float64) * (white or largest(sample_type))
        if sample_type != "float32":
            scaled = np.rint(scaled.clip(0, largest(sample_type)))
        samples[:, rows] = scaled
    return samples


def to_channels(samples: Samples, channels: int) -> NDArray[Any]:
    """Samples of a grey or RGB image as (channels, H, W) with 1 or 3 channels, without alpha.

    Colour becomes grey by BT.601 luma; grey becomes colour by repetition.
    """
    values = samples.opaque
    if channels == 1 and samples.colour:
        luma = values.astype(np.float32) @ _LUMA
        if np.issubdtype(values.dtype, np.integer):
            luma = np.rint(luma)
        values = luma.astype(values.dtype)[:, :, None]
    if channels == 3 and not samples.colour:
        values = np.repeat(values, 3, axis=2)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def check_values(
    samples: Samples,
    name: object,
    white: float | None,
    missing: NDArray[np.bool_] | None = None,
) -> None:
    """Check that samples are finite and fit to the value of white; alpha has its own scale.

    Args:
        samples: the samples.
        name: of their file, for errors.
        white: sample value that is 1 in the pixels; None: the largest, or 1 for floats.
        missing: (H, W), True where a pixel may have any value.

    Raises:
        UsageError: when white is not positive.
        LocregError: when they are not.
    """
    if white is not None:
        check_positive("white", white)
    everything, values = samples.values, samples.opaque
    integer = np.issubdtype(values.dtype, np.integer)
    if integer and white is None:
        return
    if missing is not None:
        everything, values = everything[~missing], values[~missing]
    if not np.isfinite(everything).all():
        way = (
            "replace them first, or fill them with `locreg inpaint`"
            if missing is None
            else "the mask must mark them too"
        )
        raise LocregError(f"{name} holds NaN or infinite pixels: {way}.")
    if integer and white is not None and white > largest(values.dtype):
        raise LocregError(f"{name} has no values above {largest(values.dtype):g}: lower --white.")
    white = white or largest(values.dtype)
    if np.abs(everything).max() > np.finfo(np.float32).max:
        raise LocregError(f"{name} holds values that float32 cannot hold: replace them first.")
    if brightest(np.abs(values), _HIGHLIGHTS) > _MOST_WHITES * white:
        raise LocregError(
            f"{name} holds values up to {np.abs(values).max():g}, where {white:g} is white: give "
            "--white, the value that stands for white."
        )


def brightest(values: NDArray[Any], share: float = _HOT) -> float:
    """The largest value, but for this share of the values."""
    step = max(values.size // _SAMPLED, 1)
    return float(np.quantile(values.ravel()[::step], 1 - share, method="higher"))


def hint_at_unused_range(most: float) -> str | None:
    """Advice if the brightest pixels are dark, as in 16-bit files of 12-bit cameras; else None."""
    if most > _MOST_USED:
        return None
    return (
        f"the brightest pixel has {most:.2g} of the largest value; if white has a lower "
        "value, as in 16-bit files of 12-bit cameras, give --white, such as 4095."
    )


def is_grey(pixels: NDArray[np.float32]) -> bool:
    """Whether an image (C, H, W) is grey, which may be stored as three equal channels."""
    return bool((pixels == pixels[0]).all())
