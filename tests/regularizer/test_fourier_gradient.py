"""Gradients by Fourier transforms equal those of the layers."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_image, small_ridge_critic
from locreg.regularizer.borders import pad
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.fourier_gradient import is_ridge
from locreg.regularizer.layers import Layer
from locreg.regularizer.tiled_gradient import value_and_gradient

LAST = Layer(channels=1, kernel=1, activation="identity", bias=False)


@settings(max_examples=40)
@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    tile=st.integers(1, 30),
    channels=st.sampled_from((1, 2, 3)),
    filters=st.sampled_from((6, 42)),
    group=st.sampled_from((1, 2, 6)),
    contrast=st.floats(0.5, 4),
)
def test_fourier_transforms_and_layers_agree(
    height, width, tile, channels, filters, group, contrast
):
    made = small_ridge_critic(channels, filters=filters, group=group).double()
    ridge = made.at_contrast(contrast).requires_grad_(False)
    assert is_ridge(ridge)
    x = random_image(2, channels, height, width).requires_grad_()
    expected = ridge(pad(x, 13)).flatten(1).sum(1)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    value, gradient = value_and_gradient(ridge, x.detach(), tile)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, slope, rtol=1e-10, atol=1e-10)


def test_other_critics_are_not_taken_for_ridge_critics():
    strided = (Layer(channels=4, kernel=3, stride=2, activation="mcp", bias=False), LAST)
    biased = (Layer(channels=4, kernel=3, activation="mcp"), LAST)
    smooth = (Layer(channels=4, kernel=3, activation="tanh", bias=False), LAST)
    ridge = (Layer(channels=4, kernel=3, activation="mcp", bias=False), LAST)
    found = [is_ridge(PatchCritic(layers, in_channels=1)) for layers in (strided, biased, smooth)]
    assert found == [False] * 3
    assert is_ridge(PatchCritic(ridge, in_channels=1))
    assert not is_ridge(PatchCritic((LAST,), in_channels=1))
