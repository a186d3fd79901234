"""deblur, inpaint and upscale from the command line, on a real photograph."""

import json

import numpy as np
import pytest
import pyvips
import torch

from locreg.cli import main
from locreg.critic import PatchCritic, standard_layers
from locreg.images import ImageFile, read_image, write_image
from locreg.weights import Weights, save_weights

INT = pyvips.GValue.gint_type


@pytest.fixture
def files(tmp_path, photograph):
    """A small colour image with alpha, 16 bits deep, and a mask."""
    pixels = photograph[30:70, 190:226].transpose(2, 0, 1).astype(np.float32) / 255
    alpha = np.full((1, 40, 36), 60000, np.uint16)
    alpha[:, :10] = 0
    write_image(tmp_path / "in.png", pixels, ImageFile(pixels, alpha, "uint16", {}, (4.0, 4.0)))
    mask = np.zeros((1, 40, 36), np.float32)
    mask[:, 20:23, 5:30] = 1
    write_image(tmp_path / "mask.png", mask)
    write_image(tmp_path / "black.png", np.zeros_like(mask))
    write_image(tmp_path / "white.png", np.ones_like(mask))
    write_image(tmp_path / "small.png", mask[:, 1:])
    np.save(tmp_path / "even.npy", np.full((4, 4), 1 / 16))
    np.save(tmp_path / "bright.npy", np.full((3, 3), 1.0))
    return tmp_path


def run(capsys, monkeypatch, *arguments):
    """Exit status, standard output, standard error."""
    monkeypatch.setattr("sys.argv", ["locreg", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, *capsys.readouterr()


TASKS = {
    "deblur": ("--kernel", "gaussian:5:1"),
    "inpaint": ("--mask", "mask.png"),
    "upscale": ("--factor", "3"),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_task_keeps_depth_and_alpha_and_tells_what_it_did(
    files, capsys, monkeypatch, task, solver
):
    monkeypatch.chdir(files)
    status, out, err = run(
        capsys, monkeypatch, task, "in.png", "-o", "out.png", *TASKS[task],
        "--sigma", "0.02", "--steps", "50", "--solver", solver, "--json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert record["task"] == task
    assert record["gradients"] <= 51
    assert record["history"][-1]["energy"] < record["history"][0]["energy"]
    before, after = read_image(files / "in.png"), read_image(files / "out.png")
    factor = 3 if task == "upscale" else 1
    assert after.pixels.shape == (3, 40 * factor, 36 * factor)
    assert after.sample_type == "uint16"
    np.testing.assert_array_equal(
        after.alpha, before.alpha.repeat(factor, axis=1).repeat(factor, axis=2)
    )


def test_a_grey_image_and_a_chosen_lam(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    grey = read_image(files / "in.png").pixels.mean(0, keepdims=True)
    write_image(files / "grey.png", np.repeat(grey, 3, axis=0))
    status, out, err = run(
        capsys, monkeypatch, "deblur", "grey.png", "-o", "out.png", "--kernel", "uniform:3",
        "--sigma", "0.02", "--lam", "discrepancy", "--steps", "20", "--solver", "lbfgs", "--json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert json.loads(out)["weights"] == "ridge-gray"
    pixels = read_image(files / "out.png").pixels
    assert pixels.shape == (3, 40, 36)


@pytest.mark.parametrize(
    ("more", "weights"),
    [
        ((), "denoise-rgb"),
        (("--solver", "gradient-step"), "denoise-rgb"),
        (("--solver", "adam", "--steps", "2"), "ridge-rgb"),
        (("--lam", "score", "--steps", "25"), "ridge-rgb"),
    ],
)
def test_the_weights_that_restore_best_are_chosen(files, capsys, monkeypatch, more, weights):
    monkeypatch.chdir(files)
    grey = read_image(files / "in.png").pixels.mean(0, keepdims=True)
    write_image(files / "grey.png", grey)
    for name, expected in (("in.png", weights), ("grey.png", weights.replace("rgb", "gray"))):
        command = ("denoise", name, "-o", "out.png", "--sigma", "0.05", "--json", *more)
        status, out, err = run(capsys, monkeypatch, *command)
        assert (status, err) == (0, "")
        assert json.loads(out)["weights"] == expected


def test_an_image_without_white_noise_gets_a_hint(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    ramp = np.linspace(0, 1, 60, dtype=np.float32)
    write_image(files / "smooth.png", np.broadcast_to(ramp, (3, 60, 60)).copy())
    status, _, err = run(capsys, monkeypatch, "denoise", "smooth.png", "-o", "out.png")
    assert status == 0
    assert "hardly any white noise was found" in err
    assert "--sigma, such as 0.03" in err
    command = ("denoise", "smooth.png", "-o", "out.png", "--sigma", "0.03")
    assert run(capsys, monkeypatch, *command)[2] == ""


def test_a_file_that_hardly_uses_its_range_gets_a_hint(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    dark = np.linspace(0, 1 / 16, 900, dtype=np.float32).reshape(1, 30, 30)
    write_image(files / "dark.png", dark, ImageFile(dark, None, "uint16", {}))
    command = ("denoise", "dark.png", "-o", "out.png", "--sigma", "0.03")
    status, _, err = run(capsys, monkeypatch, *command)
    assert status == 0
    assert "dark.png: the brightest pixel has 0.063 of the largest value" in err
    assert "--white, such as 4095" in err
    assert run(capsys, monkeypatch, *command, "--white", "4096")[2] == ""


@pytest.mark.parametrize("task", [*TASKS, "denoise"])
def test_a_report_is_one_page_with_four_pictures(files, capsys, monkeypatch, task):
    monkeypatch.chdir(files)
    (files / "photos" / "inner").mkdir(parents=True)
    (files / "in.png").rename(files / "photos" / "inner" / "in.png")
    status, _, err = run(
        capsys, monkeypatch, task, "photos", "-o", "out", *TASKS.get(task, ()),
        "--sigma", "0.02", "--solver", "adam", "--steps", "5", "--report", "reports",
    )  # fmt: skip
    assert (status, err) == (0, "")
    path = files / "reports" / "inner" / "in.png.html"
    page = path.read_text()
    assert page.count("data:image/png;base64,") == 4
    for words in (f"<p>{task}, ", "noise level 0.0200", "90% of clean images", "correlated by"):
        assert words in page


def test_a_page_is_made_for_an_image_that_is_done_already(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    (files / "photos").mkdir()
    (files / "in.png").rename(files / "photos" / "in.png")
    command = ("denoise", "photos", "-o", "out", "--sigma", "0")
    assert run(capsys, monkeypatch, *command)[0] == 0
    status, _, err = run(capsys, monkeypatch, *command, "--report", "reports")
    assert (status, err) == (0, "")
    assert "Too little to be looked at" in (files / "reports" / "in.png.html").read_text()
    status, _, err = run(capsys, monkeypatch, *command, "--report", "reports")
    assert "1 of 1 images are done already" in err


def test_a_report_on_a_line_of_pixels(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    pixels = np.random.default_rng(0).random((3, 1, 300), dtype=np.float32)
    write_image(files / "line.png", pixels)
    status, _, err = run(
        capsys, monkeypatch, "denoise", "line.png", "-o", "out.png", "--sigma", "0.1",
        "--report", "reports",
    )  # fmt: skip
    assert (status, err) == (0, "")


def test_weights_that_know_the_noise_level_choose_their_solver(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    layers = standard_layers((4,) * 6, "silu")
    critic = PatchCritic(layers, noise_conditioned=True).requires_grad_(False)
    save_weights(Weights(critic=critic), files / "energy.safetensors")
    weights = ("--weights", "energy.safetensors", "--json")
    for command, steps in (("denoise",), 1), (("deblur", "--kernel", "uniform:3"), 16):
        status, out, err = run(capsys, monkeypatch, *command, "in.png", "-o", "out.png", *weights)
        assert (status, err) == (0, "")
        record = json.loads(out)
        assert record["iterations"] == steps
        assert record["sigma"] > 0
        assert len(record["history"]) == (1 if steps == 1 else steps + 1)
        (files / "out.png").unlink()
    report = ("denoise", "in.png", "-o", "out.png", *weights, "--report", "reports")
    assert run(capsys, monkeypatch, *report)[0] == 0
    assert "90% of clean images" in (files / "reports" / "out.png.html").read_text()
    (files / "out.png").unlink()
    several = ("denoise", "in.png", "-o", "out.png", *weights, "--steps", "3")
    assert json.loads(run(capsys, monkeypatch, *several)[1])["iterations"] == 3
    score = ("score", "in.png", "-o", "map.png", *weights)
    assert "use the weights of a critic" in run(capsys, monkeypatch, *score)[2]


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
def test_mistakes_are_one_sentence(files, capsys, monkeypatch, arguments, status, says):
    monkeypatch.chdir(files)
    found, out, err = run(capsys, monkeypatch, *arguments, "-o", "out.png")
    assert found == status
    assert says in err
    assert err.count("\n") == 1
    assert out == ""
    assert not (files / "out.png").exists()


def test_files_that_are_read_beside_the_image_are_not_overwritten(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    before = (files / "mask.png").read_bytes()
    given = ("inpaint", "in.png", "--mask", "mask.png", "-o", "mask.png")
    status, _, err = run(capsys, monkeypatch, *given)
    assert status == 2
    assert "mask.png is an input itself" in err
    assert (files / "mask.png").read_bytes() == before


@pytest.mark.parametrize(
    ("turn", "mask_turn", "size", "status"),
    [(3, 1, (40, 36), 1), (3, 3, (40, 36), 0), (6, 1, (40, 36), 0), (6, 1, (36, 36), 1),
     (1, 1, (40, 36), 0)],
)  # fmt: skip
def test_a_mask_that_is_turned_otherwise_is_refused(
    files, capsys, monkeypatch, turn, mask_turn, size, status
):
    """Drawn over what a viewer shows, it would be filled in another place, without a word."""
    monkeypatch.chdir(files)
    for name, orientation, channels in (("turned", turn, 3), ("drawn", mask_turn, 1)):
        pixels = np.full((channels, *size), 0.4, np.float32)
        pixels[:, 5:8, 5:20] = 1
        kept = ImageFile(pixels, None, "uint8", {"orientation": (INT, orientation)})
        write_image(files / f"{name}.png", pixels, kept)
        assert read_image(files / f"{name}.png").orientation == orientation
    given = ("inpaint", "turned.png", "--mask", "drawn.png", "-o", "out.png", "--sigma", "0")
    found, _, err = run(capsys, monkeypatch, *given, "--steps", "2")
    assert found == status
    assert ("not turned alike" in err) == (status == 1)


def test_a_line_of_pixels_tells_no_noise(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    write_image(files / "line.png", np.full((1, 1, 48), 0.4, np.float32))
    mask = np.zeros((1, 1, 48), np.float32)
    mask[:, :, 0::2] = 1
    write_image(files / "dots.png", mask)
    given = ("inpaint", "line.png", "--mask", "dots.png", "-o", "out.png")
    status, _, err = run(capsys, monkeypatch, *given)
    assert status == 1
    assert "Too few neighbouring pixels" in err


def test_an_image_that_fails_does_not_stop_the_others(files, capsys, monkeypatch):
    """One is flat, so that no noise is found for the rule; one does not fit into memory."""
    monkeypatch.chdir(files)
    (files / "many").mkdir()
    write_image(files / "many" / "flat.png", np.full((3, 40, 40), 0.5, dtype=np.float32))
    noisy = np.random.default_rng(0).normal(0.5, 0.1, (3, 40, 40)).astype(np.float32)
    write_image(files / "many" / "noisy.png", noisy)
    rule = ("denoise", "many", "-o", "out", "--weights", "alr-rgb", "--lam", "discrepancy")
    status, _, err = run(capsys, monkeypatch, *rule, "--steps", "5")
    assert status == 1
    assert "flat.png: This choice of lam needs noise" in err
    assert [path.name for path in (files / "out").iterdir()] == ["noisy.png"]

    def exhausted(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def without_memory(*_, **__):
        raise MemoryError

    for name, failing in (
        ("restoration.restore", exhausted),
        ("images.read_image", without_memory),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"locreg.{name}", failing)
            status, _, err = run(capsys, patch, "denoise", "many", "-o", "other")
        assert status == 1
        assert err.count("does not fit into the memory") == 2


def test_noise_stronger_than_white_fails_for_its_image_alone(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    (files / "counts").mkdir()
    random = np.random.default_rng(0)
    for name, level in (("a.tif", 2.0), ("b.tif", 0.1)):
        pixels = random.normal(0.5, level, (1, 40, 40)).astype(np.float32)
        write_image(files / "counts" / name, pixels, ImageFile(pixels, None, "float32", {}))
    status, _, err = run(capsys, monkeypatch, "denoise", "counts", "-o", "out")
    assert status == 1
    assert "a.tif: The noise is estimated at" in err
    assert "--white" in err
    assert [path.name for path in (files / "out").iterdir()] == ["b.tif"]
