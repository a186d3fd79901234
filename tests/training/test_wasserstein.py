"""The Wasserstein criterion: against closed forms, and the fast gradient against the plain one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_image, small_critic
from locreg.training.criteria.wasserstein import (
    accumulate_critic_gradient,
    critic_loss,
    interpolate,
)


@given(offset=st.floats(-3, 3), slope=st.floats(-3, 3), penalty=st.floats(0.1, 20))
def test_closed_form_for_a_linear_critic(offset, slope, penalty):
    """r(z) = slope * z_1: the estimate is slope * shift, the penalty mu (|slope| - 1)^2."""
    clean = random_image(64, 5)
    degraded = clean.clone()
    degraded[:, 0] += offset
    terms = critic_loss(lambda z: slope * z[:, 0], clean, degraded, torch.rand(64), penalty)
    assert terms.wasserstein.item() == pytest.approx(slope * offset, abs=1e-9)
    expected = penalty * (abs(slope) - 1) ** 2
    assert terms.gradient_penalty.item() == pytest.approx(expected, abs=1e-9)
    assert terms.loss.item() == pytest.approx(expected - slope * offset, abs=1e-9)


@given(slope=st.floats(-3, 3), windows=st.integers(1, 9))
def test_closed_form_of_a_one_sided_penalty_and_several_windows(slope, windows):
    """n scores slope * z_k: R / sqrt(n) has a gradient of length |slope|."""
    clean = random_image(8, windows)
    terms = critic_loss(
        lambda z: slope * z, clean, clean + 0.5, torch.rand(8), 3.0, form="one-sided"
    )
    assert terms.wasserstein.item() == pytest.approx(slope * 0.5 * windows**0.5, abs=1e-9)
    expected = 3.0 * max(abs(slope) - 1, 0) ** 2
    assert terms.gradient_penalty.item() == pytest.approx(expected, abs=1e-9)


@given(slope=st.floats(-3, 3), windows=st.integers(1, 9))
def test_closed_form_of_the_squared_penalty(slope, windows):
    """n scores slope * z_k: neither term depends on n."""
    clean, mixing = random_image(8, windows), torch.full((8,), 0.75).double()
    terms = critic_loss(lambda z: slope * z, clean, clean + 0.5, mixing, 0.5, form="squared")
    assert terms.wasserstein.item() == pytest.approx(slope * 0.5, abs=1e-9)
    assert terms.gradient_penalty.item() == pytest.approx(0.5 * slope**2 / 0.25, abs=1e-9)


def test_the_squared_penalty_makes_a_potential_of_the_squared_distance():
    """Between two points, with mu = 1/2, it is half the squared distance to the clean one."""
    torch.manual_seed(0)
    shift = torch.tensor([0.6, 0.8]) * 1.5
    critic = torch.nn.Sequential(
        torch.nn.Linear(2, 32), torch.nn.SiLU(), torch.nn.Linear(32, 1), torch.nn.Flatten(0)
    )
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3)
    clean = torch.zeros(256, 2)
    for _ in range(600):
        loss = critic_loss(critic, clean, clean + shift, torch.rand(256), 0.5, form="squared").loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = critic(torch.outer(torch.tensor([0.0, 0.5, 0.75, 1.0]), shift))
    expected = 0.5 * 1.5**2 * torch.tensor([0.25, 0.75**2, 1.0])
    torch.testing.assert_close(found[1:] - found[0], expected, rtol=0.1, atol=0.03)


def test_wasserstein_distance_of_two_shifted_gaussians():
    """W1 between N(0, I) and N(m, I) is |m|; a small network must find it."""
    torch.manual_seed(0)
    shift = torch.tensor([0.6, 0.8, 0.0]) * 1.5
    critic = torch.nn.Sequential(
        torch.nn.Linear(3, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1), torch.nn.Flatten(0)
    )
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3)
    for _ in range(400):
        clean, degraded = torch.randn(256, 3), torch.randn(256, 3) + shift
        loss = critic_loss(critic, clean, degraded, torch.rand(256), 10.0).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        estimate = (
            critic(torch.randn(20_000, 3) + shift).mean() - critic(torch.randn(20_000, 3)).mean()
        )
    assert estimate.item() == pytest.approx(1.5, rel=0.07)


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("beyond", [0, 6])
@pytest.mark.parametrize("form", ["two-sided", "one-sided", "squared"])
def test_fast_gradient_equals_double_backpropagation(activation, stride, beyond, form):
    """For patches with one window and with several."""
    critic = small_critic(activation, in_channels=2, stride=stride).requires_grad_()
    size = critic.receptive_field + beyond
    clean, degraded = random_image(6, 2, size, size), random_image(6, 2, size, size, seed=1)
    mixing = random_image(6, seed=2)
    middle = interpolate(clean, degraded, mixing).requires_grad_()
    scores = critic(middle)
    norms = torch.autograd.grad(scores.sum(), middle)[0].flatten(1).norm(dim=1)
    with torch.no_grad():  # so that gradients of either length, below 1 and above, occur
        critic.weights[-1].mul_((scores.numel() / 6) ** 0.5 / norms.median())
    plain = critic_loss(critic, clean, degraded, mixing, 5.0, form=form)
    plain.loss.backward()
    expected = [p.grad.clone() for p in critic.parameters()]
    critic.zero_grad()
    terms = accumulate_critic_gradient(critic, clean, degraded, mixing, 5.0, form=form)
    torch.testing.assert_close(terms.loss, plain.loss.detach(), rtol=1e-12, atol=1e-12)
    for parameter, gradient in zip(critic.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-12)


def test_a_constant_shift_of_the_critic_changes_nothing():
    critic = small_critic()
    clean, degraded = random_image(4, 1, 7, 7), random_image(4, 1, 7, 7, seed=1)
    one, other = (
        critic_loss(lambda z, s=shift: critic(z) + s, clean, degraded, torch.rand(4), 5.0)
        for shift in (0.0, 7.0)
    )
    torch.testing.assert_close(one.wasserstein, other.wasserstein, rtol=0, atol=1e-12)


def test_each_pair_has_its_own_position_on_its_line():
    clean, degraded = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    middle = interpolate(clean, degraded, torch.tensor([0.0, 0.25, 1.0]))
    assert middle.flatten(1).mean(1).tolist() == [1.0, 0.75, 0.0]


def test_a_dead_critic_has_a_finite_gradient():
    """Where all ReLUs are off grad r is 0, and so is the penalty's subgradient."""
    critic = small_critic().float().requires_grad_()
    with torch.no_grad():
        for bias in critic.biases.values():
            bias.fill_(-100.0)
    patches = random_image(2, 1, 7, 7, dtype=torch.float32)
    terms = accumulate_critic_gradient(critic, patches, patches, torch.rand(2), 5.0)
    assert terms.gradient_penalty.item() == pytest.approx(5.0)
    assert all((parameter.grad == 0).all() for parameter in critic.parameters())
