"""The denoising criterion: its loss, its gradient, and its precision."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import conditioned_critic, random_image
from locreg.degradation.noise import NoiseRange
from locreg.errors import UsageError
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.solvers.noise_conditioned import gradient_steps
from locreg.solvers.objective import ConditionedObjective
from locreg.solvers.options import GradientStepOptions
from locreg.training.criteria.denoising import (
    DenoisingCriterion,
    context_margin,
    denoising_loss,
    derivatives_are_right_in_bfloat16,
    draw_levels,
    training_precision,
)


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
            denoised = gradient_steps(
                ConditionedObjective(y, LocalRegularizer(critic), s, s),
                y,
                GradientStepOptions(steps=taken),
            ).image
            expected += s * ((denoised - x) / s).square().mean() / sigma.sum() / steps
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("steps", [1, 2])
def test_with_real_borders_only_pixels_that_see_none_count(steps):
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
        denoised = gradient_steps(
            ConditionedObjective(y, regularizer, level, level), y, GradientStepOptions(steps=taken)
        ).image
        error = (denoised - clean)[part][..., margin:-margin, margin:-margin] / level
        expected += error.square().mean().item() / steps
    assert found.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("steps", [1, 2])
def test_with_periodic_borders_the_loss_is_that_of_an_image_of_copies(steps):
    """In the middle of many copies, the mirror at the borders is out of sight."""
    critic = conditioned_critic()
    clean, noise = random_image(2, 1, 7, 8), random_image(2, 1, 7, 8, seed=1) - 0.5
    sigma = torch.tensor([0.1, 0.3], dtype=torch.float64)
    found = denoising_loss(critic, clean, noise, sigma, steps=steps, borders="periodic")
    x, n = (t.repeat(1, 1, 7, 7) for t in (clean, noise))
    level, expected = sigma.view(-1, 1, 1, 1), 0.0
    for taken in range(1, steps + 1):
        denoised = [
            gradient_steps(
                ConditionedObjective(y, LocalRegularizer(critic), float(s), float(s)),
                y,
                GradientStepOptions(steps=taken),
            ).image
            for y, s in zip((x + level * n).split(1), sigma, strict=True)
        ]
        error = ((torch.cat(denoised) - x) / level)[..., 21:28, 24:32]
        expected += (sigma * error.square().flatten(1).mean(1)).sum() / sigma.sum() / steps
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_gradient_of_the_loss_agrees_with_finite_differences(steps):
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
    loss = criterion.accumulate(critic, criterion.draw(0)).item()
    assert loss == pytest.approx(1 - share + share / 3, rel=0.03)


# How PyTorch is asked whether the processor computes in bfloat16.
QUESTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.fixture
def pytorch(monkeypatch):
    """Make PyTorch compute derivatives in bfloat16 right or wrong, and name the processor."""
    convolution = torch.nn.functional.conv2d

    def set_up(*, right, has_bfloat16):
        def conv2d(*arguments, **options):
            wrong = torch.is_autocast_enabled("cpu") and not right
            with torch.autocast("cpu", enabled=False):
                return convolution(*arguments, **options) * (3 if wrong else 1)

        monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)
        for question in QUESTIONS:
            answer = has_bfloat16 and question == QUESTIONS[0]
            monkeypatch.setattr(torch.cpu, question, lambda a=answer: a, raising=False)
        derivatives_are_right_in_bfloat16.cache_clear()

    yield set_up
    derivatives_are_right_in_bfloat16.cache_clear()


def test_bfloat16_is_used_where_the_processor_has_it_and_computes_right(pytorch):
    cpu = torch.device("cpu")
    pytorch(right=True, has_bfloat16=False)
    assert training_precision("auto", cpu) == "float32"
    assert training_precision("bfloat16", cpu) == "bfloat16"
    pytorch(right=True, has_bfloat16=True)
    assert training_precision("auto", cpu) == "bfloat16"
    assert training_precision("float32", cpu) == "float32"
    pytorch(right=False, has_bfloat16=True)
    assert training_precision("auto", cpu) == "float32"
    with pytest.raises(UsageError, match="wrong gradients in bfloat16"):
        training_precision("bfloat16", cpu)


def test_bfloat16_is_used_on_gpus_that_have_it(monkeypatch):
    for generation, expected in ((7, "float32"), (8, "bfloat16")):  # a T4 imitates it
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, g=generation: (g, 5))
        assert training_precision("auto", torch.device("cuda")) == expected


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
