"""deblur, inpaint and upscale from the command line, on a real photograph."""

import json
import re

import numpy as np
import pytest

from conftest import save_picture
from locreg.images.image_file import ImageFile, read_image, read_samples, write_image
from locreg.images.metadata import Metadata
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.regularizer.weights import Weights, save_weights


@pytest.fixture
def files(tmp_path, photograph):
    """A small colour image with alpha, 16 bits deep, and masks; written by libvips and numpy."""
    samples = np.full((40, 36, 4), 60000, np.uint16)
    samples[..., :3] = photograph[30:70, 190:226].astype(np.uint16) * 257
    samples[:10, :, 3] = 0
    save_picture(tmp_path / "in.png", samples, "rgb16")
    mask = np.zeros((40, 36), np.uint8)
    mask[20:23, 5:30] = 255
    save_picture(tmp_path / "mask.png", mask, "b-w")
    save_picture(tmp_path / "black.png", np.zeros_like(mask), "b-w")
    save_picture(tmp_path / "white.png", np.full_like(mask, 255), "b-w")
    save_picture(tmp_path / "small.png", mask[1:], "b-w")
    np.save(tmp_path / "even.npy", np.full((4, 4), 1 / 16))
    np.save(tmp_path / "bright.npy", np.full((3, 3), 1.0))
    return tmp_path


TASKS = {
    "deblur": ("--kernel", "gaussian:5:1"),
    "inpaint": ("--mask", "mask.png"),
    "upscale": ("--factor", "2"),
}


@pytest.mark.parametrize(
    ("task", "solver"),
    [
        ("deblur", "adam"),
        ("inpaint", "lbfgs"),
        ("upscale", "adam"),
        pytest.param("deblur", "lbfgs", marks=pytest.mark.slow),
        pytest.param("inpaint", "adam", marks=pytest.mark.slow),
        pytest.param("upscale", "lbfgs", marks=pytest.mark.slow),
    ],
)
def test_a_task_keeps_depth_and_alpha_and_records_what_it_did(
    files, locreg, monkeypatch, task, solver
):
    monkeypatch.chdir(files)
    status, out, err = locreg(task, "in.png", "-o", "out.png", *TASKS[task],
        "--sigma", "0.02", "--steps", "50", "--solver", solver, "--json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert record["task"] == task
    assert record["gradients"] <= 51
    assert record["history"][-1]["energy"] < record["history"][0]["energy"]
    before, after = read_image(files / "in.png"), read_image(files / "out.png")
    factor = 2 if task == "upscale" else 1
    assert after.pixels.shape == (3, 40 * factor, 36 * factor)
    assert after.sample_type == "uint16"
    np.testing.assert_array_equal(after.alpha, before.enlarged(factor).alpha)


def test_a_grey_image_and_a_chosen_lam(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    grey = read_image(files / "in.png").pixels.mean(0, keepdims=True)[:, :20, :18]
    write_image(files / "grey.png", np.repeat(grey, 3, axis=0))
    status, out, err = locreg("deblur", "grey.png", "-o", "out.png", "--kernel", "uniform:3",
        "--sigma", "0.02", "--lam", "discrepancy", "--steps", "20", "--solver", "lbfgs", "--json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert json.loads(out)["weights"] == "ridge-gray"
    pixels = read_image(files / "out.png").pixels
    assert pixels.shape == (3, 20, 18)


@pytest.mark.parametrize(
    ("more", "weights"),
    [
        ((), "denoise-rgb"),
        (("--solver", "gradient-step"), "denoise-rgb"),
        (("--solver", "adam", "--steps", "2"), "ridge-rgb"),
        pytest.param(("--lam", "score", "--steps", "25"), "ridge-rgb", marks=pytest.mark.slow),
    ],
)
def test_the_weights_that_restore_best_are_chosen(files, locreg, monkeypatch, more, weights):
    monkeypatch.chdir(files)
    grey = read_image(files / "in.png").pixels.mean(0, keepdims=True)
    write_image(files / "grey.png", grey)
    for name, expected in (("in.png", weights), ("grey.png", weights.replace("rgb", "gray"))):
        command = ("denoise", name, "-o", "out.png", "--sigma", "0.05", "--json", *more)
        status, out, err = locreg(*command)
        assert (status, err) == (0, "")
        assert json.loads(out)["weights"] == expected


def test_a_smooth_image_is_hardly_changed(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    ramp = np.linspace(0, 1, 60, dtype=np.float32)
    write_image(files / "smooth.png", np.broadcast_to(ramp, (3, 60, 60)).copy())
    assert locreg("denoise", "smooth.png", "-o", "out.png")[0] == 0
    change = read_image(files / "out.png").pixels - read_image(files / "smooth.png").pixels
    assert np.abs(change).max() < 2.5 / 255


def test_the_line_says_what_was_found_and_removed(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    status, out, _ = locreg("denoise", "in.png", "-o", "out.png")
    assert status == 0
    assert re.fullmatch(r"out\.png: white noise, sigma 0\.\d+, removed 0\.\d+, lam .*\n", out)
    status, out, _ = locreg(
        "denoise", "in.png", "-o", "out.png", "--gain", "0.01", "--read-noise", "0.02"
    )
    assert status == 0
    assert "noise that grows with brightness (gain 0.01, read noise 0.02)" in out


def test_strength_0_writes_the_input(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    assert locreg("denoise", "in.png", "-o", "out.png", "--strength", "0")[0] == 0
    assert np.array_equal(read_samples(files / "in.png"), read_samples(files / "out.png"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--strength", "-1"), "strength must be from 0"),
        (("--strength", "5"), "strength must be from 0"),
        (("--noise", "poisson-gaussian", "--sigma", "0.1"), "no single level"),
    ],
)
def test_noise_that_cannot_be_meant_is_wrong_usage(files, locreg, monkeypatch, more, words):
    monkeypatch.chdir(files)
    status, _, err = locreg("denoise", "in.png", "-o", "out.png", *more)
    assert status == 2
    assert words in err
    assert not (files / "out.png").exists()


def test_a_file_that_hardly_uses_its_range_gets_a_hint(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    dark = np.linspace(0, 1 / 16, 900, dtype=np.float32).reshape(1, 30, 30)
    write_image(files / "dark.png", dark, ImageFile(dark, None, "uint16"))
    command = ("denoise", "dark.png", "-o", "out.png", "--sigma", "0.03")
    status, _, err = locreg(*command)
    assert status == 0
    assert "dark.png: the brightest pixel has 0.063 of the largest value" in err
    assert "--white, such as 4095" in err
    assert locreg(*command, "--white", "4096")[2] == ""


@pytest.mark.parametrize(
    "task",
    [
        "inpaint",
        pytest.param("denoise", marks=pytest.mark.slow),
        pytest.param("deblur", marks=pytest.mark.slow),
        pytest.param("upscale", marks=pytest.mark.slow),
    ],
)
def test_a_report_is_one_page_with_its_pictures(files, locreg, monkeypatch, task):
    monkeypatch.chdir(files)
    (files / "photos" / "inner").mkdir(parents=True)
    (files / "in.png").rename(files / "photos" / "inner" / "in.png")
    status, _, err = locreg(task, "photos", "-o", "out", *TASKS.get(task, ()),
        "--sigma", "0.02", "--solver", "adam", "--steps", "5", "--report", "reports",
    )  # fmt: skip
    assert (status, err) == (0, "")
    path = files / "reports" / "inner" / "in.png.html"
    page = path.read_text()
    assert page.count("data:image/png;base64,") == (4 if task == "upscale" else 5)
    for words in (f"<p>{task}, ", "noise level 0.0200", "90% of clean images", "correlated by"):
        assert words in page


def test_a_page_is_made_for_an_image_that_is_done_already(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    (files / "photos").mkdir()
    (files / "in.png").rename(files / "photos" / "in.png")
    command = ("denoise", "photos", "-o", "out", "--sigma", "0")
    assert locreg(*command)[0] == 0
    status, _, err = locreg(*command, "--report", "reports")
    assert (status, err) == (0, "")
    assert "Too little was removed to show" in (files / "reports" / "in.png.html").read_text()
    status, _, err = locreg(*command, "--report", "reports")
    assert "1 of 1 images are done already" in err


@pytest.mark.slow
def test_a_report_on_a_line_of_pixels(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    pixels = np.random.default_rng(0).random((3, 1, 300), dtype=np.float32)
    write_image(files / "line.png", pixels)
    status, _, err = locreg("denoise", "line.png", "-o", "out.png", "--sigma", "0.1",
        "--report", "reports",
    )  # fmt: skip
    assert (status, err) == (0, "")


def test_weights_that_know_the_noise_level_choose_their_solver(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    layers = standard_layers((4,) * 6, "silu")
    critic = PatchCritic(layers, noise_conditioned=True).requires_grad_(False)
    save_weights(Weights(critic=critic), files / "energy.safetensors")
    weights = ("--weights", "energy.safetensors", "--json")
    for command, steps in (("denoise",), 1), (("deblur", "--kernel", "uniform:3"), 16):
        status, out, err = locreg(*command, "in.png", "-o", "out.png", *weights)
        assert (status, err) == (0, "")
        record = json.loads(out)
        assert record["iterations"] == steps
        assert record["sigma"] > 0
        assert len(record["history"]) == (1 if steps == 1 else steps + 1)
        (files / "out.png").unlink()
    report = ("denoise", "in.png", "-o", "out.png", *weights, "--report", "reports")
    assert locreg(*report)[0] == 0
    assert "90% of clean images" in (files / "reports" / "out.png.html").read_text()
    (files / "out.png").unlink()
    several = ("denoise", "in.png", "-o", "out.png", *weights, "--steps", "3")
    assert json.loads(locreg(*several)[1])["iterations"] == 3
    score = ("score", "in.png", "-o", "map.png", *weights)
    assert "use the weights of a critic" in locreg(*score)[2]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("deblur", "in.png", "--kernel", "gaussian:8:3"), 2, "odd"),
        (("deblur", "in.png", "--kernel", "nothing.npy"), 1, "neither a file nor a kernel"),
        (("deblur", "in.png", "--kernel", "even.npy"), 1, "even side has no centre"),
        (("deblur", "in.png", "--kernel", "bright.npy"), 1, "--normalize-kernel"),
        (("deblur", "in.png", "--kernel", "uniform:41"), 1, "in.png: The kernel (41x41 pixels)"),
        (("inpaint", "in.png", "--mask", "nothing.png"), 1, "nothing.png does not exist"),
        (("inpaint", "in.png", "--mask", "black.png"), 1, "black all over"),
        (("inpaint", "in.png", "--mask", "white.png"), 1, "white all over"),
        (("inpaint", "in.png", "--mask", "small.png"), 1, "36x39 pixels and the image 36x40"),
        (("upscale", "in.png", "--factor", "1"), 2, "factor"),
        (("upscale", "in.png", "--lam", "best"), 2, "discrepancy or score"),
        (("upscale", "in.png", "--sigma", "25"), 2, "25/255"),
        (("denoise", "in.png", "--sigma", "0", "--lam", "sure"), 2, "needs noise"),
        (("denoise", "in.png", "--sigma", "0.9"), 1, "trained for noise in 0:0.5"),
    ],
)
def test_mistakes_are_one_sentence(files, locreg, monkeypatch, arguments, status, says):
    monkeypatch.chdir(files)
    found, out, err = locreg(*arguments, "-o", "out.png")
    assert found == status
    assert says in err
    assert err.count("\n") == 1
    assert out == ""
    assert not (files / "out.png").exists()


def test_files_that_are_read_beside_the_image_are_not_overwritten(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    before = (files / "mask.png").read_bytes()
    given = ("inpaint", "in.png", "--mask", "mask.png", "-o", "mask.png")
    status, _, err = locreg(*given)
    assert status == 2
    assert "mask.png is an input itself" in err
    assert (files / "mask.png").read_bytes() == before


@pytest.mark.parametrize(
    ("turn", "mask_turn", "size", "status"),
    [(3, 1, (40, 36), 1), (3, 3, (40, 36), 0), (6, 1, (40, 36), 0), (6, 1, (36, 36), 1),
     (1, 1, (40, 36), 0)],
)  # fmt: skip
def test_a_mask_that_is_turned_otherwise_is_refused(
    files, locreg, monkeypatch, turn, mask_turn, size, status
):
    """Drawn over what a viewer shows, it would be filled in another place, without a word."""
    monkeypatch.chdir(files)
    for name, orientation, channels in (("turned", turn, 3), ("drawn", mask_turn, 1)):
        pixels = np.full((channels, *size), 0.4, np.float32)
        pixels[:, 5:8, 5:20] = 1
        kept = ImageFile(pixels, None, "uint8", Metadata(orientation=orientation))
        write_image(files / f"{name}.png", pixels, kept)
        assert read_image(files / f"{name}.png").orientation == orientation
    given = ("inpaint", "turned.png", "--mask", "drawn.png", "-o", "out.png", "--sigma", "0")
    found, _, err = locreg(*given, "--steps", "2")
    assert found == status
    assert ("different EXIF orientations" in err) == (status == 1)


def test_no_noise_can_be_found_in_a_line_of_pixels(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    write_image(files / "line.png", np.full((1, 1, 48), 0.4, np.float32))
    mask = np.zeros((1, 1, 48), np.float32)
    mask[:, :, 0::2] = 1
    write_image(files / "dots.png", mask)
    given = ("inpaint", "line.png", "--mask", "dots.png", "-o", "out.png")
    status, _, err = locreg(*given)
    assert status == 1
    assert "Too few neighbouring pixels" in err


def test_an_image_that_fails_does_not_stop_the_others(files, locreg, monkeypatch):
    """One is flat: no noise is found, which the rule for lam needs."""
    monkeypatch.chdir(files)
    (files / "many").mkdir()
    write_image(files / "many" / "flat.png", np.full((3, 40, 40), 0.5, dtype=np.float32))
    noisy = np.random.default_rng(0).normal(0.5, 0.1, (3, 40, 40)).astype(np.float32)
    write_image(files / "many" / "noisy.png", noisy)
    rule = ("denoise", "many", "-o", "out", "--weights", "alr-rgb", "--lam", "discrepancy")
    status, _, err = locreg(*rule, "--steps", "5")
    assert status == 1
    assert "flat.png: This choice of lam needs noise" in err
    assert [path.name for path in (files / "out").glob("*.png")] == ["noisy.png"]


def test_noise_stronger_than_white_fails_for_its_image_alone(files, locreg, monkeypatch):
    monkeypatch.chdir(files)
    (files / "counts").mkdir()
    random = np.random.default_rng(0)
    for name, level in (("a.tif", 2.0), ("b.tif", 0.1)):
        pixels = random.normal(0.5, level, (1, 40, 40)).astype(np.float32)
        write_image(files / "counts" / name, pixels, ImageFile(pixels, None, "float32"))
    status, _, err = locreg("denoise", "counts", "-o", "out")
    assert status == 1
    assert "a.tif holds values up to" in err
    assert "--white" in err
    assert [path.name for path in (files / "out").glob("*.tif")] == ["b.tif"]
