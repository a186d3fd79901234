"""The noise-conditioned critic and the denoising criterion."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st

import locreg
from conftest import random_image
from locreg.annealing import gradient_steps
from locreg.critic import Layer, PatchCritic
from locreg.engine import pad
from locreg.errors import LocregError, UsageError
from locreg.options import NoiseRange
from locreg.recipes import train_denoiser_from_folder
from locreg.regularizer import LocalRegularizer, load
from locreg.score_matching import (
    _BFLOAT16,
    DenoisingCriterion,
    context_margin,
    denoising_loss,
    derivatives_are_right_in_bfloat16,
    draw_levels,
    training_precision,
)
from locreg.training_files import checkpoint_path, log_path
from locreg.training_options import CriticOptions, DenoiserRecipe, DenoisingOptions, SplitOptions
from locreg.validation import DenoiserValidation, load_crops, psnr
from locreg.weights import Weights, load_weights, save_weights


def conditioned_critic(seed=0, channels=1):
    layers = (
        Layer(channels=5, activation="silu"),
        Layer(channels=4, activation="softplus"),
        Layer(channels=1, activation="identity", bias=False),
    )
    generator = torch.Generator().manual_seed(seed)
    critic = PatchCritic(layers, in_channels=channels, noise_conditioned=True, generator=generator)
    for parameter in critic.biases.values():
        torch.nn.init.normal_(parameter, generator=generator)
    return critic.double()


@given(sigma=st.floats(0, 1))
def test_at_one_noise_level_it_is_a_critic_like_any_other(sigma):
    critic = conditioned_critic()
    x = random_image(2, 1, 9, 11)
    levels = torch.full((2,), sigma, dtype=torch.float64)
    expected = critic(pad(x, critic.receptive_field), levels)
    torch.testing.assert_close(LocalRegularizer(critic).at(sigma).score_map(x), expected)


def test_images_of_a_batch_may_have_levels_of_their_own():
    critic = conditioned_critic()
    x = random_image(2, 1, 9, 9)
    levels = torch.tensor([0.1, 0.4], dtype=torch.float64)
    for image, level, scores in zip(x, levels, critic(x, levels), strict=True):
        torch.testing.assert_close(critic(image[None], level[None])[0], scores)


def test_it_serves_as_a_prior_of_deepinv_that_is_told_the_level():
    critic = conditioned_critic()
    regularizer, x = LocalRegularizer(critic), random_image(1, 1, 8, 8)
    fixed = regularizer.at(0.2)
    assert torch.equal(regularizer.grad(x, 0.2), fixed.grad(x))
    assert torch.equal(regularizer.fn(x, torch.tensor([0.2], dtype=torch.float64)), fixed.fn(x))
    with pytest.raises(LocregError, match="give sigma"):
        regularizer.grad(x)
    with pytest.raises(LocregError, match="one noise level"):
        regularizer.grad(x, torch.tensor([0.1, 0.2]))
    with pytest.raises(LocregError, match=r"use \.at\(sigma\)"):
        regularizer.value_and_grad(x)


def test_a_level_is_refused_by_a_critic_that_has_none():
    critic = PatchCritic(in_channels=1)
    with pytest.raises(LocregError, match="does not depend on a noise level"):
        critic.at(0.1)
    with pytest.raises(LocregError, match="does not depend on a noise level"):
        critic(torch.zeros(1, 1, 20, 20), torch.tensor([0.1]))
    without = (Layer(channels=2, bias=False), Layer(channels=1, activation="identity"))
    with pytest.raises(LocregError, match="must have a bias"):
        PatchCritic(without, noise_conditioned=True)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_loss_is_the_mean_error_of_the_gradient_steps(steps):
    critic = conditioned_critic()
    clean, noise = random_image(3, 1, 8, 8), random_image(3, 1, 8, 8, seed=1) - 0.5
    sigma = torch.tensor([0.05, 0.2, 0.5], dtype=torch.float64)
    found = denoising_loss(critic, clean, noise, sigma, steps=steps)
    expected = 0.0
    for x, n, s in zip(clean, noise, sigma, strict=True):
        y = (x + s * n)[None]
        for taken in range(1, steps + 1):
            denoised = gradient_steps(y, LocalRegularizer(critic), None, y, s, s, taken).image
            expected += s * ((denoised - x) / s).square().mean() / sigma.sum() / steps
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("steps", [1, 2])
def test_with_real_borders_the_pixels_count_that_see_none(steps):
    """What lies around them is in the image: their error is that in the larger image."""
    critic = conditioned_critic()
    clean, noise = random_image(1, 1, 34, 35), random_image(1, 1, 34, 35, seed=1) - 0.5
    level, margin = 0.2, context_margin(critic, steps, "real")
    assert margin == 6 * steps
    part = (..., slice(2, 32), slice(3, 34))
    sigma = torch.tensor([level], dtype=torch.float64)
    found = denoising_loss(critic, clean[part], noise[part], sigma, steps=steps, borders="real")
    y, regularizer, expected = clean + level * noise, LocalRegularizer(critic), 0.0
    for taken in range(1, steps + 1):
        denoised = gradient_steps(y, regularizer, None, y, level, level, taken).image
        error = (denoised - clean)[part][..., margin:-margin, margin:-margin] / level
        expected += error.square().mean().item() / steps
    assert found.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_gradient_of_the_loss_is_that_of_finite_differences(steps):
    critic = conditioned_critic()
    clean, noise = random_image(2, 1, 7, 7), random_image(2, 1, 7, 7, seed=1) - 0.5
    sigma = torch.tensor([0.1, 0.4], dtype=torch.float64)
    denoising_loss(critic, clean, noise, sigma, steps=steps).backward()
    generator = torch.Generator().manual_seed(4)
    for weight in critic.parameters():
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        losses = []
        for shift in (1e-5, -2e-5):  # from where it is, then to the other side
            with torch.no_grad():
                weight += shift * direction
            losses.append(denoising_loss(critic, clean, noise, sigma, steps=steps).item())
        with torch.no_grad():
            weight += 1e-5 * direction
        slope = (losses[0] - losses[1]) / 2e-5
        assert (weight.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_share_of_the_patches_has_weaker_noise(share):
    """R = 0 leaves the noise, whose mean square is 1, or u^2 with u uniform in [0, 1]."""
    critic = conditioned_critic().float()
    for parameter in critic.parameters():
        torch.nn.init.zeros_(parameter)
    criterion = DenoisingCriterion(
        clean=SimpleNamespace(patches=lambda batch, _: np.zeros((batch, 1, 8, 8), np.float32)),
        noise=NoiseRange(low=0.1, high=0.1),
        batch=2000,
        seed=0,
        precision="float32",
        steps=1,
        borders="mirrored",
        weaker_noise=share,
    )
    loss = criterion.accumulate(critic, 0).item()
    assert loss == pytest.approx(1 - share + share / 3, rel=0.03)


def test_a_training_for_two_steps_says_so_and_denoises_in_two(folder, tmp_path):
    path = tmp_path / "w.safetensors"
    trained = train_denoiser_from_folder(path, recipe(folder, steps=2), progress=False)
    assert (trained.criterion["steps"], trained.training["precision"]) == (2, "float32")
    found = locreg.restore(random_image(1, 3, 16, 16, dtype=torch.float32), load(path), sigma=0.05)
    assert found.solution.gradients == 2
    with pytest.raises(UsageError, match="removed in one step"):
        replace(recipe(folder, steps=2), degraded=tmp_path)


def test_bfloat16_is_used_where_the_processor_has_it(monkeypatch):
    right = "locreg.score_matching.derivatives_are_right_in_bfloat16"
    monkeypatch.setattr(right, lambda: True)
    for name in _BFLOAT16:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert training_precision("auto", cpu) == "float32"
    assert training_precision("bfloat16", cpu) == "bfloat16"
    monkeypatch.setattr(torch.cpu, _BFLOAT16[0], lambda: True, raising=False)
    assert training_precision("auto", cpu) == "bfloat16"
    assert training_precision("float32", cpu) == "float32"
    monkeypatch.setattr(right, lambda: False)
    assert training_precision("auto", cpu) == "float32"
    with pytest.raises(UsageError, match="wrong gradients in bfloat16"):
        training_precision("bfloat16", cpu)
    for generation, expected in ((7, "float32"), (8, "bfloat16")):  # a T4 imitates it
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, g=generation: (g, 5))
        assert training_precision("auto", gpu) == expected
    with pytest.raises(UsageError, match="precision must be one of"):
        DenoisingOptions(precision="float16")
    with pytest.raises(UsageError, match=r"weaker_noise must be in \[0, 1\)"):
        DenoisingOptions(weaker_noise=1.0)


@pytest.mark.parametrize("name", ["denoise-rgb", "denoise-gray"])
def test_told_too_high_a_level_the_packaged_energies_invent_nothing(name):
    regularizer = load(name)
    pixels = skimage.data.chelsea()[60:188, 100:228].astype(np.float32).transpose(2, 0, 1) / 255
    clean = torch.from_numpy(pixels)[None, : regularizer.in_channels]
    for told in (0.1, 0.2, 0.3, 0.4, 0.5):
        found = locreg.restore(clean, regularizer, sigma=told).image
        assert psnr(found, clean).item() > 20, told


def test_bfloat16_changes_the_loss_and_its_gradient_little():
    if not derivatives_are_right_in_bfloat16():
        pytest.skip("this PyTorch computes wrong in bfloat16 on this processor")
    critic = conditioned_critic().float()
    clean = random_image(4, 1, 24, 24, dtype=torch.float32)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.05, 0.1, 0.2, 0.5])
    gradients = []
    for precision in (torch.float32, torch.bfloat16):
        critic.zero_grad()
        denoising_loss(critic, clean, noise, sigma, precision).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in critic.parameters()]))
    assert (gradients[0] - gradients[1]).norm() < 0.05 * gradients[0].norm()


@given(low=st.floats(0, 0.4), more=st.floats(0, 0.5), seed=st.integers(0, 99))
def test_levels_lie_in_their_range(low, more, seed):
    levels = draw_levels(
        50, NoiseRange(low=low, high=low + more + 1e-3), np.random.default_rng(seed)
    )
    assert levels.min() >= low - 1e-6
    assert levels.max() <= low + more + 1.1e-3


def recipe(folder, **training):
    return DenoiserRecipe(
        clean=folder,
        critic=CriticOptions(widths=(8,) * 6, activation="silu"),
        data=SplitOptions(seed=3, held_out=2, validation_size=32),
        training=DenoisingOptions(
            **{"iterations": 12, "batch": 2, "patch_size": 20, "checkpoint_every": 4,
               "validate_every": 6, "log_every": 2, "precision": "float32", **training}
        ),
    )  # fmt: skip


def test_one_step_denoises_after_a_short_training(folder, tmp_path):
    weights = train_denoiser_from_folder(
        tmp_path / "w.safetensors",
        recipe(folder, iterations=150, weight_average=0.9, last_learning_rate=1e-3),
        progress=False,
    )
    images = load_crops(sorted(folder.iterdir())[:3], size=40, channels=3)
    untrained = PatchCritic(weights.critic.layers, in_channels=3, noise_conditioned=True)
    validate = DenoiserValidation(images, seed=9, noise=NoiseRange(low=0.1, high=0.2))
    assert validate(weights.critic)[0] > validate(untrained)[0] + 2


def test_only_levels_that_were_trained_decide_which_weights_are_kept(folder, tmp_path):
    narrow = replace(recipe(folder), noise=NoiseRange(low=0.05, high=0.1))
    weights = train_denoiser_from_folder(tmp_path / "n.safetensors", narrow, progress=False)
    names = set(weights.training["validations"][0]) - {"iteration", "quality"}
    assert names == {"psnr_0.05", "psnr_0.1"}
    single = replace(recipe(folder), noise=NoiseRange(low=0.3, high=0.3))
    weights = train_denoiser_from_folder(tmp_path / "s.safetensors", single, progress=False)
    assert "psnr_0.3" in weights.training["validations"][0]


@given(sigma=st.floats(0, 0.5))
def test_an_energy_of_colour_images_serves_grey_ones(sigma):
    colour = conditioned_critic(channels=3)
    grey, root = LocalRegularizer(colour.of_grey()), 3**0.5
    x = random_image(2, 1, 9, 11)
    three = x.expand(-1, 3, -1, -1).contiguous()
    of_colour = LocalRegularizer(colour).at(root * sigma)
    torch.testing.assert_close(grey.at(sigma).score_map(x) * root, of_colour.score_map(three))
    step = root * sigma * of_colour.grad(three).mean(1, keepdim=True)
    torch.testing.assert_close(sigma * grey.at(sigma).grad(x), step)


def test_a_training_can_begin_with_earlier_weights(folder, tmp_path):
    first = tmp_path / "first.safetensors"
    earlier = train_denoiser_from_folder(first, recipe(folder), progress=False)
    again = recipe(folder, iterations=1, learning_rate=1e-9, last_learning_rate=1e-9)
    later = train_denoiser_from_folder(
        tmp_path / "later.safetensors", replace(again, initial=first), progress=False
    )
    for before, after in zip(earlier.critic.parameters(), later.critic.parameters(), strict=True):
        torch.testing.assert_close(before, after, rtol=0, atol=1e-6)
    assert later.training["initial"]["iterations_done"] == 12
    grey = replace(again, critic=replace(again.critic, channels=1))
    of_colour = train_denoiser_from_folder(
        tmp_path / "grey.safetensors", replace(grey, initial=first), progress=False
    )
    for before, after in zip(
        earlier.critic.of_grey().parameters(), of_colour.critic.parameters(), strict=True
    ):
        torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_a_training_can_begin_with_narrower_weights(folder, tmp_path):
    first = tmp_path / "first.safetensors"
    earlier = train_denoiser_from_folder(first, recipe(folder), progress=False)
    again = recipe(folder, iterations=1, learning_rate=1e-9, last_learning_rate=1e-9)
    widths = {
        width: replace(
            again, initial=first, critic=CriticOptions(widths=(width,) * 6, activation="silu")
        )
        for width in (7, 9)
    }
    wider = train_denoiser_from_folder(tmp_path / "9.safetensors", widths[9], progress=False)
    x, sigma = random_image(2, 3, 20, 21).float(), torch.tensor([0.1, 0.2])
    torch.testing.assert_close(
        wider.critic(x, sigma), earlier.critic(x, sigma), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(LocregError, match="holds another architecture"):
        train_denoiser_from_folder(tmp_path / "7.safetensors", widths[7], progress=False)


@pytest.mark.parametrize(
    "interrupted", ["validation.DenoiserValidation.__call__", "training._step"]
)
def test_a_resumed_training_equals_an_uninterrupted_one(interrupted, folder, tmp_path, monkeypatch):
    """Stopped at a validation, or before the first iteration is done."""
    whole = train_denoiser_from_folder(
        tmp_path / "whole.safetensors", recipe(folder), progress=False
    )

    def interrupt(*_):
        raise InterruptedError

    cut = tmp_path / "cut.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(f"locreg.{interrupted}", interrupt)
        with pytest.raises(InterruptedError):
            train_denoiser_from_folder(cut, recipe(folder), progress=False)
    assert checkpoint_path(cut).exists()
    resumed = train_denoiser_from_folder(cut, recipe(folder), resume=True, progress=False)
    for expected, found in zip(whole.critic.parameters(), resumed.critic.parameters(), strict=True):
        assert torch.equal(expected, found)
    assert log_path(cut).read_text() == log_path(tmp_path / "whole.safetensors").read_text()
    assert not checkpoint_path(cut).exists()


def test_the_weight_file_keeps_the_noise_conditioning(tmp_path):
    critic = conditioned_critic().float()
    path = tmp_path / "w.safetensors"
    save_weights(Weights(critic=critic, criterion={"name": "denoising"}), path)
    loaded = load_weights(path).critic
    x = random_image(1, 1, 8, 8, dtype=torch.float32)
    assert torch.equal(LocalRegularizer(critic).grad(x, 0.3), LocalRegularizer(loaded).grad(x, 0.3))
