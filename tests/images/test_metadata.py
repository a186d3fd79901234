"""Metadata in its difficult forms: other alphabets, unusual places, too much of it."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from locreg.images.image_file import read_image, write_image
from locreg.images.metadata import Resolution, what_is_lost

PIXELS = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)
NAME = "Müller Ω"


def copied(source, target):
    image = read_image(source)
    write_image(target, image.pixels, image)
    return image.metadata


def with_segments(path, *segments):
    """Put segments (marker, content) at the start of a JPEG file."""
    content = path.read_bytes()
    stored = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(segment) + 2) + segment
        for marker, segment in segments
    )
    path.write_bytes(content[:2] + stored + content[2:])


@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".png", ".webp"])
def test_names_of_any_alphabet_are_kept(tmp_path, suffix):
    """As UTF-8, which programs write although EXIF names ASCII."""
    artist, description = NAME.encode(), "Grüße µm".encode()
    tags = [(315, 2, len(artist) + 1, artist + b"\0", True)]
    options = {"photometric": "rgb", "metadata": None, "description": description}
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, extratags=tags, **options)
    copied(tmp_path / "a.tif", tmp_path / f"b{suffix}")
    copied(tmp_path / f"b{suffix}", tmp_path / "c.tif")
    with tifffile.TiffFile(tmp_path / "c.tif") as file:
        found = file.pages[0].tags
        assert found[315].value.encode(errors="surrogateescape") in (artist, NAME.encode())
        assert found[270].value == "Grüße µm"


def test_texts_of_png_are_kept_in_any_alphabet_and_place(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Müller")
    info.add_text("Title", "Grüße", zip=True)
    info.add_itxt("Place", NAME)
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    content = (tmp_path / "a.png").read_bytes()
    late = b"Comment\0behind the pixels"
    stored = struct.pack(">I", len(late)) + b"tEXt" + late
    stored += struct.pack(">I", zlib.crc32(b"tEXt" + late))
    (tmp_path / "a.png").write_bytes(content[:-12] + stored + content[-12:])
    metadata = copied(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        image.load()
        texts = {"Author": "Müller", "Title": "Grüße", "Place": NAME}
        assert image.text == {**texts, "Comment": "behind the pixels"}
    assert metadata.comment == "behind the pixels"
    copied(tmp_path / "a.png", tmp_path / "c.jpg")
    with Image.open(tmp_path / "c.jpg") as image:
        assert image.info["comment"] == b"behind the pixels"
    assert what_is_lost(metadata, ".jpg") == ["texts of PNG"]


def test_exif_behind_the_pixels_counts(tmp_path):
    """Otherwise a photograph that is turned would be shown as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + struct.unpack_from(">I", content, start)[0]
    moved = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    (tmp_path / "a.png").write_bytes(moved)
    assert copied(tmp_path / "a.png", tmp_path / "b.png").orientation == 6
    with Image.open(tmp_path / "b.png") as image:
        assert image.getexif()[0x0112] == 6


def test_all_comments_of_jpeg_are_kept_and_other_segments_are_named(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", comment="grün".encode())
    multiple = b"MPF\0" + bytes(20)
    with_segments(tmp_path / "a.jpg", (0xFE, b"first"), (0xE2, multiple), (0xEB, b"JP\0\0"))
    metadata = copied(tmp_path / "a.jpg", tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert sorted(image.info["comment"].decode().split("\n")) == ["first", "grün"]
    assert what_is_lost(metadata, ".jpg") == ["JP, MPF"]


def test_what_is_too_long_for_jpeg_is_said(tmp_path):
    xmp = b"<x:xmpmeta>" + b"x" * 70_000 + b"</x:xmpmeta>"
    tags = [(700, 1, len(xmp), xmp, True)]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", extratags=tags)
    metadata = copied(tmp_path / "a.tif", tmp_path / "b.jpg")
    assert what_is_lost(metadata, ".jpg") == ["XMP of more than 64 KB"]
    assert what_is_lost(metadata, ".png") == []
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 70_000)
    Image.fromarray(PIXELS).save(tmp_path / "c.png", pnginfo=info)
    metadata = copied(tmp_path / "c.png", tmp_path / "d.jpg")
    assert what_is_lost(metadata, ".jpg") == ["a long comment"]
    with Image.open(tmp_path / "d.jpg") as image:
        assert image.size == (30, 20)


def test_tags_of_exif_without_a_place_in_tiff_are_said(tmp_path):
    exif = Image.Exif()
    exif[0x013C], exif[0x4746] = "A telephone", 5  # HostComputer, Rating
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
    metadata = copied(tmp_path / "a.jpg", tmp_path / "b.tif")
    assert what_is_lost(metadata, ".tif") == ["further tags of EXIF"]
    assert what_is_lost(metadata, ".png") == []
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].tags[0x013C].value == "A telephone"


@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".png"])
@pytest.mark.parametrize("density", [153_846.0, 0.3, 2.5, 118.0])
def test_any_resolution_is_kept(tmp_path, suffix, density):
    """That of a microscope, of a map, and one that is no whole number."""
    options = {"photometric": "rgb", "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, resolution=(density, density), **options)
    copied(tmp_path / "a.tif", tmp_path / f"b{suffix}")
    found = read_image(tmp_path / f"b{suffix}").metadata.resolution
    assert isinstance(found, Resolution)
    exactness = 0.01 if suffix == ".png" else 1e-6  # PNG has whole pixels a metre
    assert 10 * found.per_millimetre[0] == pytest.approx(density, rel=exactness)


def test_a_file_without_metadata_gets_none(tmp_path):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    metadata = copied(tmp_path / "a.png", tmp_path / "b.png")
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        assert what_is_lost(metadata, suffix) == []
    content = (tmp_path / "b.png").read_bytes()
    for chunk in (b"eXIf", b"pHYs", b"tEXt", b"iTXt", b"gAMA"):
        assert chunk not in content
