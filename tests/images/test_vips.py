"""PNG, JPEG and WebP files: what they say beside their samples is kept, and nothing is invented."""

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
