"""Reading and writing image files: nothing is lost, and every bad file is refused by name."""

import numpy as np
import PIL.Image
import pytest
import pyvips
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import BAD_IMAGES
from locreg.errors import LocregError, UsageError
from locreg.images.image_file import (
    ImageFile,
    check_writable,
    read_image,
    read_mask,
    read_pixels,
    read_samples,
    write_image,
)
from locreg.images.metadata import Metadata, what_is_lost
from locreg.images.samples import (
    Samples,
    brightest,
    hint_at_unused_range,
    is_grey,
    to_channels,
    to_unit_range,
)

CASES = [
    ("uint8", 1, ".png"), ("uint8", 2, ".png"), ("uint8", 3, ".png"), ("uint8", 4, ".png"),
    ("uint16", 1, ".png"), ("uint16", 3, ".png"), ("uint16", 4, ".png"),
    ("uint8", 3, ".tif"), ("uint16", 1, ".tif"), ("uint16", 3, ".tif"),
    ("float32", 1, ".tif"), ("float32", 3, ".tif"), ("uint8", 3, ".webp"), ("uint8", 4, ".webp"),
]  # fmt: skip


def save(path, samples, interpretation=None, **options):
    image = pyvips.Image.new_from_array(samples)
    if interpretation:
        image = image.copy(interpretation=interpretation)
    image.write_to_file(str(path), **options)


def make_file(path, sample_type, bands, seed=0):
    random = np.random.default_rng(seed)
    shape = (9, 13, bands)
    if sample_type == "float32":
        samples = random.uniform(-0.2, 1.3, shape).astype(np.float32)
        interpretation = None
    else:
        samples = random.integers(0, np.iinfo(sample_type).max, shape, sample_type, endpoint=True)
        deep = sample_type == "uint16"
        interpretation = ("grey16" if deep else "b-w") if bands < 3 else "rgb16" if deep else "srgb"
    options = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
    save(path, samples, interpretation, **options)
    return samples


@pytest.mark.parametrize(("sample_type", "bands", "suffix"), CASES)
def test_round_trip_is_exact(tmp_path, sample_type, bands, suffix):
    """Every sample of every bit depth and of alpha survives reading and writing."""
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    samples = make_file(source, sample_type, bands)
    np.testing.assert_array_equal(read_samples(source), samples)
    image = read_image(source)
    assert image.pixels.shape == (1 if bands < 3 else 3, 9, 13)
    assert image.sample_type == sample_type
    write_image(target, image.pixels, image)
    np.testing.assert_array_equal(read_samples(target), samples)


@given(st.sampled_from(("uint8", "uint16")), st.data())
def test_unit_range_is_a_bijection_onto_the_levels(sample_type, data):
    largest = int(np.iinfo(sample_type).max)
    level = data.draw(st.integers(0, largest))
    unit = to_unit_range(np.array([level], dtype=sample_type))
    assert unit.dtype == np.float32
    assert 0 <= unit[0] <= 1
    assert np.rint(unit.astype(np.float64) * largest) == level


@pytest.mark.parametrize("name", ["deep.tif", "deep.png"])
def test_files_of_a_12_bit_camera_come_back_with_every_level(tmp_path, name):
    """4095 is white; what lies above it, such as a hot pixel, stays too."""
    samples = np.append(np.arange(4096), [4500, 30_000]).astype(np.uint16).reshape(1, -1, 1)
    pyvips.Image.new_from_array(samples).copy(interpretation="grey16").write_to_file(
        str(tmp_path / name)
    )
    read = read_image(tmp_path / name, white=4095)
    assert read.pixels[0, 0, 4095] == 1
    np.testing.assert_array_equal(read.pixels[0, 0, :4096] * 4095, np.arange(4096))
    write_image(tmp_path / f"out_{name}", read.pixels, read)
    np.testing.assert_array_equal(read_samples(tmp_path / f"out_{name}"), samples)


def test_float_files_may_have_any_white(tmp_path):
    pixels = np.linspace(0, 4096, 60, dtype=np.float32).reshape(3, 4, 5)
    source = ImageFile(pixels, None, "float32")
    write_image(tmp_path / "counts.tif", pixels, source)
    with pytest.raises(LocregError, match=r"up to 4096, where 1 is white: give --white"):
        read_image(tmp_path / "counts.tif")
    read = read_image(tmp_path / "counts.tif", white=4096)
    np.testing.assert_array_equal(read.pixels, pixels / 4096)
    write_image(tmp_path / "out.tif", read.pixels, read)
    found = read_samples(tmp_path / "out.tif", white=4096)
    np.testing.assert_array_equal(found.transpose(2, 0, 1), pixels)


@pytest.mark.parametrize("bands", [2, 4])
def test_the_white_of_the_colours_is_not_that_of_alpha(tmp_path, bands):
    samples = np.full((6, 7, bands), 4095, np.uint16)
    samples[..., -1] = 65535
    save(tmp_path / "a.png", samples, "grey16" if bands == 2 else "rgb16")
    read = read_image(tmp_path / "a.png", white=4095)
    assert (read.pixels == 1).all()
    assert (read.alpha == 65535).all()


def test_a_white_that_the_file_cannot_have_is_refused(tmp_path):
    write_image(tmp_path / "a.png", np.ones((1, 4, 4), dtype=np.float32))
    with pytest.raises(LocregError, match=r"no values above 255: lower --white"):
        read_image(tmp_path / "a.png", white=4095)
    with pytest.raises(LocregError, match=r"up to 255, where 20 is white"):
        read_image(tmp_path / "a.png", white=20)
    with pytest.raises(UsageError, match="white must be positive"):
        read_image(tmp_path / "a.png", white=0)


def test_metadata_is_kept(tmp_path):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    image = pyvips.Image.new_from_array(np.zeros((4, 4, 3), np.uint8)).copy(interpretation="srgb")
    profile = pyvips.Image.profile_load("srgb") if hasattr(pyvips.Image, "profile_load") else b"p"
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", bytes(profile))
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Copyright", "A. Person (A. Person, ASCII)")
    image = image.copy(xres=11.811, yres=5.9055)  # 300 and 150 dpi
    image.write_to_file(str(source))
    read = read_image(source)
    write_image(target, read.pixels, read)
    found = pyvips.Image.new_from_file(str(target))
    assert found.get("icc-profile-data") == bytes(profile)
    assert found.get("exif-ifd0-Copyright").startswith("A. Person")
    assert (found.xres, found.yres) == pytest.approx((11.811, 5.9055), rel=1e-3)


def test_the_description_in_a_tiff_file_is_kept(tmp_path):
    """ImageJ keeps the unit of length there, archives their captions."""
    source, target = tmp_path / "in.tif", tmp_path / "out.tif"
    image = pyvips.Image.new_from_array(np.zeros((4, 4), np.uint16)).copy(interpretation="grey16")
    text = "ImageJ=1.54f\nunit=micron\nmin=0.0\nmax=4095.0\n"
    image.set_type(pyvips.GValue.gstr_type, "image-description", text)
    image.write_to_file(str(source))
    read = read_image(source)
    write_image(target, read.pixels, read)
    assert pyvips.Image.new_from_file(str(target)).get("image-description") == text


def test_values_out_of_range_are_clipped_in_integer_files(tmp_path):
    path = tmp_path / "out.png"
    write_image(path, np.array([[[-0.5, 0.5, 1.5]]], np.float32))
    assert read_samples(path).ravel().tolist() == [0, 128, 255]


def test_palette_image_is_read_as_colour(tmp_path):
    path = tmp_path / "palette.png"
    samples = np.zeros((8, 8, 3), np.uint8)
    samples[:, 4:] = (200, 30, 60)
    save(path, samples, "srgb", palette=True)
    np.testing.assert_allclose(read_samples(path)[:, :, :3].astype(int), samples, atol=2)


def test_grey_and_colour_are_made_from_each_other():
    colour = Samples(np.full((2, 2, 3), (10, 200, 30), np.uint8), colour=True, alpha=False)
    assert to_channels(colour, 1).tolist() == np.full((1, 2, 2), 124).tolist()
    grey = Samples(np.full((2, 2, 2), (7, 255), np.uint8), colour=False, alpha=True)
    assert to_channels(grey, 3).tolist() == np.full((3, 2, 2), 7).tolist()


@pytest.mark.parametrize(
    ("name", "make", "words"), BAD_IMAGES, ids=[case[0] for case in BAD_IMAGES]
)
def test_bad_files_are_refused_by_name(tmp_path, name, make, words):
    path = tmp_path / name
    make(path)
    with pytest.raises(LocregError, match=words) as caught:
        read_image(path)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("sample_type", "bands", "target", "words"),
    [
        ("uint16", 3, "out.jpg", "write a .tif or .png"),
        ("float32", 3, "out.png", "write a .tif"),
        ("uint8", 4, "out.jpg", "alpha"),
        ("uint8", 3, "out.xyz", "no format"),
        ("uint8", 3, "nowhere/out.png", "does not exist"),
    ],
)
def test_targets_that_would_lose_something_are_refused(tmp_path, sample_type, bands, target, words):
    source = tmp_path / ("in.tif" if sample_type == "float32" else "in.png")
    make_file(source, sample_type, bands)
    image = read_image(source)
    with pytest.raises(LocregError, match=words):
        write_image(tmp_path / target, image.pixels, image)
    assert sorted(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(("suffix", "most"), [(".webp", 16_383), (".jpg", 65_500)])
def test_formats_end_at_a_size_of_their_own(tmp_path, suffix, most):
    long = ImageFile(np.zeros((1, 2, most), np.float32), None, "uint8")
    write_image(tmp_path / f"a{suffix}", long.pixels, long)
    check_writable(tmp_path / "b.png", long, factor=2)
    with pytest.raises(LocregError, match=f"cannot hold {2 * most} pixels in a row"):
        check_writable(tmp_path / f"b{suffix}", long, factor=2)


def test_pixels_are_read_with_the_channels_asked_for(tmp_path):
    samples = Samples(make_file(tmp_path / "a.png", "uint8", 4), colour=True, alpha=True)
    for channels in (1, 3):
        pixels = read_pixels(tmp_path / "a.png", channels)
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels, to_unit_range(to_channels(samples, channels)))


def test_a_mask_is_true_where_the_file_is_more_than_half_white(tmp_path):
    levels = np.array([[0, 127], [128, 255]], np.uint8)
    save(tmp_path / "mask.png", levels, "b-w")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.missing.tolist() == [[False, False], [True, True]]
    assert mask.orientation == 1
    for value, words in ((255, "white all over"), (0, "black all over")):
        save(tmp_path / "mask.png", np.full((4, 4), value, np.uint8), "b-w")
        with pytest.raises(LocregError, match=words):
            read_mask(tmp_path / "mask.png")


def test_a_mask_may_be_written_as_editors_write_it(tmp_path):
    drawn = np.zeros((6, 8), np.uint8)
    drawn[2:4, 3:6] = 1
    save(tmp_path / "labels.png", drawn, "b-w")
    white = np.full((6, 8, 4), 255, np.uint8)
    white[:, :, 3] = 255 * drawn
    save(tmp_path / "transparent.png", white, "srgb")
    for name in ("labels.png", "transparent.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name).missing, drawn == 1)


@pytest.mark.parametrize("sample_type", ["uint8", "float32"])
def test_alpha_is_interpolated_as_the_image_grows(sample_type):
    """Bilinear, as PyTorch does it."""
    alpha = (np.random.default_rng(0).random((1, 7, 9)) * 255).astype(sample_type)
    image = ImageFile(np.zeros((1, 7, 9), np.float32), alpha, sample_type)
    large = torch.nn.functional.interpolate(
        torch.from_numpy(alpha.astype(float))[None], scale_factor=3, mode="bilinear"
    )
    found = image.enlarged(3).alpha
    assert found.dtype == sample_type
    np.testing.assert_allclose(found, large[0], atol=0.5 if sample_type == "uint8" else 1e-4)
    assert image.enlarged(1).alpha is alpha


def test_three_equal_channels_are_grey():
    grey = np.broadcast_to(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), (3, 3, 4))
    assert is_grey(grey)
    assert not is_grey(grey * np.array([1, 1, 0.5], np.float32)[:, None, None])


def test_a_dark_image_gives_a_hint_at_white():
    assert "--white" in hint_at_unused_range(4095 / 65535)
    assert hint_at_unused_range(0.9) is None


def test_a_few_bright_pixels_say_nothing_about_white(tmp_path):
    """A hot pixel does not hide that a range is unused, and the sun does not refuse a scene."""
    dark = np.full((100, 100), 0.06, np.float32)
    dark[3, 4] = 1
    assert "--white" in hint_at_unused_range(brightest(dark))
    scene = np.full((1, 100, 100), 0.5, np.float32)
    scene[:, :10, :10] = 50
    write_image(tmp_path / "sun.tif", scene, ImageFile(scene, None, "float32"))
    np.testing.assert_array_equal(read_image(tmp_path / "sun.tif").pixels, scene)


def test_what_a_very_large_file_loses_is_said():
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8769)[0xA434] = "A lens"
    metadata = Metadata(exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    assert what_is_lost(metadata, ".tif", 3_000_000_000) == []
    assert "more than 4 GB" in what_is_lost(metadata, ".tif", 5_000_000_000)[0]
    assert what_is_lost(metadata, ".png", 5_000_000_000) == []
