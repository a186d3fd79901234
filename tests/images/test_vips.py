"""PNG, JPEG and WebP files: what they say beside their samples is kept, and nothing is invented."""

import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from locreg.errors import LocregError
from locreg.images.image_file import read_image, read_samples, write_image

PIXELS = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)


def copied(source, target):
    image = read_image(source)
    write_image(target, image.pixels, image)


def test_the_gamma_of_a_png_file_is_kept(tmp_path):
    """Without it a linear image looks far too dark."""
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (100_000).to_bytes(4, "big"))
    info.add_text("Title", "a scene")
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    copied(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as found:
        found.load()
        assert found.info["gamma"] == 1
        assert found.text == {"Title": "a scene"}
        np.testing.assert_array_equal(np.asarray(found), PIXELS)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_resolution_is_kept_and_not_invented(tmp_path, suffix):
    for dpi in (None, (300, 150)):
        given = {} if dpi is None else {"dpi": dpi}
        Image.fromarray(PIXELS).save(tmp_path / f"a{suffix}", **given)
        copied(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}")
        with Image.open(tmp_path / f"b{suffix}") as found:
            kept = None if dpi is None or suffix == ".webp" else pytest.approx(dpi, rel=1e-3)
            assert found.info.get("dpi") == kept


def test_frames_are_never_dropped_silently(tmp_path):
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    for name in ("a.png", "a.gif", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(LocregError, match=rf"{name} has (several|2) frames"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix):
    noise = np.random.default_rng(4).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a{suffix}")
    content = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(LocregError, match=rf"cut\{suffix} is (damaged|not an image)"):
        read_samples(tmp_path / f"cut{suffix}")


def gif(path, **options):
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (9, 12, 3), np.uint8)
    image = Image.fromarray(small.repeat(4, axis=0).repeat(4, axis=1)).convert("P")
    image.save(path, **options)
    return image


@pytest.mark.parametrize("options", [{}, {"interlace": 1}, {"comment": b"abc"}])
def test_a_gif_file_is_read_as_another_library_reads_it(tmp_path, options):
    image = gif(tmp_path / "a.gif", **options)
    found = read_image(tmp_path / "a.gif").pixels.transpose(1, 2, 0) * 255
    np.testing.assert_allclose(found, np.asarray(image.convert("RGB")), atol=0.01)


def test_a_gif_file_whose_picture_does_not_fill_its_size_is_refused(tmp_path):
    """Decoders fill the rest with black or with a colour of the palette, and say nothing."""
    gif(tmp_path / "a.gif")
    content = bytearray((tmp_path / "a.gif").read_bytes())
    width, height = struct.unpack_from("<HH", content, 6)
    frame = content.index(struct.pack("<BHHHH", 0x2C, 0, 0, width, height))
    for change in ("canvas", "frame", "end"):
        changed = content.copy()
        if change == "canvas":
            struct.pack_into("<HH", changed, 6, width, height + 4)
        elif change == "frame":
            struct.pack_into("<HH", changed, frame + 5, width, height - 4)
        else:
            table = 3 << ((content[frame + 9] & 7) + 1) if content[frame + 9] & 0x80 else 0
            first = frame + 10 + table + 1  # the length of the first block
            del changed[first : first + 1 + content[first]]
            changed[first:first] = b"\x01" + bytes([content[first + 1]])
        (tmp_path / "b.gif").write_bytes(changed)
        with pytest.raises(LocregError, match="damaged"):
            read_image(tmp_path / "b.gif")


@pytest.mark.parametrize("name", [b"tRNS", b"gAMA"])
def test_a_png_file_that_says_a_thing_twice_is_refused(tmp_path, name):
    """Decoders differ in which of two they take."""
    palette = Image.fromarray(PIXELS).convert("P")
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45_455))
    palette.save(tmp_path / "a.png", transparency=bytes(range(256)), pnginfo=info)
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(name) - 4
    chunk = content[start : start + 12 + struct.unpack_from(">I", content, start)[0]]
    (tmp_path / "b.png").write_bytes(content[:start] + chunk + content[start:])
    read_image(tmp_path / "a.png")
    with pytest.raises(LocregError, match=name.decode()):
        read_image(tmp_path / "b.png")
