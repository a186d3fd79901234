"""Training of a critic, from end to end."""

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

from locreg.degradation.noise import NoiseRange, add_noise
from locreg.errors import LocregError, UsageError
from locreg.images.image_file import read_pixels, write_image
from locreg.images.patches import load_crops
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.ridge import ridge_critic
from locreg.regularizer.tensor_file import read_tensors
from locreg.regularizer.weights import load_weights
from locreg.training.options import CriticOptions, DataOptions, RidgeCriticOptions, TrainingOptions
from locreg.training.output import TrainingRun
from locreg.training.recipes import CriticRecipe
from locreg.training.train_critic import train_critic

SMALL = {
    "critic": CriticOptions(widths=(4, 4)),
    "data": DataOptions(held_out=1, validation_size=16, calibration_images=0, seed=3),
}


def train_small(folder, output, *, resume=False, on_iteration=None, iterations=24, **others):
    options = TrainingOptions(
        iterations=iterations, batch=4, validate_every=12, checkpoint_every=6, log_every=3,
        weight_average=0.9,
    )  # fmt: skip
    settings = {**SMALL, **others}
    if "degraded" not in others:
        settings = {"noise": NoiseRange(low=0.1, high=0.2), **settings}
    recipe = CriticRecipe(clean=folder, training=options, **settings)
    run = TrainingRun(output=output, resume=resume, progress=False, on_iteration=on_iteration)
    return train_critic(recipe, run)


def stop_at(last):
    """A callback that interrupts a training."""

    def interrupt(done):
        if done == last:
            raise KeyboardInterrupt

    return interrupt


@pytest.fixture(scope="module")
def noisy(folder, tmp_path_factory):
    """The images of the clean folder, with noise."""
    noisy = tmp_path_factory.mktemp("degraded")
    random = np.random.default_rng(1)
    for path in folder.iterdir():
        samples = pyvips.Image.new_from_file(str(path)).numpy()
        values = np.clip(samples + 40 * random.standard_normal(samples.shape), 0, 255)
        interpretation = "b-w" if values.ndim == 2 else "srgb"
        pyvips.Image.new_from_array(values.astype(np.uint8)).copy(
            interpretation=interpretation
        ).write_to_file(str(noisy / path.name))
    return noisy


SIX_LAYERS = CriticOptions(widths=(4,) * 6)


@pytest.fixture(scope="module")
def whole(folder, noisy, tmp_path_factory):
    """A training that was never interrupted: its weights and its log."""
    output = tmp_path_factory.mktemp("whole") / "w.safetensors"
    weights = train_small(folder, output, degraded=noisy, critic=SIX_LAYERS)
    return weights, TrainingRun(output=output).log.read_text()


@pytest.mark.parametrize("last", [1, 13])
def test_a_resumed_training_equals_an_uninterrupted_one(last, whole, folder, noisy, tmp_path):
    """Interrupted before the first checkpoint, or after a validation."""
    expected, log = whole
    cut, options = tmp_path / "cut.safetensors", {"degraded": noisy, "critic": SIX_LAYERS}
    with pytest.raises(KeyboardInterrupt):
        train_small(folder, cut, on_iteration=stop_at(last), **options)
    assert TrainingRun(output=cut).checkpoint.exists()
    assert not cut.exists()
    resumed = train_small(folder, cut, resume=True, **options)
    for a, b in zip(expected.critic.parameters(), resumed.critic.parameters(), strict=True):
        assert torch.equal(a, b)
    assert TrainingRun(output=cut).log.read_text() == log
    assert not TrainingRun(output=cut).checkpoint.exists()


def test_two_runs_with_one_seed_are_equal_and_seeds_matter(folder, tmp_path):
    weights = []
    for index, seed in enumerate((3, 3, 4)):
        data = replace(SMALL["data"], held_out=0, seed=seed)
        trained = train_small(folder, tmp_path / f"{index}.safetensors", data=data)
        weights.append(torch.cat([p.flatten() for p in trained.critic.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.slow
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
    locreg = [sys.executable, "-c", "from locreg.cli.main import main; main()"]

    def command(name, *more):
        return [*locreg, *arguments, "-o", str(tmp_path / name), *more]

    whole = tmp_path / "whole.safetensors"
    subprocess.run(command(whole.name), check=True, env=environment, capture_output=True)

    cut = tmp_path / "cut.safetensors"
    process = subprocess.Popen(
        command(cut.name), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not TrainingRun(output=cut).checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not cut.exists()
    assert read_tensors(TrainingRun(output=cut).checkpoint)[0]["iteration"] < 400
    subprocess.run(command(cut.name, "--resume"), check=True, env=environment, capture_output=True)

    for expected, found in zip(
        load_weights(whole).critic.parameters(), load_weights(cut).critic.parameters(), strict=True
    ):
        assert torch.equal(expected, found)
    assert TrainingRun(output=whole).log.read_text() == TrainingRun(output=cut).log.read_text()
    assert not TrainingRun(output=cut).checkpoint.exists()


def test_a_resumed_run_remembers_the_files_that_could_not_be_used(folder, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(folder, images)
    (images / "broken.png").write_bytes(b"hello")
    data = DataOptions(held_out=0, calibration_images=0)
    whole = train_small(images, tmp_path / "whole.safetensors", data=data)
    cut = tmp_path / "cut.safetensors"
    with pytest.raises(KeyboardInterrupt):  # before the weight file is written
        train_small(images, cut, data=data, on_iteration=stop_at(24))
    assert not cut.exists()
    resumed = train_small(images, cut, data=data, resume=True)
    assert whole.training["skipped_files"] == resumed.training["skipped_files"] == 1


def test_held_out_images_that_cannot_be_used_show_before_the_training(folder, tmp_path):
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    for path in folder.iterdir():
        pixels = read_pixels(path, 3)[:, :5, :5]
        write_image(tiny / path.name, pixels)
    recipe = CriticRecipe(clean=folder, degraded=tiny, data=DataOptions(held_out=1))
    output = tmp_path / "w.safetensors"
    with pytest.raises(LocregError, match="can be used"):
        train_critic(recipe, TrainingRun(output=output, progress=False))
    assert not TrainingRun(output=output).log.exists()


def test_the_record_tells_how_the_weights_were_made(folder, tmp_path):
    weights = train_small(folder, tmp_path / "w.safetensors")
    training = weights.training
    assert training["iterations_done"] == 24
    assert [v["iteration"] for v in training["validations"]] == [12, 24]
    assert training["noise"] == "0.1:0.2"
    assert training["data"]["seed"] == 3
    assert "3 images" in training["clean"]
    assert weights.calibration is None
    lines = [
        json.loads(line)
        for line in TrainingRun(output=tmp_path / "w.safetensors").log.read_text().splitlines()
    ]
    assert {"iteration", "wasserstein", "gradient_penalty"} <= lines[0].keys()
    assert any("quality" in line for line in lines)


def test_training_separates_noisy_from_clean_patches(folder, tmp_path):
    """The point of it all: after a short training noise scores higher than no noise."""
    recipe = CriticRecipe(
        clean=folder,
        noise=NoiseRange(low=0.2, high=0.2),
        critic=CriticOptions(widths=(8,) * 6),
        data=DataOptions(held_out=0, calibration_images=0),
        training=TrainingOptions(iterations=150, batch=16),
    )
    weights = train_critic(recipe, TrainingRun(output=tmp_path / "w.safetensors", progress=False))
    regularizer = LocalRegularizer(weights)
    clean = load_crops(sorted(folder.iterdir()), size=40, channels=3)
    scores = [
        [regularizer.score_map(add_noise(x, sigma, seed=5)).mean() for x in clean]
        for sigma in (0.0, 0.2)
    ]
    assert max(scores[0]) < min(scores[1])


def test_common_patches_teach_low_noise(folder, tmp_path):
    """At a level where different scenes differ by more than the noise."""
    recipe = CriticRecipe(
        clean=folder,
        noise=NoiseRange(low=0.03, high=0.03),
        critic=CriticOptions(widths=(8,) * 6),
        data=DataOptions(held_out=0, calibration_images=0, common_patches=True),
        training=TrainingOptions(iterations=150, batch=16, penalty=0.1),
    )
    weights = train_critic(recipe, TrainingRun(output=tmp_path / "w.safetensors", progress=False))
    assert weights.training["degraded"] == "the same patches"
    regularizer = LocalRegularizer(weights)
    for x in load_crops(sorted(folder.iterdir()), size=40, channels=3):
        noisy = add_noise(x, 0.03, seed=5)
        assert regularizer.score_map(x).mean() < regularizer.score_map(noisy).mean()


def test_critics_without_a_fitting_lam_are_kept(folder, tmp_path):
    """Two folders that are one, and a critic of one iteration: it tells nothing apart."""
    shutil.copytree(folder, tmp_path / "same")
    output = tmp_path / "w.safetensors"
    recipe = CriticRecipe(
        clean=folder,
        degraded=tmp_path / "same",
        critic=CriticOptions(widths=(4, 4)),
        data=DataOptions(held_out=0, calibration_images=1, calibration_size=16),
        training=TrainingOptions(iterations=1, batch=1),
    )
    with pytest.raises(LocregError, match=r"is kept without lam: restore with --lam, or delete"):
        train_critic(recipe, TrainingRun(output=output, progress=False))
    assert load_weights(output).calibration is None
    assert not TrainingRun(output=output).checkpoint.exists()


@pytest.mark.slow
@pytest.mark.parametrize("asked", [(), (0.05, 0.2)])
def test_lam_is_fitted_at_the_levels_of_the_noise_or_those_asked_for(folder, tmp_path, asked):
    recipe = CriticRecipe(
        clean=folder,
        noise=NoiseRange(low=0.1, high=0.1),
        critic=CriticOptions(widths=(3,)),
        data=DataOptions(
            held_out=0, calibration_images=1, calibration_size=16, calibration_sigmas=asked
        ),
        training=TrainingOptions(iterations=1, batch=1),
    )
    weights = train_critic(recipe, TrainingRun(output=tmp_path / "w.safetensors", progress=False))
    assert weights.calibration.record["sigmas"] == pytest.approx(
        asked or (0.07, 0.0954, 0.13), rel=1e-3
    )


def test_a_degradation_known_by_examples_gets_its_own_lam(folder, noisy, tmp_path):
    options = TrainingOptions(iterations=80, batch=8, validate_every=40)
    recipe = CriticRecipe(
        clean=folder,
        degraded=noisy,
        critic=CriticOptions(widths=(8,) * 4),
        data=DataOptions(held_out=2, calibration_images=1, calibration_size=16),
        training=options,
    )
    weights = train_critic(recipe, TrainingRun(output=tmp_path / "w.safetensors", progress=False))
    assert not weights.calibration.depends_on_sigma
    assert 1e-4 < weights.calibration.lam(0.1) == weights.calibration.lam(0.3) < 1
    assert [set(v) for v in weights.training["validations"]] == [
        {"iteration", "quality", "wasserstein"}
    ] * 2


def test_patches_may_be_larger_than_the_receptive_field(folder, tmp_path):
    options = TrainingOptions(iterations=4, batch=2, patch_size=20, log_every=4)
    recipe = CriticRecipe(
        clean=folder,
        noise=NoiseRange(low=0.1, high=0.1),
        critic=CriticOptions(widths=(3,) * 6),
        data=DataOptions(held_out=0, calibration_images=0),
        training=options,
    )
    weights = train_critic(recipe, TrainingRun(output=tmp_path / "w.safetensors", progress=False))
    assert weights.training["patch_size"] == 20
    small = replace(recipe, training=replace(options, patch_size=14))
    with pytest.raises(UsageError, match="at least 15"):
        train_critic(small, TrainingRun(output=tmp_path / "v.safetensors", progress=False))


def test_misuse_is_refused(folder, tmp_path):
    output = tmp_path / "w.safetensors"
    with pytest.raises(UsageError, match="suffix"):
        train_small(folder, tmp_path / "w.checkpoint")
    with pytest.raises(UsageError, match="either"):
        train_small(folder, output, noise=None)
    with pytest.raises(LocregError, match="no interrupted training"):
        train_small(folder, output, resume=True)
    with pytest.raises(LocregError, match="make this folder"):
        train_small(folder, tmp_path / "nowhere" / "w.safetensors")
    output.write_bytes(b"precious")
    with pytest.raises(LocregError, match="exists already"):
        train_small(folder, output)
    assert output.read_bytes() == b"precious"
    output.unlink()
    TrainingRun(output=output).checkpoint.write_bytes(b"precious")
    with pytest.raises(LocregError, match="resume it, or delete it"):
        train_small(folder, output)


def train_ridge(folder, output, **data):
    recipe = CriticRecipe(
        clean=folder,
        noise=NoiseRange(low=0.1, high=0.1),
        critic=RidgeCriticOptions(filters=6),
        data=DataOptions(validation_size=16, calibration_size=16, **data),
        training=TrainingOptions(
            iterations=30, batch=2, patch_size=20, penalty=10.0, penalty_form="one-sided",
            learning_rate=0.05,
        ),
    )  # fmt: skip
    train_critic(recipe, TrainingRun(output=output, progress=False))
    return load_weights(output)


def test_training_keeps_the_constraints_of_a_ridge_critic(folder, tmp_path):
    weights = train_ridge(folder, tmp_path / "w.safetensors", held_out=0, calibration_images=0)
    begin = ridge_critic(6, in_channels=3, generator=torch.Generator().manual_seed(0), noise=0.1)
    trained = weights.critic
    assert isinstance(trained, PatchCritic)
    assert trained.layers == begin.layers
    assert weights.criterion.penalty_form == "one-sided"
    first, last = trained.weights[0].detach(), trained.weights[-1].detach()
    assert not torch.allclose(first, begin.weights[0].detach(), atol=0.01)
    np.testing.assert_allclose(first.mean((2, 3)), 0, atol=1e-6)
    assert (last >= 0).all()


@pytest.mark.slow
def test_a_ridge_critic_is_calibrated_with_its_contrast(folder, tmp_path):
    weights = train_ridge(folder, tmp_path / "w.safetensors", held_out=1, calibration_images=1)
    assert len(weights.calibration.contrast_polynomial) == 2
    assert weights.calibration.lam(0.1) > 0
