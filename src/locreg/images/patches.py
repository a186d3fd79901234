"""Random patches from many image files, and centre crops of a few.

Every batch depends on (seed, iteration) only, so nothing has to be saved to resume a training. A
folder of any size is read through a bounded pool of crops that slides over its files.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locreg.errors import LocregError
from locreg.images.archives import ImageSource
from locreg.images.image_file import read_channels, read_pixels
from locreg.images.samples import to_unit_range
from locreg.images.sources import shuffled

Pixels = TypeVar("Pixels", NDArray[Any], "Tensor")


def centre(pixels: Pixels, size: int) -> Pixels:
    """The middle of an array or tensor (..., H, W), at most size x size pixels, as a view."""
    top, left = (max(n - size, 0) // 2 for n in pixels.shape[-2:])
    return pixels[..., top : top + size, left : left + size]


log = logging.getLogger(__name__)

# Draws for different purposes use different streams of the same seed; `shuffled` uses stream 0.
_CROP, _BATCH = 1, 2


class PatchPool:
    """Random patches from a list of image files; at most ``capacity`` images are held at a time.

    The files are put into a random order. The pool is a window of that order, which moves on by one
    file every ``renewal`` iterations. Of a large image only a random crop is kept, drawn anew each
    time the image enters the window. A file that cannot be read, or is smaller than a patch, is
    left out; it is named once in the log, and `skipped` holds the reason.

    Args:
        files: image files, at least one.
        size: side of a patch, in pixels.
        channels: 1 (grey, BT.601 luma) or 3 (colour).
        seed: of the order, the crops and the patches.
        augment: whether patches are flipped and turned at random (8 orientations).
        white: pixel value that counts as 1; by default the largest that a file can hold.
        capacity: largest number of images that are held at a time.
        crop: side of the crops of large images, in pixels; at least ``size``.
        renewal: number of iterations after which the window moves on by one file.
    """

    def __init__(
        self,
        files: Sequence[ImageSource],
        *,
        size: int,
        channels: int,
        seed: int,
        augment: bool = True,
        white: float | None = None,
        capacity: int = 512,
        crop: int = 512,
        renewal: int = 10,
    ) -> None:
        if not files:
            raise LocregError("There are no images to take patches from.")
        self.size, self.channels, self.seed, self.augment = size, channels, seed, augment
        self.white, self.crop, self.renewal = white, max(crop, size), renewal
        self.skipped: dict[ImageSource, str] = {}
        self._order = shuffled(files, seed)
        self._capacity = min(capacity, len(files))
        self._slots: dict[int, NDArray[np.generic] | None] = {}
        self._first = -1

    def patches(self, count: int, iteration: int) -> NDArray[np.float32]:
        """``count`` patches (count, channels, size, size) in [0, 1] for this iteration.

        Raises:
            LocregError: when no file of the window can be used.
        """
        self._slide(iteration // self.renewal if self._capacity < len(self._order) else 0)
        images = [image for image in self._slots.values() if image is not None]
        if not images:
            raise LocregError(
                f"None of {len(self._slots)} images that were read can be used; the last problem "
                f"was: {list(self.skipped.values())[-1]}"
            )
        random = np.random.default_rng([_BATCH, self.seed, iteration])
        batch = [self._draw(images, random) for _ in range(count)]
        return np.stack([to_unit_range(patch, self.white) for patch in batch])

    def _draw(
        self, images: list[NDArray[np.generic]], random: np.random.Generator
    ) -> NDArray[np.generic]:
        image = images[random.integers(len(images))]
        top = random.integers(image.shape[1] - self.size + 1)
        left = random.integers(image.shape[2] - self.size + 1)
        patch = image[:, top : top + self.size, left : left + self.size]
        if self.augment:
            flip_rows, flip_columns, transpose = random.integers(2, size=3)
            patch = patch[:, :: 1 - 2 * flip_rows, :: 1 - 2 * flip_columns]
            patch = patch.transpose(0, 2, 1) if transpose else patch
        return patch

    def _slide(self, first: int) -> None:
        """Hold the files at positions first ... first + capacity - 1 of the endless order."""
        if first == self._first:
            return
        window = range(first, first + self._capacity)
        self._slots = {
            position: self._slots[position] if position in self._slots else self._load(position)
            for position in window
        }
        self._first = first

    def _load(self, position: int) -> NDArray[np.generic] | None:
        path = self._order[position % len(self._order)]
        if path in self.skipped:
            return None
        try:
            image = read_channels(path, self.channels, self.white)
            if min(image.shape[1:]) < self.size:
                raise LocregError(f"{path} is smaller than a patch of {self.size} pixels.")
        except LocregError as error:
            self.skipped[path] = str(error)
            log.warning("skipped: %s", error)
            return None
        random = np.random.default_rng([_CROP, self.seed, position])
        top, left = (int(random.integers(max(n - self.crop, 0) + 1)) for n in image.shape[1:])
        # A copy, since a view would keep all of a large image in memory.
        return image[:, top : top + self.crop, left : left + self.crop].copy()


def load_crops(
    files: Sequence[ImageSource], *, size: int, channels: int, white: float | None = None
) -> list[Tensor]:
    """Centre crops (1, channels, h, w) of image files in [0, 1], with h and w at most ``size``.

    A file that cannot be read is named in the log and left out. ``white`` is the pixel value that
    becomes 1; by default it is the largest that a file can hold.

    Raises:
        LocregError: when no file can be read.
    """
    crops = []
    for path in files:
        try:
            pixels = read_pixels(path, channels, white)
        except LocregError as error:
            log.warning("skipped: %s", error)
            continue
        crops.append(torch.from_numpy(centre(pixels, size).copy())[None])
    if not crops:
        raise LocregError(f"None of the {len(files)} images for measuring can be read.")
    return crops
