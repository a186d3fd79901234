"""R: its noise levels, its precision and its symmetry."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import conditioned_critic, random_image, small_critic
from locreg.errors import LocregError
from locreg.regularizer.borders import pad
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.regularizer.local_regularizer import LocalRegularizer


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_bfloat16_gives_nearly_the_same_gradient(activation):
    critic = PatchCritic(standard_layers([16] * 6, activation), in_channels=3).requires_grad_(False)
    x = random_image(2, 3, 40, 50, dtype=torch.float32)
    exact = LocalRegularizer(critic)
    coarse = LocalRegularizer(critic, precision="bfloat16", tile=17)
    assert coarse.grad(x).dtype == coarse.score_map(x).dtype == torch.float32
    error = (coarse.grad(x) - exact.grad(x)).norm() / exact.grad(x).norm()
    assert 1e-4 < error < (0.03 if activation == "silu" else 0.2)  # a ReLU has kinks
    score_error = (coarse.score_map(x) - exact.score_map(x)).norm() / exact.score_map(x).norm()
    assert 1e-4 < score_error < 0.02


def symmetric_pair(activation="silu"):
    critic = small_critic(activation)
    return LocalRegularizer(critic), LocalRegularizer(critic, symmetric=True)


def test_a_symmetric_regularizer_is_the_mean_over_flips_and_turns():
    plain, symmetric = symmetric_pair()
    x = random_image(2, 1, 9, 12)
    seen = [torch.rot90(image, k, (2, 3)) for k in range(4) for image in (x, x.flip(3))]
    expected = torch.stack([plain.value_and_grad(image)[0] for image in seen]).mean(0)
    value, gradient = symmetric.value_and_grad(x)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(symmetric.fn(x), expected)
    torch.testing.assert_close(symmetric.score_map(x).sum((1, 2, 3)), expected)
    direction = random_image(2, 1, 9, 12, seed=1)
    step = 1e-5
    ahead, behind = (symmetric.value_and_grad(x + s * direction)[0] for s in (step, -step))
    slope = (gradient * direction).flatten(1).sum(1)
    torch.testing.assert_close((ahead - behind) / (2 * step), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("turns", range(4))
def test_turning_an_image_does_not_change_a_symmetric_regularizer(turns):
    plain, symmetric = symmetric_pair("relu")
    x = random_image(1, 1, 8, 11)
    turned = torch.rot90(x.flip(2), turns, (2, 3))
    torch.testing.assert_close(symmetric.fn(turned), symmetric.fn(x))
    torch.testing.assert_close(
        symmetric.grad(turned), torch.rot90(symmetric.grad(x).flip(2), turns, (2, 3))
    )
    assert not torch.allclose(plain.fn(x.flip(2)), plain.fn(x))


def test_a_stride_can_be_averaged_over_flips_but_its_scores_cannot():
    critic = small_critic(stride=3)
    plain, symmetric = LocalRegularizer(critic), LocalRegularizer(critic, symmetric=True)
    x = random_image(1, 1, 10, 13)
    seen = [torch.rot90(image, k, (2, 3)) for k in range(4) for image in (x, x.flip(3))]
    expected = torch.stack([plain.value_and_grad(image)[0] for image in seen]).mean(0)
    torch.testing.assert_close(symmetric.fn(x), expected)
    with pytest.raises(LocregError, match="stride 1"):
        symmetric.score_map(x)


@given(sigma=st.floats(0, 1))
def test_at_one_noise_level_it_is_a_critic_like_any_other(sigma):
    critic = conditioned_critic()
    x = random_image(2, 1, 9, 11)
    levels = torch.full((2,), sigma, dtype=torch.float64)
    expected = critic(pad(x, critic.receptive_field), levels)
    torch.testing.assert_close(LocalRegularizer(critic).at(sigma).score_map(x), expected)


def test_the_functions_of_a_deepinv_prior_take_the_level():
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


@settings(max_examples=40)
@given(sigma=st.floats(0, 0.5))
def test_a_colour_energy_gives_one_for_grey_images(sigma):
    colour = conditioned_critic(channels=3)
    grey, root = LocalRegularizer(colour.of_grey()), 3**0.5
    x = random_image(2, 1, 9, 11)
    three = x.expand(-1, 3, -1, -1).contiguous()
    of_colour = LocalRegularizer(colour).at(root * sigma)
    torch.testing.assert_close(grey.at(sigma).score_map(x) * root, of_colour.score_map(three))
    step = root * sigma * of_colour.grad(three).mean(1, keepdim=True)
    torch.testing.assert_close(sigma * grey.at(sigma).grad(x), step)
