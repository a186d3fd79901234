"""The engine against autograd, finite differences, and the symmetries of the regularizer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SMOOTH_ACTIVATIONS, random_image, small_critic
from locreg.critic import PatchCritic, standard_layers
from locreg.engine import mirror_indices, pad, pad_adjoint, scores, value_and_gradient
from locreg.errors import LocregError
from locreg.regularizer import LocalRegularizer

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


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_half_the_digits_give_nearly_the_same_gradient(activation):
    critic = PatchCritic(standard_layers([16] * 6, activation), in_channels=3).requires_grad_(False)
    x = random_image(2, 3, 40, 50, dtype=torch.float32)
    exact = LocalRegularizer(critic)
    coarse = LocalRegularizer(critic, precision="bfloat16", tile=17)
    assert coarse.grad(x).dtype == coarse.score_map(x).dtype == torch.float32
    error = (coarse.grad(x) - exact.grad(x)).norm() / exact.grad(x).norm()
    assert 1e-4 < error < (0.03 if activation == "silu" else 0.2)  # a ReLU has kinks
    score_error = (coarse.score_map(x) - exact.score_map(x)).norm() / exact.score_map(x).norm()
    assert 1e-4 < score_error < 0.02


@pytest.mark.parametrize("activation", SMOOTH_ACTIVATIONS)
def test_gradient_equals_finite_differences(activation):
    critic = small_critic(activation)
    x, direction = random_image(1, 1, 20, 17), random_image(1, 1, 20, 17, seed=1) - 0.5
    step = 1e-5
    ahead, behind = (value_and_gradient(critic, x + s * direction, 8)[0] for s in (step, -step))
    slope = (value_and_gradient(critic, x, 8)[1] * direction).sum()
    torch.testing.assert_close((ahead - behind)[0] / (2 * step), slope, rtol=1e-8, atol=1e-8)


@given(height=sizes, width=sizes, field=st.integers(1, 17))
def test_pad_adjoint_is_the_adjoint_of_pad(height, width, field):
    x = random_image(1, 2, height, width)
    z = random_image(1, 2, height + field - 1, width + field - 1, seed=1)
    left, right = (pad(x, field) * z).sum(), (x * pad_adjoint(z, height, width, field)).sum()
    assert abs(left - right) <= 1e-12 * pad(x, field).norm() * z.norm()


@given(length=st.integers(1, 40), half=st.integers(0, 12))
def test_every_pixel_lies_in_equally_many_windows(length, half):
    field = 2 * half + 1
    source = mirror_indices(length, field).numpy()
    windows = np.concatenate([source[start : start + field] for start in range(length)])
    assert (np.bincount(windows, minlength=length) == field).all()


def test_mirror_agrees_with_numpy():
    assert mirror_indices(5, 15).tolist() == np.pad(np.arange(5), 7, "symmetric").tolist()


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (15, 15), (31, 20)])
def test_a_constant_image_has_a_constant_score_map(size):
    critic = small_critic(in_channels=3)
    found = scores(critic, torch.full((1, 3, *size), 0.4, dtype=torch.float64), 8)
    assert found.shape == (1, 1, *size)
    torch.testing.assert_close(found, found[:, :, :1, :1].expand_as(found), rtol=0, atol=1e-12)


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


def test_the_input_is_left_alone():
    critic, x = small_critic(), random_image(1, 1, 9, 9)
    before = x.clone()
    value_and_gradient(critic, x, 4)
    assert torch.equal(x, before)
    assert not x.requires_grad


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
def test_a_symmetric_regularizer_does_not_see_how_an_image_is_turned(turns):
    plain, symmetric = symmetric_pair("relu")
    x = random_image(1, 1, 8, 11)
    turned = torch.rot90(x.flip(2), turns, (2, 3))
    torch.testing.assert_close(symmetric.fn(turned), symmetric.fn(x))
    torch.testing.assert_close(
        symmetric.grad(turned), torch.rot90(symmetric.grad(x).flip(2), turns, (2, 3))
    )
    assert not torch.allclose(plain.fn(x.flip(2)), plain.fn(x))


def test_a_critic_with_a_stride_is_not_averaged_over_turns():
    with pytest.raises(LocregError, match="stride 1"):
        LocalRegularizer(small_critic(stride=3), symmetric=True)
