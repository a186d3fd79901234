"""Ridge critics: what they are blind to, and what they begin as."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_image, small_ridge_critic
from locreg.regularizer.tiled_gradient import value_and_gradient


@settings(max_examples=30)
@given(shift=st.floats(-1, 1), seed=st.integers(0, 5))
def test_neither_a_shift_of_brightness_nor_a_negative_changes_the_score(shift, seed):
    ridge = small_ridge_critic(seed=seed).double()
    x = random_image(1, 1, 20, 17, seed=seed)
    value, _ = value_and_gradient(ridge, x, 64)
    torch.testing.assert_close(value_and_gradient(ridge, x + shift, 64)[0], value)
    torch.testing.assert_close(value_and_gradient(ridge, -x, 64)[0], value)


def test_rotating_the_filters_of_a_group_changes_nothing():
    """The potential depends on the length of a group's responses alone."""
    one, other = (small_ridge_critic(filters=4, group=2).double() for _ in range(2))
    cosine, sine = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
    turned = other.weights[2].view(2, 2, -1)
    other.weights[2].copy_((turn @ turned).view_as(other.weights[2]))
    x = random_image(1, 1, 20, 17)
    for found, expected in zip(
        value_and_gradient(other, x, 64), value_and_gradient(one, x, 64), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("group", [1, 3])
def test_a_constant_image_is_a_minimum(group):
    x = torch.full((1, 3, 16, 16), 0.3)
    value, gradient = value_and_gradient(small_ridge_critic(3, group=group), x, 64)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-4


@pytest.mark.parametrize(("channels", "group"), [(1, 1), (3, 1), (1, 3)])
def test_the_first_gradient_on_noise_is_about_as_long_as_the_criterion_wants(channels, group):
    noise = 0.1 * torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(1))
    ridge = small_ridge_critic(channels, group=group)
    _, gradient = value_and_gradient(ridge, noise, 64)
    assert ridge.receptive_field == 13
    norms = gradient.flatten(1).norm(dim=1) / 64
    assert ((norms > 0.7) & (norms < 1.4)).all()
