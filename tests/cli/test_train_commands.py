"""The commands that train, and `locreg import-localreg`: small runs, end to end."""

import json
import os
import signal

import numpy as np
import PIL.Image
import pytest
import torch

from conftest import save_picture
from locreg.images.image_file import read_samples
from locreg.regularizer.weights import load_weights

FAST = ("--steps", "2")


def test_training_names_and_counts_the_files_it_cannot_use(locreg, tmp_path, photograph, caplog):
    folder = tmp_path / "clean"
    folder.mkdir()
    for k in range(5):
        save_picture(folder / f"{k}.jpg", photograph[40 * k : 40 * k + 40, 100:160])
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


# They suit images of 40x48 pixels.
DATA = ("--held-out", 1, "--validation-size", 16)


def test_a_critic_is_trained_and_restores(locreg, folder, tmp_path):
    weights, log = tmp_path / "w.safetensors", tmp_path / "w.log.jsonl"
    status, text, err = locreg(
        "train", "--clean", folder, "--noise", "0.1", "-o", weights, "--iterations", 2,
        "--widths", *[3] * 6, "--batch", 2, *DATA, "--calibration-images", 0, "--json",
    )  # fmt: skip
    assert status == 0, err
    record = json.loads(text)
    assert record["output"] == str(weights)
    assert record["training"]["iterations_done"] == 2
    assert record["training"]["command"].startswith("locreg train --clean")
    assert log.exists()
    assert not (tmp_path / "w.checkpoint").exists()
    assert json.loads(locreg("info", weights, "--json")[1])["parameters"] > 0
    out = tmp_path / "out.png"
    assert (
        locreg("denoise", folder / "1.png", "-o", out, "--weights", weights, "--lam", 0.01, *FAST)[
            0
        ]
        == 0
    )
    assert read_samples(out).shape == (40, 48, 3)
    status, _, err = locreg("train", "--clean", folder, "--noise", "0.1", "-o", weights)
    assert (status, "exists already" in err) == (1, True)


def test_a_critic_is_trained_on_folders_of_clean_and_degraded_images(locreg, folder, tmp_path):
    degraded = tmp_path / "degraded"
    degraded.mkdir()
    random = np.random.default_rng(0)
    for k in range(4):
        samples = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        PIL.Image.fromarray(samples).save(degraded / f"{k}.png")
    status, text, err = locreg(
        "train", "--clean", folder, "--degraded", degraded, "-o", tmp_path / "w.safetensors",
        "--iterations", 2, "--widths", *[3] * 6, "--batch", 2, *DATA,
        "--calibration-images", 0,
    )  # fmt: skip
    assert status == 0, err
    assert "w.safetensors: 2 iterations" in text


def test_a_ridge_critic_is_trained_and_refined(locreg, folder, tmp_path):
    ridge, refined = tmp_path / "ridge.safetensors", tmp_path / "refined.safetensors"
    status, text, err = locreg(
        "train-ridge", "--clean", folder, "--noise", "0.1", "-o", ridge, "--iterations", 2,
        "--filters", 4, "--batch", 2, "--patch-size", 20, "--held-out", 0,
        "--calibration-images", 0,
    )  # fmt: skip
    assert (status, "ridge.safetensors: 2 iterations" in text) == (0, True), err
    status, text, err = locreg(
        "refine", "--clean", folder, "--initial", ridge, "--sigma", 0.1, "--lam", 0.01,
        "-o", refined, "--iterations", 1, "--batch", 1, "--patch-size", 20, "--solver-steps", 3,
        "--conjugate-gradients", 2, "--held-out", 0, "--calibration-images", 0,
    )  # fmt: skip
    assert (status, "refined.safetensors: 1 iterations" in text) == (0, True), err
    found = [json.loads(locreg("info", path, "--json")[1]) for path in (ridge, refined)]
    assert [record["criterion"]["name"] for record in found] == ["wasserstein", "bilevel"]
    assert found[0]["layers"] == found[1]["layers"]


def test_a_denoising_energy_is_trained_and_restores(locreg, folder, tmp_path):
    weights, out = tmp_path / "w.safetensors", tmp_path / "out.png"
    status, text, err = locreg(
        "train-denoiser", "--clean", folder, "--noise", "0:0.3", "-o", weights, "--iterations", 2,
        "--widths", *[3] * 6, "--batch", 2, "--patch-size", 16, *DATA,
    )  # fmt: skip
    assert (status, "w.safetensors: 2 iterations" in text) == (0, True), err
    assert json.loads(locreg("info", weights, "--json")[1])["noise_conditioned"]
    status, text, _ = locreg(
        "denoise", folder / "1.png", "-o", out, "--weights", weights, "--sigma", "0.1", "--json"
    )
    assert (status, json.loads(text)["iterations"]) == (0, 1)
    assert read_samples(out).shape == (40, 48, 3)


def test_an_interrupted_training_is_resumed(locreg, folder, tmp_path, monkeypatch):
    """A signal comes while a checkpoint is written; the resumed run gives the same weights."""

    def train(name, *more):
        return locreg(
            "train", "--clean", folder, "--noise", "0.1", "-o", tmp_path / f"{name}.safetensors",
            "--iterations", 4, "--widths", *[3] * 6, "--batch", 2, "--checkpoint-every", 1,
            "--held-out", 0, "--calibration-images", 0, *more,
        )  # fmt: skip

    assert train("whole")[0] == 0
    written = []

    def interrupt(_):
        written.append(1)
        if len(written) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupt)
        status, _, err = train("parts")
    assert (status, err.splitlines()[-1]) == (130, "locreg: interrupted.")
    assert not (tmp_path / "parts.safetensors").exists()
    assert train("parts")[0] == 1  # a checkpoint is there
    assert train("parts", "--resume")[0] == 0
    whole, parts = (load_weights(tmp_path / f"{name}.safetensors") for name in ("whole", "parts"))
    for one, other in zip(whole.critic.parameters(), parts.critic.parameters(), strict=True):
        assert torch.equal(one, other)
    assert (tmp_path / "whole.log.jsonl").read_text() == (tmp_path / "parts.log.jsonl").read_text()


def test_weights_of_the_authors_are_imported_and_restore(locreg, noisy, tmp_path):
    """Their folder, made with torch and json alone."""
    released, weights = tmp_path / "cnn", tmp_path / "released.safetensors"
    released.mkdir()
    convolutions = [[3, 4, 3, 1], [4, 4, 3, 1], [4, 2, 1, 1]]
    modules = []
    for index, layer in enumerate(convolutions):
        modules += [torch.nn.ReLU()] * (index > 0) + [torch.nn.Conv2d(*layer)]
    network = torch.nn.Sequential(*modules)
    model = {f"net.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"model": model}, released / "checkpoint_last.pt")
    parameters = {"conv_params": convolutions, "act": "ReLU", "noise_std": [0.05, 0.3], "mu": 5,
                  "patch_size": 5, "model": "CNN"}  # fmt: skip
    (released / "params.json").write_text(json.dumps(parameters))
    status, text, err = locreg("import-localreg", released, "-o", weights)
    assert (status, "receptive field 5x5, stride 1" in text) == (0, True)
    assert "--lam" in err
    out = tmp_path / "out.png"
    command = ("denoise", noisy, "-o", out, "--weights", weights, *FAST)
    assert locreg(*command)[0] == 2
    assert locreg(*command, "--lam", "0.1")[0] == 0
    assert read_samples(out).shape == (64, 80, 3)
