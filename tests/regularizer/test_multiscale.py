"""Critics of several scales: one energy, exact in tiles, with the same interface as one critic."""

from pathlib import Path

import pytest
import torch

from conftest import conditioned_critic, random_image, small_critic
from locreg.errors import LocregError
from locreg.regularizer.borders import halved
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.multiscale import (
    MultiscaleCritic,
    begin_with,
    critic_from_description,
    sum_at_scale,
)
from locreg.regularizer.weights import Weights, load_weights, save_weights


def three_scales(channels: int = 1) -> MultiscaleCritic:
    scales = [conditioned_critic(seed, channels) for seed in range(3)]
    return MultiscaleCritic(scales).requires_grad_(False)


def sums(critic, *arguments):
    """The terms of R, one for each scale."""
    return torch.stack([sum_at_scale(critic, k, *arguments) for k in range(len(critic.scales))])


def test_the_gradient_is_that_of_the_sum_over_scales():
    """By autograd, of the critics applied to the mirrored and halved image."""
    critic = three_scales()
    x = random_image(2, 1, 21, 18).requires_grad_()
    value = sums(critic, x, torch.full((2,), 0.1, dtype=torch.float64)).sum()
    expected = torch.autograd.grad(value, x)[0]
    found_value, found = LocalRegularizer(critic).at(0.1).value_and_grad(x.detach())
    torch.testing.assert_close(found_value.sum(), value.detach())
    torch.testing.assert_close(found, expected)


def test_the_gradient_agrees_with_finite_differences():
    fixed = LocalRegularizer(three_scales()).at(0.2)
    x, direction = random_image(1, 1, 17, 19), random_image(1, 1, 17, 19, seed=1)
    step = 1e-5
    slope = (fixed.fn(x + step * direction) - fixed.fn(x - step * direction)) / (2 * step)
    torch.testing.assert_close(slope, (fixed.grad(x) * direction).sum()[None], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tile", [1, 3, 5])
def test_tiles_change_nothing(tile):
    x, critic = random_image(1, 1, 23, 26), three_scales().at(0.1)
    whole = LocalRegularizer(critic).value_and_grad(x)
    tiled = LocalRegularizer(critic, tile=tile).value_and_grad(x)
    torch.testing.assert_close(tiled, whole)


def test_a_pixel_changes_the_gradient_only_within_the_receptive_field():
    fixed = LocalRegularizer(three_scales()).at(0.1)
    x, far = random_image(1, 1, 160, 8), fixed.critic.receptive_field
    changed = x.clone()
    changed[..., 80, 4] += 1
    rows = (fixed.grad(changed) != fixed.grad(x)).any(-1).flatten().nonzero()
    assert 80 - far < rows.min() < rows.max() < 80 + far
    assert rows.max() - rows.min() > far, "the coarse scales see further than the finest"


def test_periodic_sums_are_those_of_the_image_continued_by_its_copies():
    """Each window is counted once: an image moved by a multiple of the steps has the same sums."""
    critic, sigma = three_scales(), torch.tensor([0.1], dtype=torch.float64)
    x = random_image(1, 1, 16, 24)
    once = sums(critic, x, sigma, "periodic")
    copies = sums(critic, x.repeat(1, 1, 2, 3), sigma, "periodic")
    moved = sums(critic, x.roll((4, 8), (2, 3)), sigma, "periodic")
    torch.testing.assert_close(copies, 6 * once)
    torch.testing.assert_close(moved, once)


def test_only_whole_squares_count_in_a_halved_image_that_is_not_periodic():
    x = random_image(1, 2, 10, 13)
    assert halved(x).shape == (1, 2, 4, 5)
    assert halved(x, periodic=True).shape == (1, 2, 5, 6)
    ramp = torch.arange(12.0).expand(1, 1, 12, 12)
    torch.testing.assert_close(halved(ramp)[0, 0, 0], torch.arange(1.5, 11, 2))


def test_changes_of_the_critic_act_on_every_scale():
    x, critic = random_image(1, 1, 22, 22), three_scales()
    grey = MultiscaleCritic([conditioned_critic(seed, 3) for seed in range(2)]).of_grey()
    colour = MultiscaleCritic([conditioned_critic(seed, 3) for seed in range(2)])
    level = 0.1 * 3**0.5
    torch.testing.assert_close(
        LocalRegularizer(grey).fn(x, 0.1),
        LocalRegularizer(colour).fn(x.expand(-1, 3, -1, -1), level) / 3**0.5,
    )
    fixed = critic.at(0.1)
    contrast = LocalRegularizer(fixed.at_contrast(2.0))
    torch.testing.assert_close(contrast.fn(x), LocalRegularizer(fixed).fn(2 * x) / 2)


@pytest.mark.parametrize("known_scales", [1, 2, 3])
def test_a_critic_begins_with_the_energy_of_one_with_fewer_scales(known_scales):
    layers = standard_layers([4, 4], "silu")

    def critics(count, seed):
        generator = torch.Generator().manual_seed(seed)
        return [
            PatchCritic(layers, in_channels=1, noise_conditioned=True, generator=generator)
            for _ in range(count)
        ]

    known = critics(known_scales, seed=1)
    known = known[0] if known_scales == 1 else MultiscaleCritic(known)
    critic = MultiscaleCritic(critics(3, seed=2))
    begin_with(critic, known)
    x = random_image(1, 1, 20, 20, dtype=torch.float32)
    expected = LocalRegularizer(known).fn(x, 0.1)
    torch.testing.assert_close(LocalRegularizer(critic).fn(x, 0.1), expected)
    single = critics(1, seed=3)[0]
    begin_with(single, known)
    torch.testing.assert_close(single.weights[0], known.scales[0].weights[0])


def test_a_weight_file_holds_every_scale(tmp_path: Path):
    critic = three_scales(channels=3).float()
    save_weights(Weights(critic=critic), tmp_path / "w.safetensors")
    read = load_weights(tmp_path / "w.safetensors").critic
    x = random_image(1, 3, 20, 20, dtype=torch.float32)
    torch.testing.assert_close(
        LocalRegularizer(read).fn(x, 0.1), LocalRegularizer(critic).fn(x, 0.1)
    )
    assert critic_from_description(read.describe()).describe() == critic.describe()


def test_several_scales_have_no_map_of_scores():
    with pytest.raises(LocregError, match="several scales"):
        LocalRegularizer(three_scales()).at(0.1).score_map(random_image(1, 1, 20, 20))


@pytest.mark.parametrize("scales", [[small_critic()], [small_critic(), conditioned_critic()]])
def test_scales_need_the_same_inputs(scales):
    with pytest.raises(LocregError, match="two or more critics with the same inputs"):
        MultiscaleCritic(scales)
