"""Training: a resumed run equals an uninterrupted one, in a process killed without warning."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import pyvips
import torch

from locreg.critic import PatchCritic, standard_layers
from locreg.errors import LocregError, UsageError
from locreg.images import read_pixels, write_image
from locreg.options import NoiseRange
from locreg.patches import PatchPool, UnpairedPatches
from locreg.recipes import train_from_folders
from locreg.regularizer import LocalRegularizer
from locreg.training import learning_rate, train_critic
from locreg.training_files import checkpoint_path, log_path, shell_command
from locreg.training_options import CriticOptions, DataOptions, Recipe, TrainingOptions
from locreg.validation import add_noise, best_lam, load_crops
from locreg.weights import load_weights, read_tensors
from locreg.wgan import WassersteinCriterion

SMALL = {
    "critic": CriticOptions(widths=(4,) * 6),
    "data": DataOptions(held_out=1, validation_size=16, calibration_images=0, seed=3),
}


def train(folder, output, *, resume=False, iterations=24, **others):
    options = TrainingOptions(
        iterations=iterations, batch=4, validate_every=12, checkpoint_every=6, log_every=3,
        weight_average=0.9,
    )  # fmt: skip
    settings = {**SMALL, "noise": NoiseRange(low=0.1, high=0.2), **others}
    recipe = Recipe(clean=folder, training=options, **settings)
    return train_from_folders(output, recipe, resume=resume, progress=False)


def test_two_runs_with_one_seed_are_equal_and_seeds_matter(folder, tmp_path):
    one, two = (train(folder, tmp_path / f"{k}.safetensors") for k in range(2))
    other_seed = DataOptions(**{**SMALL["data"].__dict__, "seed": 4})
    three = train(folder, tmp_path / "3.safetensors", data=other_seed)
    weights = [torch.cat([p.flatten() for p in w.critic.parameters()]) for w in (one, two, three)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_killed_run_resumes_bit_for_bit(folder, tmp_path):
    """SIGKILL in the middle, in a real process; weights and log equal those never interrupted."""
    arguments = [
        "train", "--clean", str(folder), "--noise", "0.1:0.2", "--seed", "3",
        "--widths", *["4"] * 6, "--held-out", "1", "--validation-size", "16",
        "--calibration-images", "0", "--iterations", "400", "--batch", "4",
        "--validate-every", "150", "--checkpoint-every", "7", "--log-every", "5",
        "--weight-average", "0.9",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    locreg = [sys.executable, "-c", "from locreg.cli import main; main()"]

    def command(name, *more):
        return [*locreg, *arguments, "-o", str(tmp_path / name), *more]

    whole = tmp_path / "whole.safetensors"
    subprocess.run(command(whole.name), check=True, env=environment, capture_output=True)

    cut = tmp_path / "cut.safetensors"
    process = subprocess.Popen(
        command(cut.name), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not checkpoint_path(cut).exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not cut.exists()
    assert read_tensors(checkpoint_path(cut))[0]["iteration"] < 400
    subprocess.run(command(cut.name, "--resume"), check=True, env=environment, capture_output=True)

    for expected, found in zip(
        load_weights(whole).critic.parameters(), load_weights(cut).critic.parameters(), strict=True
    ):
        assert torch.equal(expected, found)
    assert log_path(whole).read_text() == log_path(cut).read_text()
    assert not checkpoint_path(cut).exists()


def test_a_resumed_run_remembers_the_files_that_could_not_be_used(folder, tmp_path, monkeypatch):
    images = tmp_path / "images"
    shutil.copytree(folder, images)
    (images / "broken.png").write_bytes(b"hello")
    data = DataOptions(held_out=0, calibration_images=0)
    whole = train(images, tmp_path / "whole.safetensors", data=data)
    cut = tmp_path / "cut.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("locreg.training_files.save_weights", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(images, cut, data=data)
    resumed = train(images, cut, data=data, resume=True)
    assert whole.training["skipped_files"] == resumed.training["skipped_files"] == 1


def interrupt(*_):
    raise KeyboardInterrupt


def test_held_out_images_that_cannot_be_used_show_before_the_training(folder, tmp_path):
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    for path in folder.iterdir():
        pixels = read_pixels(path, 3)[:, :5, :5]
        write_image(tiny / path.name, pixels)
    recipe = Recipe(clean=folder, degraded=tiny, data=DataOptions(held_out=1))
    output = tmp_path / "w.safetensors"
    with pytest.raises(LocregError, match="can be used"):
        train_from_folders(output, recipe, progress=False)
    assert not log_path(output).exists()


def test_the_record_tells_how_the_weights_were_made(folder, tmp_path):
    weights = train(folder, tmp_path / "w.safetensors")
    training = weights.training
    assert training["iterations_done"] == 24
    assert [v["iteration"] for v in training["validations"]] == [12, 24]
    assert training["noise"] == "0.1:0.2"
    assert training["data"]["seed"] == 3
    assert "3 images" in training["clean"]
    assert weights.calibration is None
    lines = [
        json.loads(line) for line in log_path(tmp_path / "w.safetensors").read_text().splitlines()
    ]
    assert {"iteration", "wasserstein", "gradient_penalty"} <= lines[0].keys()
    assert any("quality" in line for line in lines)


def test_the_best_validated_weights_are_kept(folder):
    files = sorted(folder.iterdir())
    pools = [PatchPool(files[k::2], size=15, channels=1, seed=k) for k in range(2)]
    patches = UnpairedPatches(pools[0], pools[1], NoiseRange(low=0.1, high=0.1), seed=0)
    criterion = WassersteinCriterion(patches, 2, 5.0)
    critic = PatchCritic(standard_layers([3] * 6), in_channels=1)
    seen = []

    def validate(candidate):
        seen.append(candidate.weights[0].detach().clone())
        return [1.0, 3.0, 2.0][len(seen) - 1], {}

    options = TrainingOptions(iterations=9, batch=2, validate_every=3, log_every=3)
    trained = train_critic(criterion, critic, options, validate=validate, progress=False)
    assert torch.equal(trained.critic.weights[0], seen[1])
    assert [v["quality"] for v in trained.validations] == [1.0, 3.0, 2.0]


def test_training_separates_noisy_from_clean_patches(folder, tmp_path):
    """The point of it all: after a short training noise scores higher than no noise."""
    recipe = Recipe(
        clean=folder,
        noise=NoiseRange(low=0.2, high=0.2),
        critic=CriticOptions(widths=(8,) * 6),
        data=DataOptions(held_out=0, calibration_images=0),
        training=TrainingOptions(iterations=150, batch=16),
    )
    weights = train_from_folders(tmp_path / "w.safetensors", recipe, progress=False)
    regularizer = LocalRegularizer(weights)
    clean = load_crops(sorted(folder.iterdir()), size=40, channels=3)
    scores = [
        [regularizer.score_map(add_noise(x, sigma, seed=5)).mean() for x in clean]
        for sigma in (0.0, 0.2)
    ]
    assert max(scores[0]) < min(scores[1])


def test_common_patches_teach_low_noise(folder, tmp_path):
    """At a level where different scenes differ by more than the noise."""
    recipe = Recipe(
        clean=folder,
        noise=NoiseRange(low=0.03, high=0.03),
        critic=CriticOptions(widths=(8,) * 6),
        data=DataOptions(held_out=0, calibration_images=0, common_patches=True),
        training=TrainingOptions(iterations=150, batch=16, penalty=0.1),
    )
    weights = train_from_folders(tmp_path / "w.safetensors", recipe, progress=False)
    assert weights.training["degraded"] == "the same patches"
    regularizer = LocalRegularizer(weights)
    for x in load_crops(sorted(folder.iterdir()), size=40, channels=3):
        noisy = add_noise(x, 0.03, seed=5)
        assert regularizer.score_map(x).mean() < regularizer.score_map(noisy).mean()


def test_critics_without_a_fitting_lam_are_kept(folder, tmp_path):
    """Two folders that are one, and a critic of one iteration: it tells nothing apart."""
    shutil.copytree(folder, tmp_path / "same")
    output = tmp_path / "w.safetensors"
    recipe = Recipe(
        clean=folder,
        degraded=tmp_path / "same",
        critic=CriticOptions(widths=(4,) * 6),
        data=DataOptions(held_out=0, calibration_images=4, calibration_size=32),
        training=TrainingOptions(iterations=1, batch=1),
    )
    with pytest.raises(LocregError, match=r"is kept without lam: restore with --lam, or delete"):
        train_from_folders(output, recipe, progress=False)
    assert load_weights(output).calibration is None
    assert not checkpoint_path(output).exists()


def test_common_patches_are_for_synthetic_noise(tmp_path):
    with pytest.raises(UsageError, match="common_patches is for synthetic noise"):
        Recipe(clean=tmp_path / "a", degraded=tmp_path / "b", data=DataOptions(common_patches=True))


def test_a_degradation_known_by_examples_gets_its_own_lam(folder, tmp_path):
    degraded = tmp_path / "degraded"
    degraded.mkdir()
    random = np.random.default_rng(1)
    for path in folder.iterdir():
        samples = pyvips.Image.new_from_file(str(path)).numpy()
        noisy = np.clip(samples + 40 * random.standard_normal(samples.shape), 0, 255)
        interpretation = "b-w" if noisy.ndim == 2 else "srgb"
        pyvips.Image.new_from_array(noisy.astype(np.uint8)).copy(
            interpretation=interpretation
        ).write_to_file(str(degraded / path.name))
    options = TrainingOptions(iterations=300, batch=16, validate_every=150)
    recipe = Recipe(
        clean=folder,
        degraded=degraded,
        critic=CriticOptions(widths=(8,) * 6),
        data=DataOptions(held_out=2, calibration_images=2, calibration_size=24),
        training=options,
    )
    weights = train_from_folders(tmp_path / "w.safetensors", recipe, progress=False)
    assert not weights.calibration.depends_on_sigma
    assert 1e-4 < weights.calibration.lam(0.1) == weights.calibration.lam(0.3) < 1
    assert [set(v) for v in weights.training["validations"]] == [
        {"iteration", "quality", "wasserstein"}
    ] * 2


def test_learning_rate_decays_from_first_to_last():
    options = TrainingOptions(iterations=11)
    assert learning_rate(options, 0) == pytest.approx(1e-3)
    assert learning_rate(options, 10) == pytest.approx(1e-4)
    assert learning_rate(options, 5) == pytest.approx(10**-3.5)


def test_best_lam_does_not_climb_for_ever():
    lam, quality = best_lam(lambda lam: lam, 1.0, ratio=2.0, reach=3)
    assert (lam, quality) == (8.0, 8.0)


@pytest.mark.parametrize("first", [0.3, 1.0, 9.0])
def test_best_lam_finds_the_summit_of_a_parabola_in_log_lam(first):
    lam, quality = best_lam(lambda lam: 7 - (np.log(lam) - np.log(2)) ** 2, first)
    assert lam == pytest.approx(2)
    assert quality == pytest.approx(7)


def test_patches_may_be_larger_than_the_receptive_field(folder, tmp_path):
    options = TrainingOptions(iterations=4, batch=2, patch_size=20, log_every=4)
    recipe = Recipe(
        clean=folder,
        noise=NoiseRange(low=0.1, high=0.1),
        critic=CriticOptions(widths=(3,) * 6),
        data=DataOptions(held_out=0, calibration_images=0),
        training=options,
    )
    weights = train_from_folders(tmp_path / "w.safetensors", recipe, progress=False)
    assert weights.training["patch_size"] == 20
    small = replace(recipe, training=replace(options, patch_size=14))
    with pytest.raises(UsageError, match="at least 15"):
        train_from_folders(tmp_path / "v.safetensors", small, progress=False)


def test_overlapping_folders_are_refused(folder):
    for degraded in (folder, folder / "damaged", folder.parent):
        with pytest.raises(UsageError, match="overlap"):
            Recipe(clean=folder, degraded=degraded)


def test_the_recorded_command_names_files_without_their_folders():
    command = shell_command(
        ["train", "--clean", "/home/me/sharp", "-o", "a.safetensors", "--resume"]
    )
    assert command == "locreg train --clean sharp -o a.safetensors"
    assert shell_command(["train", "--clean=/me/sharp"]) == "locreg train --clean=sharp"


def test_misuse_is_refused(folder, tmp_path):
    output = tmp_path / "w.safetensors"
    with pytest.raises(UsageError, match="suffix"):
        train(folder, tmp_path / "w.checkpoint")
    with pytest.raises(UsageError, match="either"):
        train(folder, output, noise=None)
    with pytest.raises(LocregError, match="no interrupted training"):
        train(folder, output, resume=True)
    with pytest.raises(LocregError, match="make this folder"):
        train(folder, tmp_path / "nowhere" / "w.safetensors")
    output.write_bytes(b"precious")
    with pytest.raises(LocregError, match="exists already"):
        train(folder, output)
    assert output.read_bytes() == b"precious"
    output.unlink()
    checkpoint_path(output).write_bytes(b"precious")
    with pytest.raises(LocregError, match="resume it, or delete it"):
        train(folder, output)


def test_resuming_with_other_settings_is_refused(folder, tmp_path):
    output = tmp_path / "w.safetensors"

    def interrupt(_):
        raise InterruptedError

    files = sorted(folder.iterdir())
    pools = [PatchPool(files, size=15, channels=1, seed=k) for k in range(2)]
    criterion = WassersteinCriterion(UnpairedPatches(pools[0], pools[1], None, seed=0), 2, 5.0)
    checkpoint = checkpoint_path(output)
    options = TrainingOptions(iterations=4, batch=2, checkpoint_every=2, validate_every=3)
    critic = PatchCritic(standard_layers([3] * 6), in_channels=1)
    with pytest.raises(InterruptedError):
        train_critic(
            criterion, critic, options, validate=interrupt, checkpoint=checkpoint, progress=False
        )
    changed = TrainingOptions(iterations=5, batch=2, checkpoint_every=2, validate_every=3)
    with pytest.raises(LocregError, match=r"other settings \(options\)"):
        train_critic(criterion, critic, changed, checkpoint=checkpoint, resume=True, progress=False)
