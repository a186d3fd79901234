"""`locreg denoise` on pictures with little or nothing to measure: a result or a clear sentence."""

import json

import numpy as np
import pytest
import tifffile

from conftest import save_picture
from locreg.images.image_file import read_samples


@pytest.mark.parametrize("noise", ["auto", "white", "camera", "poisson-gaussian"])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_picture_stays(locreg, tmp_path, value, noise):
    source, out = tmp_path / "flat.png", tmp_path / "out.png"
    save_picture(source, np.full((60, 70, 3), value, np.uint8))
    status, text, _ = locreg("denoise", source, "-o", out, "--noise", noise)
    assert status == 0
    assert "hardly any noise" in text
    assert (read_samples(out) == value).all()


def test_one_hot_pixel_in_a_dim_frame_changes_nothing_else(locreg, tmp_path):
    random = np.random.default_rng(0)
    frame = (300 + 40 * random.standard_normal((128, 128))).clip(0).astype(np.uint16)
    levels = []
    for name in ("frame", "hot"):
        save_picture(tmp_path / f"{name}.png", frame, "grey16")
        arguments = ("-o", tmp_path / f"{name}-out.png", "--json")
        status, text, _ = locreg("denoise", tmp_path / f"{name}.png", *arguments)
        assert status == 0
        levels.append(json.loads(text)["sigma"])
        frame[50, 60] = 65535
    assert levels[1] == pytest.approx(levels[0], rel=0.05)
    plain, hot = (read_samples(tmp_path / f"{name}-out.png")[..., 0] for name in ("frame", "hot"))
    away = np.ones_like(plain, bool)
    away[34:67, 44:77] = False
    assert np.abs(hot[away].astype(int) - plain[away]).max() <= 2


@pytest.mark.parametrize("side", [1, 7, 20])
def test_a_picture_too_small_to_measure_needs_a_level(locreg, tmp_path, side):
    random = np.random.default_rng(0)
    source, out = tmp_path / "small.png", tmp_path / "out.png"
    save_picture(source, random.integers(0, 256, (side, side, 3), np.uint8))
    status, _, err = locreg("denoise", source, "-o", out)
    assert status == 1
    assert f"small.png: An image of {side}x{side} pixels is too small to estimate" in err
    assert not out.exists()
    for noise in ("auto", "camera"):
        assert locreg("denoise", source, "-o", out, "--sigma", "0.05", "--noise", noise)[0] == 0
        assert read_samples(out).shape == (side, side, 3)


def test_pixels_that_are_not_numbers_are_refused(locreg, tmp_path):
    samples = np.random.default_rng(0).random((40, 40, 3), np.float32)
    samples[3, 4, 0] = np.nan
    save_picture(tmp_path / "nan.tif", samples)
    status, _, err = locreg("denoise", tmp_path / "nan.tif", "-o", tmp_path / "out.tif")
    assert status == 1
    assert "nan.tif holds NaN or infinite pixels" in err
    assert not (tmp_path / "out.tif").exists()


def test_a_level_given_beside_the_noise_of_a_camera_is_used(locreg, tmp_path, noisy):
    out = tmp_path / "out.png"
    status, text, _ = locreg("denoise", noisy, "-o", out, "--noise", "camera", "--sigma", "0.05")
    assert status == 0
    assert "camera noise, sigma 0.0500" in text


def test_measured_channels_are_restored_each_with_a_level_of_its_own(tmp_path, locreg):
    """No channel keeps its noise, none becomes alpha, and a clean one stays as it is."""
    random = np.random.default_rng(2)
    wave = 0.5 + 0.3 * np.sin(np.arange(64) / 9)[:, None] * np.cos(np.arange(64) / 13)
    scene = np.broadcast_to(wave[:, :, None], (64, 64, 4))
    levels = np.array([0.03, 0.1, 0.06, 0.0])
    noisy = scene + levels * random.standard_normal(scene.shape)
    stored = np.rint(noisy.clip(0, 1) * 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig="contig")
    given = ("denoise", tmp_path / "a.tif", "-o", tmp_path / "b.tif", "--report", tmp_path)
    assert locreg(*given)[0] == 0
    assert "Shown: the first of 4 channels" in (tmp_path / "b.tif.html").read_text()
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].tags["ExtraSamples"].value == (0, 0, 0)
        found = file.pages[0].asarray() / 65535
    left = np.sqrt(np.square(found - scene).mean((0, 1)))
    assert (left[:3] < 0.5 * levels[:3]).all()
    assert left[3] < 0.004
