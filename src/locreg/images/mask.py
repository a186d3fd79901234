"""Masks of missing pixels, and the images that they are meant for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.images.orientation import as_seen, as_stored


@dataclass(frozen=True)
class Mask:
    """A mask, as its file stores it.

    Attributes:
        missing: (H, W), True where a pixel is missing.
        orientation: the EXIF code of how viewers turn and flip it.
    """

    missing: NDArray[np.bool_]
    orientation: int = 1

    def of_image(self, size: tuple[int, int], orientation: int, name: object) -> NDArray[np.bool_]:
        """The missing pixels (H, W) of an image as its file stores them.

        Image and mask fit each other as viewers show them. If only their stored sizes are the same,
        the program that made the mask dropped the orientation.

        Args:
            size: height and width of the image as stored.
            orientation: that of the image.
            name: of the image, for errors.

        Raises:
            LocregError: when the sizes differ, or both ways fit and mean different pixels.
        """
        seen = as_seen(self.missing, self.orientation)
        turned = as_stored(seen, orientation)
        ways = [m for m in (turned, self.missing) if m.shape == size]
        if not ways:
            (height, width), (rows, columns) = self.missing.shape, size
            raise LocregError(
                f"{name}: the mask has {width}x{height} pixels and the image {columns}x{rows}: "
                "they must have the same size."
            )
        if not np.array_equal(ways[0], ways[-1]):
            raise LocregError(
                f"{name}: the image and its mask have different EXIF orientations ({orientation} "
                f"and {self.orientation}): save both upright, without this tag."
            )
        return ways[0]
