"""Training of denoising energies, from end to end."""

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch

import locreg
from conftest import random_image
from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError, UsageError
from locreg.images.metrics import psnr
from locreg.images.patches import load_crops
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.local_regularizer import load
from locreg.training.options import DenoiserCriticOptions, DenoisingOptions, SplitOptions
from locreg.training.output import TrainingRun
from locreg.training.recipes import DenoiserRecipe
from locreg.training.train_denoiser import train_denoiser
from locreg.training.validation import DenoiserValidation


def recipe(folder, **training):
    return DenoiserRecipe(
        clean=folder,
        critic=DenoiserCriticOptions(widths=(8,) * 6),
        data=SplitOptions(seed=3, held_out=2, validation_size=32),
        training=DenoisingOptions(
            **{"iterations": 12, "batch": 2, "patch_size": 20, "checkpoint_every": 4,
               "validate_every": 6, "log_every": 2, "precision": "float32", **training}
        ),
    )  # fmt: skip


def test_one_step_denoises_after_a_short_training(folder, tmp_path):
    weights = train_denoiser(
        recipe(
            folder, iterations=100, weight_average=0.9, last_learning_rate=1e-3, validate_every=50
        ),
        TrainingRun(output=tmp_path / "w.safetensors", progress=False),
    )
    images = load_crops(sorted(folder.iterdir())[:3], size=40, channels=3)
    untrained = PatchCritic(weights.critic.layers, in_channels=3, noise_conditioned=True)
    validate = DenoiserValidation(images, seed=9, noise=NoiseRange(low=0.1, high=0.2))
    assert validate(weights.critic)[0] > validate(untrained)[0] + 2


def test_a_training_for_two_steps_says_so_and_denoises_in_two(folder, tmp_path):
    path = tmp_path / "w.safetensors"
    trained = train_denoiser(recipe(folder, steps=2), TrainingRun(output=path, progress=False))
    assert (trained.criterion.steps, trained.training["precision"]) == (2, "float32")
    found = locreg.restore(
        random_image(1, 3, 16, 16, dtype=torch.float32),
        load(path),
        options=locreg.RestoreOptions(sigma=0.05),
    )
    assert found.solution.gradients == 2
    with pytest.raises(UsageError, match="removed in one step"):
        replace(recipe(folder, steps=2), degraded=tmp_path)


def test_only_trained_levels_are_validated(folder, tmp_path):
    narrow = replace(recipe(folder), noise=NoiseRange(low=0.05, high=0.1))
    weights = train_denoiser(narrow, TrainingRun(output=tmp_path / "n.safetensors", progress=False))
    names = set(weights.training["validations"][0]) - {"iteration", "quality"}
    assert names == {"psnr_0.05", "psnr_0.1"}
    single = replace(recipe(folder), noise=NoiseRange(low=0.3, high=0.3))
    weights = train_denoiser(single, TrainingRun(output=tmp_path / "s.safetensors", progress=False))
    assert "psnr_0.3" in weights.training["validations"][0]


def test_a_training_can_begin_with_earlier_weights(folder, tmp_path):
    first = tmp_path / "first.safetensors"
    earlier = train_denoiser(recipe(folder), TrainingRun(output=first, progress=False))
    again = recipe(folder, iterations=1, learning_rate=1e-9, last_learning_rate=1e-9)
    later = train_denoiser(
        replace(again, initial=first),
        TrainingRun(output=tmp_path / "later.safetensors", progress=False),
    )
    for before, after in zip(earlier.critic.parameters(), later.critic.parameters(), strict=True):
        torch.testing.assert_close(before, after, rtol=0, atol=1e-6)
    assert later.training["initial"]["iterations_done"] == 12
    grey = replace(again, critic=replace(again.critic, channels=1))
    of_colour = train_denoiser(
        replace(grey, initial=first),
        TrainingRun(output=tmp_path / "grey.safetensors", progress=False),
    )
    for before, after in zip(
        earlier.critic.of_grey().parameters(), of_colour.critic.parameters(), strict=True
    ):
        torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_a_training_can_begin_with_narrower_weights(folder, tmp_path):
    first = tmp_path / "first.safetensors"
    earlier = train_denoiser(recipe(folder), TrainingRun(output=first, progress=False))
    again = recipe(folder, iterations=1, learning_rate=1e-9, last_learning_rate=1e-9)
    widths = {
        width: replace(
            again,
            initial=first,
            critic=DenoiserCriticOptions(widths=(width,) * 6, activation="silu"),
        )
        for width in (7, 9)
    }
    wider = train_denoiser(
        widths[9], TrainingRun(output=tmp_path / "9.safetensors", progress=False)
    )
    x, sigma = random_image(2, 3, 20, 21).float(), torch.tensor([0.1, 0.2])
    torch.testing.assert_close(
        wider.critic(x, sigma), earlier.critic(x, sigma), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(LocregError, match="holds another architecture"):
        train_denoiser(widths[7], TrainingRun(output=tmp_path / "7.safetensors", progress=False))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """A training that was never interrupted: its weights and its log."""
    run = TrainingRun(output=tmp_path_factory.mktemp("whole") / "w.safetensors", progress=False)
    return train_denoiser(recipe(folder), run), run.log.read_text()


@pytest.mark.parametrize("last", [1, 6])
def test_a_resumed_training_equals_an_uninterrupted_one(last, whole, folder, tmp_path):
    """Interrupted before the first checkpoint, or just after a validation."""

    def interrupt(done):
        if done == last:
            raise InterruptedError

    cut = tmp_path / "cut.safetensors"
    run = TrainingRun(output=cut, progress=False, on_iteration=interrupt)
    with pytest.raises(InterruptedError):
        train_denoiser(recipe(folder), run)
    assert run.checkpoint.exists()
    assert not cut.exists()
    resumed = train_denoiser(recipe(folder), TrainingRun(output=cut, resume=True, progress=False))
    expected, log = whole
    for a, b in zip(expected.critic.parameters(), resumed.critic.parameters(), strict=True):
        assert torch.equal(a, b)
    assert run.log.read_text() == log
    assert not run.checkpoint.exists()


@pytest.mark.parametrize("name", ["denoise-rgb", "denoise-gray"])
def test_packaged_energies_invent_nothing_where_the_level_is_too_high(name):
    regularizer = load(name)
    pixels = skimage.data.chelsea()[92:156, 132:196].astype(np.float32).transpose(2, 0, 1) / 255
    clean = torch.from_numpy(pixels)[None, : regularizer.in_channels]
    for sigma in (0.1, 0.2, 0.3, 0.4, 0.5):
        found = locreg.restore(clean, regularizer, options=locreg.RestoreOptions(sigma=sigma)).image
        assert psnr(found, clean).item() > 20, sigma


def test_coarse_scales_are_added_to_a_trained_energy(folder, tmp_path):
    """The finest keeps its weights, and is what an energy of one scale begins with."""
    first = tmp_path / "first.safetensors"
    earlier = train_denoiser(recipe(folder), TrainingRun(output=first, progress=False))
    several = replace(
        recipe(folder),
        critic=DenoiserCriticOptions(widths=(8,) * 6, scales=3),
        initial=first,
        training=replace(recipe(folder, borders="periodic").training, trained="coarse"),
    )
    path = tmp_path / "several.safetensors"
    train_denoiser(several, TrainingRun(output=path, progress=False))
    finest, *coarse = load(path).critic.scales
    assert len(coarse) == 2
    assert all(
        torch.equal(a, b)
        for a, b in zip(finest.parameters(), earlier.critic.parameters(), strict=True)
    )
    assert all(critic.weights[-1].abs().max() > 0 for critic in coarse)
    with pytest.raises(UsageError, match="multiple of 4"):
        replace(several, training=replace(several.training, patch_size=22))
    with pytest.raises(UsageError, match="give scales and initial weights"):
        replace(several, initial=None)


def test_a_resumed_training_of_several_scales_equals_an_uninterrupted_one(folder, tmp_path):
    several = replace(
        recipe(folder, borders="periodic"),
        critic=DenoiserCriticOptions(widths=(8,) * 6, scales=2),
    )

    def stop(done):
        if done == 6:
            raise KeyboardInterrupt

    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train_denoiser(several, TrainingRun(output=whole, progress=False))
    with pytest.raises(KeyboardInterrupt):
        train_denoiser(several, TrainingRun(output=parts, progress=False, on_iteration=stop))
    train_denoiser(several, TrainingRun(output=parts, progress=False, resume=True))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            load(whole).critic.parameters(), load(parts).critic.parameters(), strict=True
        )
    )
