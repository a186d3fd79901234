"""The gradient by tiles against autograd, finite differences, and what must not change it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SMOOTH_ACTIVATIONS, random_image, small_critic
from locreg.regularizer.borders import pad
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.fourier_gradient import is_ridge
from locreg.regularizer.layers import Layer, standard_layers
from locreg.regularizer.tiled_gradient import scores, value_and_gradient

sizes = st.integers(1, 23)


activations = st.sampled_from(("relu", *SMOOTH_ACTIVATIONS))


def by_autograd(critic, x):
    x = x.detach().requires_grad_()
    value = critic(pad(x, critic.receptive_field)).flatten(1).sum(1)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


@settings(max_examples=60)
@given(
    height=sizes,
    width=sizes,
    tile=st.integers(1, 30),
    activation=activations,
    stride=st.sampled_from((1, 3)),
    batch=st.integers(1, 3),
)
def test_equals_autograd_for_every_size_tile_and_activation(
    height, width, tile, activation, stride, batch
):
    critic = small_critic(activation, in_channels=2, stride=stride)
    x = random_image(batch, 2, height, width)
    value, gradient = value_and_gradient(critic, x, tile)
    expected_value, expected_gradient = by_autograd(critic, x)
    torch.testing.assert_close(value, expected_value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", *SMOOTH_ACTIVATIONS])
def test_equals_autograd_in_float32(activation):
    critic = PatchCritic(standard_layers([16] * 6, activation), in_channels=3).requires_grad_(False)
    x = random_image(1, 3, 40, 50, dtype=torch.float32)
    value, gradient = value_and_gradient(critic, x, 17)
    expected_value, expected_gradient = by_autograd(critic, x)
    assert abs(value - expected_value) <= 1e-5 * abs(expected_value)
    assert (gradient - expected_gradient).norm() <= 1e-5 * expected_gradient.norm()


@pytest.mark.parametrize("activation", SMOOTH_ACTIVATIONS)
def test_gradient_equals_finite_differences(activation):
    critic = small_critic(activation)
    x, direction = random_image(1, 1, 20, 17), random_image(1, 1, 20, 17, seed=1) - 0.5
    step = 1e-5
    ahead, behind = (value_and_gradient(critic, x + s * direction, 8)[0] for s in (step, -step))
    slope = (value_and_gradient(critic, x, 8)[1] * direction).sum()
    torch.testing.assert_close((ahead - behind)[0] / (2 * step), slope, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (15, 15), (31, 20)])
def test_a_constant_image_has_a_constant_score_map(size):
    critic = small_critic(in_channels=3)
    found = scores(critic, torch.full((1, 3, *size), 0.4, dtype=torch.float64), 8)
    assert found.shape == (1, 1, *size)
    torch.testing.assert_close(found, found[:, :, :1, :1].expand_as(found), rtol=0, atol=1e-12)


@settings(max_examples=50)
@given(rows=st.integers(0, 9), columns=st.integers(0, 9), stride=st.sampled_from((1, 3)))
def test_the_score_map_moves_with_the_image(rows, columns, stride):
    critic = small_critic(stride=stride)
    rows, columns = rows * stride, columns * stride
    x = random_image(1, 1, 60, 60)
    moved, still = scores(critic, x[..., rows:, columns:], 16), scores(critic, x, 16)
    inner = slice(4, 9)  # away from the mirrored borders
    torch.testing.assert_close(
        moved[..., inner, inner],
        still[..., rows // stride :, columns // stride :][..., inner, inner],
        rtol=0,
        atol=1e-12,
    )


@given(tile=st.integers(1, 50))
def test_the_tile_size_does_not_change_scores(tile):
    critic = small_critic("silu", stride=3)
    x = random_image(2, 1, 31, 44)
    torch.testing.assert_close(scores(critic, x, tile), scores(critic, x, 100), rtol=0, atol=1e-13)


def test_the_input_does_not_change():
    critic, x = small_critic(), random_image(1, 1, 9, 9)
    before = x.clone()
    value_and_gradient(critic, x, 4)
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_groups_in_a_deep_critic():
    layers = (Layer(channels=6, kernel=3, activation="mcp", group=3), Layer(channels=1, kernel=3))
    deep = PatchCritic(layers, in_channels=1).double().requires_grad_(False)
    assert not is_ridge(deep)
    x = random_image(1, 1, 20, 17).requires_grad_()
    expected = deep(pad(x, deep.receptive_field)).sum()
    (slope,) = torch.autograd.grad(expected, x)
    value, gradient = value_and_gradient(deep, x.detach(), 8)
    torch.testing.assert_close(value.sum(), expected.detach())
    torch.testing.assert_close(gradient, slope)
