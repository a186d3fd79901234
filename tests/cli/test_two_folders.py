"""`locreg restore`: from two folders to a folder of restored images."""

import json
import os
import shutil
import signal

import numpy as np
import PIL.Image
import pytest
import torch

from conftest import NOISE_KERNELS, noise_model, random_image, save_picture, shaded_scenes
from locreg.images.image_file import ImageFile, read_pixels, write_image
from locreg.training.output import TrainingRun


def fill(folder, images):
    folder.mkdir()
    for index, x in enumerate(images):
        samples = (255 * x[0]).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        save_picture(folder / f"{index}.png", samples, "b-w" if len(x[0]) == 1 else "srgb")
    return folder


@pytest.fixture
def folders(tmp_path):
    """Clean photographs, and others with grain and cut off at 0 and 1, as 8-bit files."""
    noise = noise_model(NOISE_KERNELS["grainy"], 0.1 * torch.eye(3))
    noisy = (noise.degrade(x, index) for index, x in enumerate(shaded_scenes(6, seed=1, side=240)))
    return fill(tmp_path / "clean", shaded_scenes(8, seed=2, side=240)), fill(
        tmp_path / "noisy", noisy
    )


@pytest.mark.slow
def test_noise_is_learned_and_removed(locreg, folders, tmp_path):
    clean, noisy = folders
    out = tmp_path / "restored"
    arguments = ("restore", "--clean", clean, "--degraded", noisy, "-o", out, "--iterations", "25")
    status, text, _ = locreg(*arguments, "--json")
    assert status == 0
    records = [json.loads(line) for line in text.splitlines()]
    assert len(records) == 6
    assert all(record["sigma"] == pytest.approx(0.1, rel=0.15) for record in records)
    for x, path in zip(shaded_scenes(6, seed=1, side=240), sorted(noisy.iterdir()), strict=True):
        errors = [
            np.square(read_pixels(folder / path.name, 3) - x[0].numpy()).mean()
            for folder in (noisy, out)
        ]
        assert errors[1] < errors[0]
    weights = tmp_path / "restored.safetensors"
    assert weights.exists()
    assert not TrainingRun(output=weights).checkpoint.exists()
    status, _, said = locreg(*arguments, "--damage", "any")
    assert status == 1
    assert "learned from other images or with other options" in said
    write_image(noisy / "new.png", np.zeros((3, 40, 40), dtype=np.float32))
    assert "learned from other images" in locreg(*arguments)[2]
    (noisy / "new.png").unlink()
    (out / "0.png").unlink()
    status, text, said = locreg(*arguments)
    assert status == 0
    assert "learned already" in said
    assert "5 of 6 images are done already" in said
    assert (out / "0.png").exists()


@pytest.mark.slow
def test_images_of_a_12_bit_camera_need_their_white(locreg, folders, tmp_path):
    deep = [tmp_path / f"{folder.name}12" for folder in folders]
    for folder, deeper in zip(folders, deep, strict=True):
        deeper.mkdir()
        for path in folder.iterdir():
            pixels = 4096 * read_pixels(path, 3)
            source = ImageFile(pixels, None, "float32")
            write_image(deeper / f"{path.stem}.tif", pixels, source)

    def restored(clean, degraded, name, *more):
        output, short = tmp_path / name, ("--iterations", "3")
        return locreg(
            "restore", "--clean", clean, "--degraded", degraded, "-o", output, *short, *more
        )

    assert restored(*folders, "a")[0] == 0
    assert restored(*deep, "b", "--white", "4096")[0] == 0
    for path in sorted((tmp_path / "a").glob("*.png")):
        found = read_pixels(tmp_path / "b" / f"{path.stem}.tif", 3, white=4096)
        np.testing.assert_allclose(found.clip(0, 1), read_pixels(path, 3), atol=0.51 / 255)

    status, _, said = restored(*deep, "b")
    assert (status, "or with other options" in said) == (1, True)
    learned = ("--weights", tmp_path / "b.safetensors")
    status, _, said = locreg("denoise", deep[1], "-o", tmp_path / "c", *learned)
    assert (status, "learned with --white 4096: restore in the same way" in said) == (2, True)


@pytest.fixture
def smallest(tmp_path):
    """Folders as small as they may be: six clean images and one noisy image."""
    noise = noise_model(NOISE_KERNELS["grainy"], 0.1 * torch.eye(3))
    noisy = [noise.degrade(x, 0) for x in shaded_scenes(1, seed=1, side=216)]
    clean = shaded_scenes(6, seed=2, side=192)
    return fill(tmp_path / "clean", clean), fill(tmp_path / "noisy", noisy)


@pytest.mark.slow
def test_an_interrupted_run_goes_on(locreg, smallest, tmp_path, monkeypatch):
    """The signal comes at the end of the training, while its last checkpoint is written."""
    clean, noisy = smallest
    out, weights = tmp_path / "restored", tmp_path / "restored.safetensors"
    arguments = ("restore", "--clean", clean, "--degraded", noisy, "-o", out, "--iterations", "1")
    written = []

    def interrupt(_):
        written.append(1)
        if len(written) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupt)
        assert locreg(*arguments)[0] == 130
    assert TrainingRun(output=weights).is_interrupted()
    assert not out.exists()
    status, text, _ = locreg(*arguments, "--json")
    assert status == 0
    assert json.loads(text)["sigma"] == pytest.approx(0.1, rel=0.25)
    assert not TrainingRun(output=weights).is_interrupted()
    before, after = (np.asarray(PIL.Image.open(f / "0.png"), float) for f in (noisy, out))
    scene = 255 * shaded_scenes(1, seed=1, side=216)[0][0].permute(1, 2, 0).numpy()
    assert np.square(after - scene).mean() < np.square(before - scene).mean() / 2
    learned = weights.read_bytes()
    (out / "0.png").unlink()
    status, _, said = locreg(*arguments)
    assert (status, "learned already" in said) == (0, True)
    assert (out / "0.png").exists()
    assert weights.read_bytes() == learned


@pytest.mark.slow
def test_a_critic_learns_any_other_damage(locreg, tmp_path):
    clean = fill(tmp_path / "clean", shaded_scenes(8, seed=3, side=72))
    salted = (
        torch.where(random_image(1, 1, 72, 72, seed=index) < 0.1, 1.0, x.double()).float()
        for index, x in enumerate(shaded_scenes(6, seed=4, side=72))
    )
    damaged = fill(tmp_path / "damaged", salted)
    out = tmp_path / "restored"
    options = ("--damage", "any", "--iterations", "40")
    status, _, said = locreg(
        "restore", "--clean", clean, "--degraded", damaged, "-o", out, *options
    )
    assert status == 0, said
    assert "as strongly as white noise of" in said
    for x, path in zip(shaded_scenes(6, seed=4, side=72), sorted(damaged.iterdir()), strict=True):
        errors = [
            np.square(read_pixels(folder / path.name, 3) - x[0].numpy()).mean()
            for folder in (damaged, out)
        ]
        assert errors[1] < errors[0]
    status, _, said = locreg(
        "restore", "--clean", clean, "--degraded", damaged, "-o", out, *options
    )
    assert "learned already" in said
    TrainingRun(
        output=tmp_path / "restored.safetensors"
    ).checkpoint.touch()  # of noise, interrupted
    status, _, said = locreg("restore", "--clean", clean, "--degraded", damaged, "-o", out)
    assert (status, "with other options" in said) == (1, True)


@pytest.mark.usefixtures("smallest")
@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (("--iterations", "0"), 2, "iterations must be at least 1"),
        (("--clean", "noisy"), 2, "overlap"),
        (("--degraded", "clean/0.png"), 2, "is not a folder"),
        (("-o", "noisy"), 2, "overlap"),
        (("-o", "noisy/restored"), 2, "overlap"),
        (("-o", "."), 2, "overlap"),
        (("-o", "clean/0.png"), 2, "must be a folder too"),
        (("--degraded", "mixed"), 1, "grey and colour"),
        (("--degraded", "alike"), 1, "no noise"),
        (("-o", "nowhere/restored"), 1, "make this folder first"),
    ],
)
def test_what_cannot_work_fails_in_one_sentence(
    locreg, tmp_path, monkeypatch, change, status, words
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tmp_path / "clean", tmp_path / "alike")
    fill(tmp_path / "mixed", [x := shaded_scenes(1, seed=5)[0], x[:, :1]])
    given = {"--clean": "clean", "--degraded": "noisy", "-o": "restored", "--iterations": "2"}
    given[change[0]] = change[1]
    before = sorted(tmp_path.rglob("*"))
    found, _, said = locreg("restore", *(word for pair in given.items() for word in pair))
    assert found == status
    assert words in said
    assert "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before
