"""Unpaired patches from folders and tar files of photographs, and degradations made on the fly.

Every batch is a function of (seed, iteration) alone: nothing has to be saved to resume a training,
and a folder of any size is read through a bounded pool of crops that slides over its files.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.images import (
    ImageSource,
    list_sources,
    read_samples,
    to_channels,
    to_unit_range,
)
from locreg.options import NoiseRange

log = logging.getLogger(__name__)

# Draws of different purposes come from different streams of the same seed.
_ORDER, _CROP, _BATCH = range(3)


def add_noise_in_range(
    patches: NDArray[np.float32], noise: NoiseRange, random: np.random.Generator
) -> NDArray[np.float32]:
    """Patches (B, C, h, w) plus white Gaussian noise, one level drawn per patch, not clipped."""
    levels = random.uniform(noise.low, noise.high, (len(patches), 1, 1, 1)).astype(np.float32)
    return patches + levels * random.standard_normal(patches.shape, dtype=np.float32)


class PatchPool:
    """Random patches from a list of image files, of which at most ``capacity`` are held at a time.

    The files are put into a random order; the pool is a window of that order which moves one file
    further every ``renewal`` iterations. Of an image larger than ``crop`` pixels, or than a patch
    if that is larger, a random crop is kept, drawn anew each time the image enters. A file that
    cannot be read, or that is smaller than a patch, is named once in the log, counted in `skipped`,
    and left out.

    Args:
        files: the image files.
        size: side of a patch, in pixels.
        channels: 1 (grey, BT.601 luma) or 3 (colour).
        seed: of the order, the crops and the patches.
        augment: whether a patch is flipped and turned at random (8 orientations).
        white: pixel value that counts as 1; by default the largest that a file can hold.
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
        self.size, self.channels, self.seed, self.augment = size, channels, seed, augment
        self.white, self.crop, self.renewal = white, max(crop, size), renewal
        self.skipped: dict[ImageSource, str] = {}
        self._order = [
            files[i] for i in np.random.default_rng([_ORDER, seed]).permutation(len(files))
        ]
        self._capacity = min(capacity, len(files))
        self._slots: dict[int, NDArray[np.generic] | None] = {}
        self._first = -1

    def patches(self, count: int, iteration: int) -> NDArray[np.float32]:
        """``count`` patches (count, channels, size, size) in [0, 1] for this iteration.

        Raises:
            LocregError: when no file of the window can be read.
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
            image = to_channels(read_samples(path, self.white), self.channels)
            if min(image.shape[1:]) < self.size:
                raise LocregError(f"{path} is smaller than a patch of {self.size} pixels.")
        except LocregError as error:
            self.skipped[path] = str(error)
            log.warning("skipped: %s", error)
            return None
        random = np.random.default_rng([_CROP, self.seed, position])
        top, left = (int(random.integers(max(n - self.crop, 0) + 1)) for n in image.shape[1:])
        # A copy, so that the rest of a large image is not kept alive by its crop.
        return image[:, top : top + self.crop, left : left + self.crop].copy()


@dataclass(frozen=True)
class UnpairedPatches:
    """Batches of clean and degraded patches, for a criterion of their two distributions.

    Attributes:
        clean: pool of clean patches.
        degraded: pool of degraded patches, or of clean ones that ``noise`` is added to; None takes
            the clean patches of the batch themselves. The means over many batches are the same, but
            what the scenes differ by drops out of each.
        noise: the noise to add, or None.
        seed: of the noise and of the positions on the lines between the patches.
    """

    clean: PatchPool
    degraded: PatchPool | None
    noise: NoiseRange | None
    seed: int

    def batch(
        self, count: int, iteration: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Clean patches, degraded patches and positions on their lines for eq. (7): (count,)."""
        random = np.random.default_rng([_BATCH, self.seed, iteration, 1])
        clean = self.clean.patches(count, iteration)
        degraded = clean if self.degraded is None else self.degraded.patches(count, iteration)
        mixing = random.random(count, dtype=np.float32)
        if self.noise is not None:
            degraded = add_noise_in_range(degraded, self.noise, random)
        return clean, degraded, mixing

    @property
    def skipped(self) -> dict[ImageSource, str]:
        """Files left out so far, with the reason."""
        return self.clean.skipped | ({} if self.degraded is None else self.degraded.skipped)


def split_sources(
    paths: Sequence[Path], *, held_out: int, seed: int
) -> tuple[list[ImageSource], list[ImageSource]]:
    """All images of folders and tar files in a random order, cut into (training, held out).

    Raises:
        LocregError: when there are not at least two more images than are held out.
    """
    files = list_sources(paths)
    if len(files) < held_out + 2:
        raise LocregError(
            f"Too few images in {' and '.join(map(str, paths))}: {len(files)} of at least "
            f"{held_out + 2} that are needed ({held_out} of them are held out for validation)."
        )
    order = np.random.default_rng([_ORDER, seed]).permutation(len(files))
    shuffled = [files[i] for i in order]
    return shuffled[held_out:], shuffled[:held_out]
