"""The bilevel criterion: its gradient and its linear systems."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_image
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import MCP_ROUNDING, Layer, standard_layers
from locreg.regularizer.ridge import ridge_critic
from locreg.solvers.options import LBFGSOptions
from locreg.training.criteria.bilevel import bilevel_loss, conjugate_gradient

EXACT = LBFGSOptions(steps=2000, tolerance=1e-11)


def critic(activation="softplus", channels=1, **options):
    generator = torch.Generator().manual_seed(0)
    layers = standard_layers((4, 4, 3), activation)
    return PatchCritic(layers, in_channels=channels, generator=generator, **options)


def loss(network, clean, noisy, lam=0.05):
    return bilevel_loss(
        network, clean, noisy, lam, minimisation=EXACT, conjugate_gradients=300
    ).square_error.item()


@pytest.mark.parametrize(
    ("kind", "channels"),
    [("softplus", 1), ("silu", 3), pytest.param("ridge", 1, marks=pytest.mark.slow)],
)
def test_the_gradient_agrees_with_finite_differences(kind, channels):
    """Along a random direction of all weights at once."""
    generator = torch.Generator().manual_seed(0)
    network = (
        ridge_critic(3, in_channels=channels, generator=generator, noise=0.1)
        if kind == "ridge"
        else critic(kind, channels)
    ).double()
    shape = (1, 1, 9, 8) if kind == "ridge" else (2, channels, 14, 11)
    clean = random_image(*shape)
    noisy = clean + 0.1 * torch.randn(
        clean.shape, generator=torch.Generator().manual_seed(1), dtype=clean.dtype
    )
    loss(network, clean, noisy)
    gradients = [p.grad.clone() for p in network.parameters()]
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(g.shape, generator=generator, dtype=g.dtype) for g in gradients]
    along = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))

    def moved(step):
        other = PatchCritic.from_description(network.describe()).double()
        other.load_state_dict(network.state_dict())
        with torch.no_grad():
            for parameter, direction in zip(other.parameters(), directions, strict=True):
                parameter += step * direction
        return loss(other, clean, noisy)

    assert abs(along) > 1e-6
    assert (moved(1e-5) - moved(-1e-5)) / 2e-5 == pytest.approx(along, rel=0.01)


def test_a_quadratic_energy_in_closed_form():
    """Near 0 the potential is c t^2 / 2: with lam R(x) = k/2 |x|^2, x* = y / (1 + k)."""
    layers = (
        Layer(channels=1, kernel=1, activation="mcp", bias=False),
        Layer(channels=1, kernel=1, activation="identity", bias=False),
    )
    network = PatchCritic(layers, in_channels=1).double()
    torch.nn.init.constant_(network.weights[0], 0.01)
    torch.nn.init.constant_(network.weights[1], 300.0)
    clean, noisy = random_image(2, 1, 9, 9), random_image(2, 1, 9, 9, seed=1)
    slope = 0.1 * 0.01**2 * (1 / MCP_ROUNDING - 1)  # of k, as a function of the last weight
    shrinkage = 1 / (1 + 300 * slope)
    found = loss(network, clean, noisy, lam=0.1)
    assert found == pytest.approx((shrinkage * noisy - clean).square().mean().item())
    moves = -slope * shrinkage**2 * noisy  # of x*
    expected = (2 * (shrinkage * noisy - clean) * moves).mean().item()
    assert network.weights[1].grad.item() == pytest.approx(expected)


@given(seed=st.integers(0, 20), steps=st.integers(8, 20))
def test_conjugate_gradients_solve_each_image_of_a_batch(seed, steps):
    generator = torch.Generator().manual_seed(seed)
    roots = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64)
    matrices = roots @ roots.transpose(1, 2) + torch.eye(8).double()
    right = torch.randn(3, 8, 1, generator=generator, dtype=torch.float64)
    right[1] = 0
    found = conjugate_gradient(lambda x: matrices @ x, right, steps, tolerance=1e-9)
    torch.testing.assert_close(found, torch.linalg.solve(matrices, right), atol=1e-5, rtol=1e-5)


def test_conjugate_gradients_stop_where_the_curvature_is_negative():
    diagonal = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])[..., None]
    found = conjugate_gradient(lambda x: diagonal * x, torch.ones(2, 2, 1), 10)
    torch.testing.assert_close(found[0], torch.tensor([[1.0], [0.5]]))
    assert torch.equal(found[1], torch.ones(2, 1))  # as if the energy were the data term alone
