"""What cannot work fails in one sentence, and leaves nothing behind."""

import os
import pickle
import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch

from conftest import BAD_IMAGES, small_critic
from locreg.regularizer.array_file import FORMAT
from locreg.regularizer.tensor_file import write_tensors
from locreg.regularizer.weights import Weights, save_weights

FAST = ("--steps", "2")


def cut_weights(path):
    save_weights(Weights(critic=small_critic()), path)
    path.write_bytes(path.read_bytes()[:-100])


def foreign_weights(path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)


def damaged_weights(path):
    header = {"critic": small_critic().describe()}
    write_tensors(path, header, {"weights.0": torch.zeros(1)})


BAD_WEIGHTS = [
    (lambda p: torch.save({"weight": torch.zeros(3)}, p), "pickle"),
    (lambda p: p.write_bytes(pickle.dumps({"weight": [1, 2, 3]})), "pickle"),
    (cut_weights, "not a complete safetensors"),
    (lambda p: p.write_bytes(b""), "not a complete safetensors"),
    (lambda p: p.write_text("hello"), "not a complete safetensors"),
    (lambda p: write_tensors(p, {"format": FORMAT + 1, "critic": {}}, {}), "format version"),
    (foreign_weights, "not one written by locreg"),
    (damaged_weights, "damaged"),
    (lambda p: write_tensors(p, {"recipe": {}}, {}), "training checkpoint"),
    (lambda p: write_tensors(p, {"mixture": {}}, {}), "no critic"),
]


@pytest.mark.parametrize("case", BAD_IMAGES, ids=[case[0] for case in BAD_IMAGES])
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


def test_an_empty_folder_fails_in_one_sentence(locreg, tmp_path, weight_file):
    folder = tmp_path / "empty"
    folder.mkdir()
    status, _, err = locreg("denoise", folder, "-o", tmp_path / "out", "--weights", weight_file)
    assert status == 1
    assert "empty holds no images" in err
    assert not (tmp_path / "out").exists()


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
def test_an_interrupted_command_leaves_no_half_written_file(
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
