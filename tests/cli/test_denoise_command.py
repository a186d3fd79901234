"""`locreg denoise`: results, records, folders, and files that are never overwritten."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import pyvips
import torch

from conftest import save_picture
from locreg.degradation.camera_noise import add_camera_noise, draw_camera
from locreg.images.image_file import read_samples
from locreg.regularizer.weights import load_weights, save_weights

FAST = ("--steps", "2")


def test_denoise_writes_the_image_and_a_record(locreg, noisy, weight_file):
    out = noisy.with_name("out.png")
    status, text, _ = locreg("denoise", noisy, "-o", out, "--weights", weight_file, "--json")
    assert status == 0
    record = json.loads(text)
    assert read_samples(out).shape == (64, 80, 3)
    assert record["sigma"] == pytest.approx(0.1, abs=0.02)
    assert record["iterations"] == 50
    assert record["status"] == "maximum steps"
    assert {"lam", "energy", "seconds", "weights", "input", "output"} <= record.keys()


def test_the_packaged_weights_clean_a_photograph(locreg, noisy, photograph):
    """The main promise, without any option: at least 5 dB on a noisy photograph."""
    out = noisy.with_name("out.png")
    assert locreg("denoise", noisy, "-o", out)[0] == 0
    clean = photograph[100:164, 150:230].astype(float)
    errors = [np.square(read_samples(p) - clean).mean() for p in (noisy, out)]
    assert 10 * np.log10(errors[0] / errors[1]) > 5


def test_a_clean_photograph_is_hardly_changed(locreg, tmp_path, photograph):
    """At least 45 dB to the input: what is taken for noise in textures is weak."""
    source, out = tmp_path / "clean.png", tmp_path / "out.png"
    save_picture(source, photograph[60:260, 60:260])
    assert locreg("denoise", source, "-o", out)[0] == 0
    change = read_samples(out).astype(float) - read_samples(source)
    assert 20 * np.log10(255 / np.sqrt(np.square(change).mean())) > 45


def test_a_photograph_of_a_camera_is_cleaned(locreg, tmp_path, photograph):
    """The main job, without any option: 2 dB on a simulated photograph, which is a JPEG file."""
    scene = torch.from_numpy(photograph[60:260, 60:260].copy()).permute(2, 0, 1) / 255
    random = np.random.default_rng(1)
    camera = replace(draw_camera(random), shot=0.004, read=1e-5, quality=None)
    taken = add_camera_noise(scene, camera, random).permute(1, 2, 0).numpy()
    source, out = tmp_path / "photo.jpg", tmp_path / "out.png"
    pyvips.Image.new_from_array((255 * taken).round().astype(np.uint8)).jpegsave(source, Q=95)
    status, text, _ = locreg("denoise", source, "-o", out)
    assert status == 0
    assert "camera noise, sigma 0.0" in text
    clean = photograph[60:260, 60:260].astype(float)
    errors = [np.square(read_samples(path) - clean).mean() for path in (source, out)]
    assert 10 * np.log10(errors[0] / errors[1]) > 2


@pytest.mark.slow
def test_a_ridge_critic_is_better_than_that_of_the_paper(locreg, noisy, photograph):
    clean = photograph[100:164, 150:230].astype(float)
    errors = []
    for weights in ("alr-rgb", "ridge-rgb"):
        out = noisy.with_name(f"{weights}.png")
        assert locreg("denoise", noisy, "-o", out, "--weights", weights)[0] == 0
        errors.append(np.square(read_samples(out) - clean).mean())
    assert 10 * np.log10(errors[0] / errors[1]) > 0.5


@pytest.mark.slow
def test_the_ensemble_is_averaged_over_flips_and_turns(locreg, noisy, photograph):
    clean = photograph[100:164, 150:230].astype(float)
    errors, records = [], []
    for k, option in enumerate(([], ["--ensemble"])):
        out = noisy.with_name(f"{k}.png")
        status, text, _ = locreg("denoise", noisy, "-o", out, "--json", *option)
        assert status == 0
        records.append(json.loads(text))
        errors.append(np.square(read_samples(out) - clean).mean())
    assert errors[1] < errors[0]
    assert [record["ensemble"] for record in records] == [False, True]


def test_bfloat16_costs_hardly_any_quality(locreg, noisy):
    images = []
    for precision in ("float32", "bfloat16"):
        out = noisy.with_name(f"{precision}.png")
        status, text, _ = locreg("denoise", noisy, "-o", out, "--precision", precision, "--json")
        assert status == 0
        assert json.loads(text)["precision"] == precision
        images.append(read_samples(out).astype(float))
    assert 0 < np.abs(images[0] - images[1]).mean() < 0.5  # of 255


def test_gradient_descent_is_a_choice(locreg, noisy, weight_file):
    status, text, _ = locreg(
        "denoise", noisy, "-o", noisy.with_name("out.png"), "--weights", weight_file,
        "--solver", "gradient-descent", "--steps", "7", "--lam", "0.01", "--json",
    )  # fmt: skip
    record = json.loads(text)
    assert (status, record["iterations"], record["sigma"], record["lam"]) == (0, 7, None, 0.01)


def test_a_folder_keeps_names_and_structure_and_skips_finished_files(
    locreg, noisy, weight_file, tmp_path
):
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    shutil.copy(noisy, source / "a.png")
    save_picture(source / "deep" / "b.jpg", read_samples(noisy))
    save_picture(source / "c.gif", read_samples(noisy))
    options = ("--weights", weight_file, "--sigma", "0.1", *FAST)
    assert locreg("denoise", source, "-o", target, *options)[0] == 0
    written = sorted(str(p.relative_to(target)) for p in target.rglob("[a-z]*.*"))
    assert written == ["a.png", "c.png", "deep/b.jpg"]
    (target / "a.png").unlink()
    before = (target / "c.png").stat().st_mtime_ns
    status, text, err = locreg("denoise", source, "-o", target, *options)
    assert status == 0
    assert "2 of 3 images are done already" in err
    assert text.count("\n") == 1
    assert (target / "c.png").stat().st_mtime_ns == before


def test_one_bad_file_does_not_stop_a_folder(locreg, noisy, weight_file, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    shutil.copy(noisy, source / "a.png")
    (source / "b.png").write_text("hello")
    shutil.copy(noisy, source / "c.png")
    status, _, err = locreg(
        "denoise", source, "-o", target, "--weights", weight_file, "--sigma", "0.1", *FAST
    )
    assert status == 1
    assert "b.png" in err
    assert "1 of 3 images failed" in err
    assert sorted(p.name for p in target.glob("[a-z]*")) == ["a.png", "c.png"]


def test_an_error_of_all_images_is_printed_once(locreg, noisy, weight_file, tmp_path):
    source, bare = tmp_path / "in", tmp_path / "bare.safetensors"
    source.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(noisy, source / name)
    save_weights(replace(load_weights(weight_file), calibration=None), bare)
    status, _, err = locreg("denoise", source, "-o", tmp_path / "out", "--weights", bare)
    assert status == 2
    assert err.count("These weights hold no calibration: give lam") == 1


@pytest.mark.parametrize(
    ("samples", "interpretation", "suffix"),
    [
        (np.full((20, 20, 4), (90, 60, 200, 7), np.uint8), "srgb", ".png"),
        (np.full((20, 20, 3), 40_000, np.uint16), "rgb16", ".png"),
        (np.full((20, 20, 3), 0.3, np.float32), "scrgb", ".tif"),
    ],
)
def test_depth_and_alpha_are_kept(locreg, tmp_path, weight_file, samples, interpretation, suffix):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    save_picture(source, samples, interpretation)
    status, *_ = locreg(
        "denoise", source, "-o", target, "--weights", weight_file, "--sigma", "0", *FAST
    )
    assert status == 0
    np.testing.assert_array_equal(read_samples(target), samples)


def test_an_input_is_never_overwritten(locreg, noisy, weight_file):
    before = noisy.read_bytes()
    for target in (noisy, noisy.parent):
        status, _, err = locreg("denoise", noisy, "-o", target, "--weights", weight_file)
        assert status == 2
        assert "never overwritten" in err
    status, _, err = locreg("denoise", noisy.parent, "-o", noisy.parent)
    assert status == 2
    assert noisy.read_bytes() == before


def test_a_link_among_the_outputs_does_not_lead_to_an_input(locreg, noisy, weight_file, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    shutil.move(noisy, source / "a.png")
    before = (source / "a.png").read_bytes()
    (out / "a.png").symlink_to(source / "a.png")
    status, _, err = locreg(
        "denoise", source, "-o", out, "--weights", weight_file, "--report", tmp_path / "pages"
    )
    assert status == 2
    assert "never overwritten" in err
    assert (source / "a.png").read_bytes() == before
    status, _, err = locreg("denoise", source, "-o", tmp_path, "--weights", weight_file)
    assert status == 2
    assert "give another folder" in err


def test_a_link_to_itself_cannot_be_written(locreg, noisy, weight_file):
    loop = noisy.with_name("loop.png")
    loop.symlink_to(loop.name)
    status, _, err = locreg(
        "denoise", noisy, "-o", loop, "--weights", weight_file, "--sigma", "0.1", *FAST
    )
    assert status == 1
    assert "cannot be written" in err
