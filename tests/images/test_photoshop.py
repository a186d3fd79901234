"""IPTC, which JPEG and TIFF keep in different places."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, IptcImagePlugin

from locreg.images.image_file import read_image, write_image
from locreg.images.metadata import what_is_lost

TEXTS = {(2, 5): b"A title", (2, 80): b"Somebody", (2, 120): b"What is seen"}
IPTC = b"".join(
    b"\x1c" + bytes(number) + struct.pack(">H", len(text)) + text for number, text in TEXTS.items()
)


def resource(code, content):
    padding = b"\0" * (len(content) % 2)
    return b"8BIM" + struct.pack(">HHI", code, 0, len(content)) + content + padding


RESOURCES = resource(1005, b"\0\1" * 8) + resource(0x0404, IPTC) + resource(1034, b"\1")


def jpeg(path):
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(file, "JPEG")
    segment = b"Photoshop 3.0\0" + RESOURCES
    segment = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
    path.write_bytes(file.getvalue()[:2] + segment + file.getvalue()[2:])


def tiff(path):
    pixels = np.full((16, 16, 3), 90, np.uint8)
    tags = [(33723, 7, len(IPTC), IPTC, True)]
    tifffile.imwrite(path, pixels, photometric="rgb", extratags=tags)


@pytest.mark.parametrize(("make", "before"), [(jpeg, ".jpg"), (tiff, ".tif")])
@pytest.mark.parametrize("after", [".jpg", ".tif"])
def test_iptc_is_kept_between_jpeg_and_tiff(tmp_path, make, before, after):
    """Pillow reads it from both."""
    make(tmp_path / f"in{before}")
    image = read_image(tmp_path / f"in{before}")
    assert image.metadata.iptc == IPTC
    assert what_is_lost(image.metadata, after) == []
    write_image(tmp_path / f"out{after}", image.pixels, image)
    with Image.open(tmp_path / f"out{after}") as written:
        assert IptcImagePlugin.getiptcinfo(written) == TEXTS
    assert "IPTC" in what_is_lost(image.metadata, ".png")


def test_all_resources_are_kept_between_jpeg_and_tiff(tmp_path):
    jpeg(tmp_path / "a.jpg")
    for before, after in (("a.jpg", "b.tif"), ("b.tif", "c.jpg"), ("c.jpg", "d.jpg")):
        image = read_image(tmp_path / before)
        assert image.metadata.photoshop == RESOURCES
        write_image(tmp_path / after, image.pixels, image)
    assert RESOURCES in (tmp_path / "d.jpg").read_bytes()


def test_damaged_resources_do_no_harm(tmp_path):
    jpeg(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    for cut in range(0, len(RESOURCES), 7):
        segment = b"Photoshop 3.0\0" + RESOURCES[:cut]
        segment = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
        start = content.index(b"\xff\xed")
        end = start + 2 + struct.unpack_from(">H", content, start + 2)[0]
        (tmp_path / "b.jpg").write_bytes(content[:start] + segment + content[end:])
        image = read_image(tmp_path / "b.jpg")
        write_image(tmp_path / "c.tif", image.pixels, image)
