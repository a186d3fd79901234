"""Pictures: their formats, their sizes, and what they show."""

import io

import numpy as np
import PIL.Image
import pytest

import locreg
from locreg.errors import LocregError
from locreg.report.pictures import (
    PICTURE_FORMATS,
    check_picture_name,
    draw_score_map,
    picture_of_correlation,
    picture_of_details,
    picture_of_images,
    picture_of_residual,
    picture_of_scores,
)

PIXELS = np.random.default_rng(0).random((3, 20, 30), dtype=np.float32)
SCORES = np.random.default_rng(1).random((16, 26), dtype=np.float32)
STARTS = {".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".jpeg": b"\xff\xd8", ".pdf": b"%PDF",
          ".svg": b"<?xml"}  # fmt: skip


def decoded(png):
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


@pytest.mark.parametrize("suffix", PICTURE_FORMATS)
def test_the_suffix_decides_the_format(tmp_path, suffix):
    path = tmp_path / f"map{suffix}"
    check_picture_name(path)
    draw_score_map(path, PIXELS, SCORES, None, "title")
    assert path.read_bytes().startswith(STARTS[suffix])


def test_names_of_other_formats_and_missing_folders_are_refused(tmp_path):
    for name, words in (("map.doc", r"map\.doc .*\.png"), ("map", r"map .*\.png"),
                        ("nowhere/map.png", "nowhere does not exist")):  # fmt: skip
        with pytest.raises(LocregError, match=words):
            check_picture_name(tmp_path / name)


def test_the_calibration_decides_the_colours_of_a_score_map(weight_file):
    """With it, an image of high scores looks different from one of low scores."""
    calibration = locreg.load_weights(weight_file).calibration
    low, high = (
        decoded(picture_of_scores(PIXELS, SCORES + shift, calibration, "title")) for shift in (0, 1)
    )
    assert low.shape == high.shape
    assert np.abs(low - high).mean() > 1


@pytest.mark.parametrize("shape", [(1, 20, 30), (3, 20, 30), (3, 1, 300), (1, 300, 2)])
def test_images_of_any_shape_are_shown_side_by_side(shape):
    one = np.zeros(shape, np.float32)
    picture = decoded(picture_of_images(one, one + 1))
    width = picture.shape[1]
    assert picture[:, : width // 2].min() == 0  # black on the left, white on the right
    assert picture[:, width // 2 :].min() > 250


def test_a_residual_is_grey_where_nothing_was_removed_or_observed():
    residual = np.zeros((1, 40, 40), np.float32)
    residual[:, :20] = np.nan
    residual[:, 30:, :20], residual[:, 30:, 20:] = 0.3, -0.3
    picture = decoded(picture_of_residual(residual, 0.1))
    height, width = picture.shape[:2]
    grey, white, black = (
        picture[int(height * row), int(width * column)].mean()
        for row, column in ((0.25, 0.5), (0.88, 0.25), (0.88, 0.75))
    )
    assert grey == pytest.approx(picture[int(height * 0.6), width // 2].mean())
    assert grey == pytest.approx(127.5, abs=2)
    assert white > 250
    assert black < 5


@pytest.mark.slow
def test_correlations_are_drawn_as_they_are():
    none = np.zeros((11, 11))
    none[5, 5] = 1
    some = none.copy()
    some[5, 6] = some[5, 4] = 0.3
    one, other = (decoded(picture_of_correlation(c)) for c in (none, some))
    assert one.shape == other.shape
    assert np.abs(one - other).max() > 100


def test_details_are_shown_pixel_by_pixel():
    """The square of most structure is above that of least; a row is input, result, removed."""
    before = np.full((3, 512, 600), 0.5, np.float32)
    before[:, :256, 300:556] = np.random.default_rng(0).random((3, 256, 256), dtype=np.float32)
    after = before - np.float32(0.1)
    picture = decoded(picture_of_details(before, after, 0.1))
    assert picture.shape == (512, 3 * 256, 3)
    assert picture[:256, :256].std() > 30
    assert picture[256:, :256].std() < 1
    assert np.allclose(picture[:, 512:], 255 * (0.5 + 1 / 6), atol=1)


@pytest.mark.parametrize("shape", [(1, 20, 30), (3, 1, 300)])
def test_a_small_image_is_one_detail_or_two(shape):
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    picture = decoded(picture_of_details(image, image, 0.0))
    assert picture.shape[1] == 3 * min(shape[2], 256)
