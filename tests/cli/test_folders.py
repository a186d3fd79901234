"""Folders and several files on the command line, as people have them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from locreg.images.image_file import read_samples

SCENE = np.random.default_rng(1).integers(90, 160, (30, 40, 3), np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.jpg", "b.jpe", "c.png", "deep/d.webp"):
        Image.fromarray(SCENE).save(
            tmp_path / "in" / name, **({"format": "JPEG"} if "j" in name else {})
        )
    (tmp_path / "in" / "notes.txt").write_text("none")
    (tmp_path / "in" / "raw.cr2").write_bytes(b"raw")
    return tmp_path


def test_what_is_left_out_is_named_once(folder, locreg):
    status, _, err = locreg("denoise", "in", "-o", "out", "--sigma", "0")
    assert status == 0
    assert err.count("files that cannot be read as images are left out: 1 .cr2, 1 .txt.") == 1
    found = sorted(p.relative_to(folder / "out").as_posix() for p in folder.glob("out/**/*.*"))
    assert found == [".locreg.jsonl", "a.jpg", "b.png", "c.png", "deep/d.webp"]


def test_what_a_format_cannot_keep_is_said_once(folder, locreg):
    (folder / "tiffs").mkdir()
    tags = [(65000, 7, 4, b"abcd", True)]
    for name in "ab":
        tifffile.imwrite(folder / f"tiffs/{name}.tif", SCENE, photometric="rgb", extratags=tags)
    for name in "ab":
        status, _, err = locreg("denoise", f"tiffs/{name}.tif", "-o", f"{name}.png", "--sigma=0")
        assert (status, err) == (
            0,
            "locreg: .png files cannot keep further tags of TIFF of the input.\n",
        )
    assert locreg("denoise", "tiffs", "-o", "out", "--sigma=0")[2] == ""


def test_several_images_are_written_into_a_folder(folder, locreg):
    given = ("denoise", "in/a.jpg", "in/c.png", "-o", "new", "--sigma", "0")
    assert locreg(*given)[0] == 0
    assert sorted(p.name for p in folder.glob("new/[a-z]*")) == ["a.jpg", "c.png"]
    np.testing.assert_array_equal(read_samples(folder / "new" / "c.png"), SCENE)
    assert "2 of 2 images are done already" in locreg(*given)[2]
    assert "2 of 2 images were made with other settings" in locreg(*given[:-1], "0.1")[2]


def test_images_of_one_name_fail_and_the_others_are_done(folder, locreg):
    status, _, err = locreg("denoise", "in", "in/deep/d.webp", "in/c.png", "-o", "out", "--sigma=0")
    assert status == 1
    assert "in/c.png and in/c.png would both be written to out/c.png" in err
    assert "2 of 6 images failed" in err
    assert (folder / "out" / "d.webp").exists()
    assert not (folder / "out" / "c.png").exists()


def test_the_quality_of_jpeg_files_can_be_chosen(folder, locreg):
    sizes = []
    for quality in (30, 98):
        out = folder / f"{quality}.jpg"
        assert (
            locreg("denoise", "in/a.jpg", "-o", out, "--sigma", "0", "--quality", quality)[0] == 0
        )
        sizes.append(out.stat().st_size)
    assert sizes[0] < 0.7 * sizes[1]
    status, _, err = locreg("denoise", "in/a.jpg", "-o", "x.jpg", "--quality", "0")
    assert status == 2
    assert "quality must be from 1 to 100" in err


def test_each_image_of_a_folder_may_have_a_mask_of_its_own(folder, locreg):
    (folder / "masks").mkdir()
    (folder / "in" / "notes.txt").unlink()
    for name, left in (("a", 5), ("c", 20)):
        mask = np.zeros((30, 40), np.uint8)
        mask[10:14, left : left + 6] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
        (folder / "in" / "deep" / "d.webp").unlink(missing_ok=True)
    Image.fromarray(SCENE).save(folder / "in" / "a.jpg", quality=100)
    given = ("inpaint", "in", "-o", "out", "--mask", "masks", "--sigma", "0", "--steps", "2")
    status, _, err = locreg(*given)
    assert status == 1
    assert "masks holds no mask for in/b.jpe: give one named b.png" in err
    changed = np.abs(read_samples(folder / "out/c.png").astype(int) - SCENE).max(2) > 0
    assert changed[10:14, 20:26].mean() > 0.9
    assert changed[:9].sum() + changed[15:].sum() + changed[:, :19].sum() == 0
    assert (folder / "out" / "a.jpg").exists()
