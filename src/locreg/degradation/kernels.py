"""Blur kernels, by name or from files; this module does not import torch."""

from __future__ import annotations

import math
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError, UsageError
from locreg.images.image_file import read_channels

_FORMS = "gaussian:SIZE:STD, uniform:SIZE, FILE.npy or an image file"


def gaussian_kernel(size: int, std: float) -> NDArray[np.float32]:
    """A Gaussian of standard deviation ``std`` pixels, cut off to size x size, with sum 1."""
    line = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / std) ** 2)
    kernel: NDArray[np.float64] = np.outer(line, line)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def uniform_kernel(size: int) -> NDArray[np.float32]:
    """The kernel (size, size) that averages over size x size pixels."""
    return np.full((size, size), 1 / size**2, dtype=np.float32)


def antialiasing_kernel(factor: int, std: float) -> NDArray[np.float32]:
    """A Gaussian of standard deviation factor * std pixels, centred on a block of factor pixels.

    After a convolution with it, the value at every factor-th pixel describes the block that begins
    there, so a small image and its enlargement show the same scene at the same place. The Gaussian
    is centred (factor - 1) / 2 pixels off the kernel's middle.

    Raises:
        UsageError: when ``std``, in pixels of the small image, is not from 0.1 to 1.
    """
    if not 0.1 <= std <= 1:
        raise UsageError(f"antialiasing must be from 0.1 to 1 pixel, got {std:g}.")
    reach = math.ceil(4 * std * factor)
    offsets = np.arange(-reach, reach + 1) + (factor - 1) / 2
    line = np.exp(-0.5 * (offsets / (factor * std)) ** 2)
    kernel: NDArray[np.float32] = (np.outer(line, line) / line.sum() ** 2).astype(np.float32)
    return kernel


def read_kernel(text: str, *, normalize: bool = False) -> NDArray[np.float32]:
    """A kernel (h, w) from ``gaussian:7:3``, ``uniform:9``, a .npy file or a grey image file.

    Args:
        text: name and numbers of the kernel, or the path of its file.
        normalize: divide a kernel from a file by its sum.

    Raises:
        UsageError: when a named kernel has wrong numbers.
        LocregError: when the file cannot be read, or as `check_kernel`.
    """
    name, *numbers = text.split(":")
    if name in ("gaussian", "uniform") and not Path(text).exists():
        return _named(name, numbers, text)
    path = Path(text)
    if not path.is_file():
        raise LocregError(f"{text} is neither a file nor a kernel: give {_FORMS}.")
    kernel = _from_file(path)
    total = float(kernel.sum())
    if normalize and np.isfinite(total) and abs(total) > 1e-12:
        kernel = kernel / np.float32(total)
    check_kernel(kernel, text)
    return kernel


def check_kernel(kernel: NDArray[np.float32], name: str = "The kernel") -> None:
    """Check that the kernel is finite, odd-sized and sums to 1.

    Raises:
        LocregError: when it is not a finite matrix with odd sides, or does not sum to 1.
    """
    if kernel.ndim != 2:
        raise LocregError(f"{name} must be a matrix, got an array of shape {kernel.shape}.")
    if not np.isfinite(kernel).all():
        raise LocregError(f"{name} holds NaN or infinite values.")
    height, width = kernel.shape
    if height % 2 == 0 or width % 2 == 0:
        raise LocregError(
            f"{name} has {width}x{height} pixels, and an even side has no centre: add a row or a "
            "column of zeros on the side that the image should move away from."
        )
    total = float(kernel.sum(dtype=np.float64))
    if abs(total - 1) > 1e-3:
        raise LocregError(
            f"{name} sums to {total:.4g}, not to 1, which would change the brightness: divide it "
            "by its sum, or give --normalize-kernel."
        )


def _named(name: str, numbers: list[str], text: str) -> NDArray[np.float32]:
    try:
        size = int(numbers[0])
        std = float(numbers[1]) if name == "gaussian" else 1.0
        complete = len(numbers) == (2 if name == "gaussian" else 1)
    except (ValueError, IndexError):
        complete = False
    if not complete:
        raise UsageError(f"{text!r} is not a kernel: give {_FORMS}.")
    if size < 1 or size % 2 == 0:
        raise UsageError(f"The size of a kernel must be odd and positive, got {text!r}.")
    if not 0 < std < float("inf"):
        raise UsageError(f"The standard deviation of a kernel must be positive, got {text!r}.")
    return gaussian_kernel(size, std) if name == "gaussian" else uniform_kernel(size)


def _from_file(path: Path) -> NDArray[np.float32]:
    if path.suffix.lower() != ".npy":
        samples: NDArray[np.float32] = read_channels(path, 1)[0].astype(np.float32)
        return samples
    try:
        with path.open("rb") as file:
            kernel = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile):
        raise LocregError(f"{path} is not a complete .npy file of numbers.") from None
    if not isinstance(kernel, np.ndarray) or kernel.dtype.kind not in "fiu":
        raise LocregError(f"{path} must hold an array of real numbers.")
    return kernel.astype(np.float32)
