"""EXIF orientations, as Pillow applies them, and masks for images that have one."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from locreg.errors import LocregError
from locreg.images.mask import Mask
from locreg.images.orientation import as_seen, as_stored

CODES = range(1, 9)


@pytest.mark.parametrize("code", CODES)
def test_pixels_are_turned_as_another_library_turns_them(code):
    stored = np.arange(35, dtype=np.uint8).reshape(5, 7)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = code
    np.testing.assert_array_equal(as_seen(stored, code), np.asarray(ImageOps.exif_transpose(image)))
    np.testing.assert_array_equal(as_stored(as_seen(stored, code), code), stored)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("mask_code", CODES)
def test_a_mask_fits_an_image_as_viewers_show_both(code, mask_code):
    seen = np.zeros((6, 9), bool)
    seen[1:3, 5:8] = True
    mask = Mask(as_stored(seen, mask_code), mask_code)
    size = as_stored(seen, code).shape
    both = mask.missing.shape == size and not np.array_equal(mask.missing, as_stored(seen, code))
    if both:  # the mask may be meant as stored too
        with pytest.raises(LocregError, match="different EXIF orientations"):
            mask.of_image(size, code, "a.png")
    else:
        np.testing.assert_array_equal(mask.of_image(size, code, "a.png"), as_stored(seen, code))


def test_a_mask_that_lost_its_orientation_is_taken_as_stored():
    mask = Mask(np.eye(6, 9, dtype=bool), 1)
    np.testing.assert_array_equal(mask.of_image((6, 9), 6, "a.png"), np.eye(6, 9, dtype=bool))
