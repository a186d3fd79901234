"""The command line, end to end: what it writes, what it says, and how it fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips

from locreg.images import read_samples
from locreg.training_files import listing
from locreg.version import __version__
from locreg.weights import load_weights, save_weights
from test_images import BAD_FILES
from test_weights import BAD_FILES as BAD_WEIGHTS

FAST = ("--steps", "2")


def save(path, samples, interpretation="srgb", **options):
    image = pyvips.Image.new_from_array(samples)
    image.copy(interpretation=interpretation).write_to_file(str(path), **options)


@pytest.fixture
def noisy(tmp_path, photograph):
    """A noisy crop of a real photograph."""
    random = np.random.default_rng(0)
    crop = photograph[100:164, 150:230] + 25.5 * random.standard_normal((64, 80, 3))
    path = tmp_path / "noisy.png"
    save(path, crop.clip(0, 255).astype(np.uint8))
    return path


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


def test_the_version_is_told(locreg):
    assert locreg("--version") == (0, f"locreg {__version__}\n", "")


def test_the_packaged_weights_clean_a_photograph(locreg, noisy, photograph):
    """The main promise, without any option: at least 5 dB on a noisy photograph."""
    out = noisy.with_name("out.png")
    assert locreg("denoise", noisy, "-o", out)[0] == 0
    clean = photograph[100:164, 150:230].astype(float)
    errors = [np.square(read_samples(p) - clean).mean() for p in (noisy, out)]
    assert 10 * np.log10(errors[0] / errors[1]) > 5


def test_a_ridge_critic_is_better_than_that_of_the_paper(locreg, noisy, photograph):
    clean = photograph[100:164, 150:230].astype(float)
    errors = []
    for weights in ("alr-rgb", "ridge-rgb"):
        out = noisy.with_name(f"{weights}.png")
        assert locreg("denoise", noisy, "-o", out, "--weights", weights)[0] == 0
        errors.append(np.square(read_samples(out) - clean).mean())
    assert 10 * np.log10(errors[0] / errors[1]) > 0.5


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
    save(source / "deep" / "b.jpg", read_samples(noisy))
    save(source / "c.gif", read_samples(noisy))
    options = ("--weights", weight_file, "--sigma", "0.1", *FAST)
    assert locreg("denoise", source, "-o", target, *options)[0] == 0
    written = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
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
    assert sorted(p.name for p in target.iterdir()) == ["a.png", "c.png"]


def test_what_is_wrong_with_all_images_is_said_once(locreg, noisy, weight_file, tmp_path):
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
    save(source, samples, interpretation)
    status, *_ = locreg(
        "denoise", source, "-o", target, "--weights", weight_file, "--sigma", "0", *FAST
    )
    assert status == 0
    np.testing.assert_array_equal(read_samples(target), samples)


@pytest.mark.parametrize("case", BAD_FILES, ids=[case[0] for case in BAD_FILES])
def test_bad_images_fail_in_one_sentence(locreg, tmp_path, weight_file, case):
    name, make, words = case
    make(tmp_path / name)
    present = set(tmp_path.iterdir())
    status, out, err = locreg(
        "denoise", tmp_path / name, "-o", tmp_path / "out.png", "--weights", weight_file
    )
    assert status == 1
    assert out == ""
    assert err.startswith("locreg: error: ")
    assert err.count("\n") == 1
    assert name in err
    assert any(word in err for word in words.split("|"))
    assert set(tmp_path.iterdir()) == present


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--sigma", "25"), 2, "25/255"),
        (("--sigma", "loud"), 2, "number or auto"),
        (("--sigma=-1",), 2, "at least 0"),
        (("--lam=-0.5",), 2, "lam must be at least 0"),
        (("--steps", "0"), 2, "steps must be at least 1"),
        (("--weights", "nothing"), 1, "alr-gray, alr-rgb, denoise-gray, denoise-rgb"),
        (("--device", "cuda"), 1, "No CUDA device"),
        (("--solver", "newton"), 2, "newton"),
        (("--no-such-option",), 2, "no-such-option"),
    ],
)
def test_wrong_options_fail_in_one_sentence(locreg, noisy, options, status, words):
    import torch

    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    target = noisy.with_name("out.png")
    found, _, err = locreg("denoise", noisy, "-o", target, *options)
    assert found == status
    assert words in err
    assert "Traceback" not in err
    assert not target.exists()


@pytest.mark.parametrize("case", BAD_WEIGHTS, ids=[case[1] for case in BAD_WEIGHTS])
def test_bad_weights_fail_in_one_sentence(locreg, noisy, case):
    make, words = case
    weights, target = noisy.with_name("w.safetensors"), noisy.with_name("out.png")
    make(weights)
    for command in (("denoise", noisy, "-o", target, "--weights"), ("info",)):
        status, out, err = locreg(*command, weights)
        assert status == 1
        assert out == ""
        assert words in err
        assert "w.safetensors" in err
        assert err.count("\n") == 1
    assert not target.exists()


def test_an_empty_folder_fails_in_one_sentence(locreg, tmp_path, weight_file):
    folder = tmp_path / "empty"
    folder.mkdir()
    status, _, err = locreg("denoise", folder, "-o", tmp_path / "out", "--weights", weight_file)
    assert status == 1
    assert "empty holds no images" in err
    assert not (tmp_path / "out").exists()


def test_training_names_and_counts_the_files_it_cannot_use(locreg, tmp_path, photograph, caplog):
    folder = tmp_path / "clean"
    folder.mkdir()
    for k in range(5):
        save(folder / f"{k}.jpg", photograph[40 * k : 40 * k + 40, 100:160])
    (folder / "broken.jpg").write_text("hello")
    (folder / "zero.png").write_bytes(b"")
    status, _, err = locreg(
        "train", "--clean", folder, "--noise", "0.1", "-o", tmp_path / "w.safetensors",
        "--iterations", "3", "--widths", *["3"] * 6, "--batch", "2", "--held-out", "0",
        "--calibration-images", "0",
    )  # fmt: skip
    assert status == 0
    assert "2 files could not be used" in err
    assert "broken.jpg" in caplog.text
    assert "zero.png" in caplog.text
    assert (tmp_path / "w.safetensors").exists()


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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_restored(noisy, weight_file, tmp_path):
    """In a process of its own: the test's standard output takes any name."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    names = [os.fsdecode(name) for name in (b"b\xff.png", b"c.png")]
    for name in names:
        shutil.copy(noisy, source / name)
    command = ["denoise", source, "-o", out, "--weights", weight_file, "--sigma", "0.1", *FAST]
    done = subprocess.run(
        [sys.executable, "-c", "from locreg.cli import main; main()", *map(str, command),
         "--report", str(tmp_path / "pages")],
        capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == set(names)
    assert len(listing(sorted(source.iterdir()))) == 8


def test_an_unwritable_output_fails_in_one_sentence(locreg, noisy, weight_file):
    if not Path("/proc").is_dir():
        pytest.skip("needs a folder that nobody can write to")
    status, _, err = locreg(
        "denoise", noisy, "-o", "/proc/out.png", "--weights", weight_file, "--sigma", "0.1", *FAST
    )
    assert status == 1
    assert "/proc/out.png cannot be written" in err


def test_a_full_disk_fails_in_one_sentence(locreg, noisy, weight_file, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    present = set(noisy.parent.iterdir())
    status, _, err = locreg(
        "denoise", noisy, "-o", noisy.with_name("out.png"), "--weights", weight_file,
        "--sigma", "0.1", *FAST,
    )  # fmt: skip
    assert status == 1
    assert "No space left on device" in err
    assert set(noisy.parent.iterdir()) == present


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_ended_leaves_nothing_half_written(
    locreg, noisy, weight_file, monkeypatch, number
):
    monkeypatch.setattr("os.fsync", lambda _: os.kill(os.getpid(), number))
    present = set(noisy.parent.iterdir())
    status, _, err = locreg(
        "denoise", noisy, "-o", noisy.with_name("out.png"), "--weights", weight_file,
        "--sigma", "0.1", *FAST,
    )  # fmt: skip
    assert (status, err.splitlines()[-1]) == (130, "locreg: interrupted.")
    assert set(noisy.parent.iterdir()) == present


def test_score_draws_a_picture_and_tells_the_mean(locreg, noisy, weight_file):
    target = noisy.with_name("map.png")
    status, text, _ = locreg("score", noisy, "-o", target, "--weights", weight_file)
    assert status == 0
    assert "mean score" in text
    assert "90% of clean training images" in text
    assert min(read_samples(target).shape[:2]) > 100
    status, text, _ = locreg("score", noisy, "-o", target, "--weights", weight_file, "--json")
    assert {"mean_score", "clean_images", "degraded_images"} <= json.loads(text).keys()
    assert locreg("score", noisy, "-o", noisy, "--weights", weight_file)[0] == 2
    assert locreg("score", noisy, "-o", noisy.with_name("map.doc"))[0] == 1


def test_info_tells_what_a_file_holds(locreg, weight_file):
    status, text, _ = locreg("info", weight_file)
    assert status == 0
    assert "receptive_field: 5" in text
    record = json.loads(locreg("info", weight_file, "--json")[1])
    assert record["parameters"] == 3 * 4 * 9 + 4 + 4 * 9
    assert locreg("info", "nothing")[0] == 1


def test_the_denoising_energy_is_described(locreg):
    record = json.loads(locreg("info", "denoise-rgb", "--json")[1])
    assert record["noise_conditioned"]
    assert (record["in_channels"], record["receptive_field"]) == (3, 15)
    assert record["training"]["command"].startswith("locreg train-denoiser")
    assert record["training"]["noise"] == "0:0.5"
    assert record["criterion"]["name"] == "denoising"


def test_packaged_weights_are_small_and_described(locreg):
    from importlib import resources

    folder = Path(str(resources.files("locreg"))) / "packaged"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    for name, channels in (("denoise-rgb", 3), ("denoise-gray", 1)):
        record = json.loads(locreg("info", name, "--json")[1])
        assert (record["in_channels"], record["receptive_field"]) == (channels, 15)
        assert record["noise_conditioned"]
        assert record["training"]["command"].startswith("locreg train-denoiser")
    for name, channels in (("alr-rgb", 3), ("alr-gray", 1)):
        record = json.loads(locreg("info", name, "--json")[1])
        assert (record["in_channels"], record["receptive_field"]) == (channels, 15)
        assert record["training"]["iterations_done"] >= 30_000
        assert record["training"]["noise"] == "0.05:0.3"
        assert record["training"]["command"].startswith("locreg train")
        assert record["training"]["validations"]
        assert record["calibration"]["lam_polynomial"]
    for name, channels in (("ridge-rgb", 3), ("ridge-gray", 1)):
        record = json.loads(locreg("info", name, "--json")[1])
        assert (record["in_channels"], record["receptive_field"]) == (channels, 13)
        assert record["training"]["command"].startswith("locreg train ")
        assert record["calibration"]["contrast_polynomial"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--noise", "25"), 2, "25/255"),
        (("--noise", "0.3:0.1"), 2, "low <= high"),
        ((), 2, "either"),
        (("--noise", "0.1", "--iterations", "0"), 2, "iterations"),
        (("--noise", "0.1", "--channels", "2"), 2, "channels"),
        (("--noise", "0.1", "--filters", "8"), 2, "train-ridge"),
        (("--noise", "0.1"), 1, "holds no images"),
    ],
)
def test_wrong_training_fails_in_one_sentence(locreg, tmp_path, arguments, status, words):
    folder = tmp_path / "empty"
    folder.mkdir()
    target = tmp_path / "w.safetensors"
    found, _, err = locreg("train", "--clean", folder, "-o", target, *arguments)
    assert found == status
    assert words in err
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--filters", "0"), "filters"),
        (("--channels", "2"), "channels"),
        (("--filters", "6", "--group", "4"), "multiple of group"),
        (("--activation", "silu"), "--activation"),
        (("--patch-size", "12"), "at least 13"),
    ],
)
def test_a_wrong_ridge_critic_is_refused(locreg, tmp_path, arguments, words):
    output = tmp_path / "w.safetensors"
    status, _, err = locreg(
        "train-ridge", "--clean", tmp_path, "-o", output, "--noise", "0.1", *arguments
    )
    assert status == 2
    assert words in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_help_shows_in_a_fresh_process_without_torch():
    code = (
        "import sys; sys.argv = ['locreg', '--help']\n"
        "from locreg.cli import main\n"
        "try: main()\n"
        "finally: sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'pyvips')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0
    for command in ("denoise", "score", "train", "info"):
        assert command in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="pipes are others there")
def test_a_folder_is_restored_though_nobody_reads_of_it(noisy, weight_file, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(noisy, source / name)
    command = ["denoise", source, "-o", out, "--weights", weight_file, "--sigma", "0.1", *FAST]
    with subprocess.Popen(
        [sys.executable, "-c", "from locreg.cli import main; main()", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]


@pytest.mark.skipif(os.name != "posix", reason="needs a shell with head")
def test_a_reader_that_has_read_enough_is_no_error():
    code = (
        "from locreg.cli import main; import sys; sys.argv = ['locreg', 'info', 'alr-rgb']; main()"
    )
    done = subprocess.run(
        f'{sys.executable} -c "{code}" | head -n 1', shell=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("weights: alr-rgb")
    assert done.stderr == ""
