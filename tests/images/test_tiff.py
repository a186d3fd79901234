"""TIFF files of other people's making: every sample comes back, or the file is refused."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from locreg.errors import LocregError
from locreg.images.image_file import read_image, read_samples, write_image
from locreg.images.metadata import EXIF, GPS

RANDOM = np.random.default_rng(5)
DEEP = RANDOM.integers(0, 65536, (40, 30, 3), np.uint16)


def tags_of(path):
    with tifffile.TiffFile(path) as file:
        return {tag.code: tag.value for tag in file.pages[0].tags}


def copied(source, target):
    image = read_image(source)
    write_image(target, image.pixels, image)
    return image


@pytest.mark.parametrize("compression", ["zstd", "lzma", "lzw", "zlib", "packbits", None])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"byteorder": ">"}, {"bigtiff": True}])
def test_every_compression_and_layout_is_decoded(tmp_path, compression, options):
    tifffile.imwrite(
        tmp_path / "a.tif", DEEP, photometric="rgb", compression=compression, **options
    )
    copied(tmp_path / "a.tif", tmp_path / "b.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), DEEP)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", None])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_file_that_is_cut_off_is_refused(tmp_path, compression, share):
    """The library would leave what is missing black."""
    file = io.BytesIO()
    tifffile.imwrite(file, DEEP, photometric="rgb", compression=compression, rowsperstrip=4)
    whole = file.getvalue()
    (tmp_path / "cut.tif").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(LocregError, match=r"cut\.tif is damaged"):
        read_image(tmp_path / "cut.tif")


def test_a_strip_that_is_damaged_is_refused(tmp_path):
    path = tmp_path / "broken.tif"
    tifffile.imwrite(path, DEEP, photometric="rgb", compression="lzw", rowsperstrip=4)
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[0].dataoffsets[4], file.pages[0].databytecounts[4]
    content = bytearray(path.read_bytes())
    content[start + size // 2 : start + size] = bytes([255]) * (size - size // 2)
    path.write_bytes(content)
    with pytest.raises(LocregError, match=r"broken\.tif is damaged"):
        read_image(path)


@pytest.mark.parametrize("channels", [2, 3])
def test_planes_one_after_the_other_are_channels(tmp_path, channels):
    planes = DEEP[:, :, :channels].transpose(2, 0, 1)
    photometric = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric=photometric, planarconfig="separate")
    image = copied(tmp_path / "a.tif", tmp_path / "b.tif")
    assert image.alpha is None
    assert image.colour == (channels == 3)
    np.testing.assert_array_equal(read_samples(tmp_path / "b.tif"), DEEP[:, :, :channels])


def test_alpha_is_only_what_the_file_calls_alpha(tmp_path):
    four = RANDOM.integers(0, 65536, (20, 30, 4), np.uint16)
    for name, extra in (
        ("measured", "unspecified"),
        ("alpha", "unassalpha"),
        ("pre", "assocalpha"),
    ):
        source, target = tmp_path / f"{name}.tif", tmp_path / f"{name}_out.tif"
        tifffile.imwrite(source, four, photometric="rgb", extrasamples=[extra])
        image = copied(source, target)
        assert len(image.pixels) == (4 if name == "measured" else 3)
        np.testing.assert_array_equal(tifffile.imread(target), four)
        assert tags_of(target)[338] == tags_of(source)[338]
    tifffile.imwrite(tmp_path / "grey.tif", four, photometric="minisblack", planarconfig="contig")
    copied(tmp_path / "grey.tif", tmp_path / "grey_out.tif")
    assert tags_of(tmp_path / "grey_out.tif")[338] == (0, 0, 0)
    with pytest.raises(LocregError, match="cannot hold 4 measured channels"):
        copied(tmp_path / "grey.tif", tmp_path / "grey_out.png")


def test_inverted_samples_are_inverted_back(tmp_path):
    grey = DEEP[:, :, 0]
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite")
    image = copied(tmp_path / "a.tif", tmp_path / "b.tif")
    np.testing.assert_allclose(image.pixels[0], 1 - grey / 65535, atol=1e-6)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), grey)
    assert tags_of(tmp_path / "b.tif")[262] == 0
    tifffile.imwrite(tmp_path / "f.tif", grey.astype(np.float32), photometric="miniswhite")
    with pytest.raises(LocregError, match="inverted float samples"):
        read_image(tmp_path / "f.tif")


def test_a_palette_becomes_its_colours(tmp_path):
    palette = RANDOM.integers(0, 256, (3, 256), np.uint16) * 257
    index = RANDOM.integers(0, 256, (20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=palette)
    colours = np.moveaxis(palette[:, index] // 257, 0, -1)
    np.testing.assert_array_equal(read_samples(tmp_path / "a.tif"), colours)


@pytest.mark.parametrize("sample_type", ["float64", "float16"])
def test_other_floats_are_written_in_single_precision_and_it_is_said(tmp_path, sample_type):
    values = RANDOM.random((20, 30)).astype(sample_type)
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = copied(tmp_path / "a.tif", tmp_path / "b.tif")
    assert image.notes == (f"{sample_type} samples are written as float32.",)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), values.astype(np.float32))


@pytest.mark.parametrize("sample_type", ["int16", "uint32", "int8", "complex64", "bool"])
def test_other_samples_are_refused_by_their_name(tmp_path, sample_type):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((20, 30), sample_type))
    words = "1-bit" if sample_type == "bool" else sample_type
    with pytest.raises(LocregError, match=f"stores {words} samples"):
        read_image(tmp_path / "a.tif")


def test_jpeg_in_tiff_is_read_as_another_library_reads_it(tmp_path):
    picture = Image.fromarray((DEEP >> 8).astype(np.uint8)).resize((64, 48))
    picture.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    found = read_samples(tmp_path / "a.tif").astype(int)
    with Image.open(tmp_path / "a.tif") as opened:
        expected = np.asarray(opened.convert("RGB")).astype(int)
    assert np.abs(found - expected).max() <= 3


def test_a_small_copy_is_not_taken_for_the_picture(tmp_path):
    small, large = np.zeros((10, 10, 3), np.uint8), (DEEP >> 8).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "raw.dng") as file:
        file.write(small, photometric="rgb", subfiletype=1, subifds=1)
        file.write(large, photometric="rgb")
    with pytest.raises(LocregError, match="small copy first"):
        read_image(tmp_path / "raw.dng")
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(large, photometric="rgb", subifds=1)
        file.write(large[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_samples(tmp_path / "pyramid.tif"), large)


def test_planes_are_never_dropped_silently(tmp_path):
    stack = RANDOM.integers(0, 65536, (3, 20, 30), np.uint16)
    tifffile.imwrite(tmp_path / "pages.tif", stack, photometric="minisblack", metadata=None)
    tifffile.imwrite(tmp_path / "imagej.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "hidden.tif", stack, photometric="minisblack", truncate=True)
    for name in ("pages", "imagej", "hidden"):
        with pytest.raises(LocregError, match="3 frames or pages"):
            read_image(tmp_path / f"{name}.tif")


def test_the_scale_of_a_microscope_is_kept(tmp_path):
    """ImageJ has pixels per micrometre in the resolution, and the unit in the description."""
    grey = DEEP[:, :, 0]
    tifffile.imwrite(
        tmp_path / "a.tif",
        grey,
        imagej=True,
        resolution=(1 / 0.11, 1 / 0.11),
        metadata={"unit": "um"},
    )
    image = copied(tmp_path / "a.tif", tmp_path / "b.tif")
    before, after = tags_of(tmp_path / "a.tif"), tags_of(tmp_path / "b.tif")
    assert after[296] == before[296] == 1
    assert after[282][0] / after[282][1] == pytest.approx(1 / 0.11)
    assert "unit=um" in after[270]
    twice = image.enlarged(2)
    write_image(tmp_path / "c.tif", image.pixels.repeat(2, 1).repeat(2, 2), twice)
    larger = tags_of(tmp_path / "c.tif")[282]
    assert larger[0] / larger[1] == pytest.approx(2 / 0.11)


def test_a_resolution_is_not_invented(tmp_path):
    Image.fromarray((DEEP >> 8).astype(np.uint8)).save(tmp_path / "a.tif")
    assert 282 not in tags_of(tmp_path / "a.tif")
    image = copied(tmp_path / "a.tif", tmp_path / "b.tif")
    assert image.metadata.resolution is None
    after = tags_of(tmp_path / "b.tif")
    assert (after[282], after[296]) == ((1, 1), 1)  # no unit


@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".png", ".webp"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_exif_goes_from_tiff_to_every_format_and_back(tmp_path, suffix, big_endian):
    exif = Image.Exif()
    exif[271], exif[272], exif[306], exif[33432] = "Maker", "Model 7", "2024:05:06 07:08:09", "(c)"
    exif.get_ifd(EXIF).update({36867: "2024:05:06 07:08:10", 33434: 0.0166})
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 1.0, 2.0)})
    pixels = (DEEP >> 8).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    first, second, third = (tmp_path / name for name in ("b.tif", f"c{suffix}", "d.tif"))
    copied(tmp_path / "a.jpg", first)
    if big_endian:
        tags = [(271, 2, 6, "Maker", True), (272, 2, 8, "Model 7", True)]
        date = "2024:05:06 07:08:09"
        tifffile.imwrite(
            first, pixels, photometric="rgb", byteorder=">", extratags=tags, datetime=date
        )
    copied(first, second)
    copied(second, third)
    for path in (first, second, third):
        with Image.open(path) as opened:
            found = opened.getexif()
            parts = found.get_ifd(EXIF), found.get_ifd(GPS)
        assert (found[271], found[272], found[306]) == ("Maker", "Model 7", "2024:05:06 07:08:09")
        if not big_endian:
            assert found[33432] == "(c)"
            assert parts[0][36867] == "2024:05:06 07:08:10"
            assert float(parts[0][33434]) == pytest.approx(0.0166, rel=1e-3)
            assert (parts[1][1], [float(n) for n in parts[1][2]]) == ("N", [48, 1, 2])


def test_further_tags_are_kept_as_they_are(tmp_path):
    tags = [
        (65000, 7, 4, b"abcd", True),
        (65001, 3, 3, (1, 2, 3), True),
        (700, 1, 4, b"<x/>", True),
    ]
    for order in "<>":
        tifffile.imwrite(
            tmp_path / "a.tif", DEEP, photometric="rgb", byteorder=order, extratags=tags,
            iccprofile=b"profile!", metadata=None,
        )  # fmt: skip
        copied(tmp_path / "a.tif", tmp_path / "b.tif")
        before, after = tags_of(tmp_path / "a.tif"), tags_of(tmp_path / "b.tif")
        for code in (65000, 65001, 700, 34675):
            assert after[code] == before[code]


def test_a_value_too_large_for_single_precision_is_refused(tmp_path):
    values = np.full((16, 16), 0.5)
    values[3, 4] = 1e300
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(LocregError, match="float32 cannot hold"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("tag", [256, 257, 277])
def test_a_page_without_pixels_is_refused_at_once(tmp_path, tag):
    """With a height of -128, tifffile looks for pages without end."""
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (number,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * number, 12):
        if struct.unpack_from("<H", content, entry) == (tag,):
            signed_byte = 6
            struct.pack_into("<HIi", content, entry + 2, signed_byte, 1, 128)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(LocregError, match="damaged"):
        read_image(tmp_path / "a.tif")
