"""What proximal gradient and L-BFGS both promise: closed forms and energies that never grow."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Quadratic, random_image, small_critic
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.solvers.first_order import proximal_gradient
from locreg.solvers.lbfgs import lbfgs
from locreg.solvers.objective import Objective
from locreg.solvers.options import LBFGSOptions, ProximalGradientOptions
from locreg.solvers.solution import Status

SOLVERS = {
    "proximal gradient": (proximal_gradient, ProximalGradientOptions),
    "L-BFGS": (lbfgs, LBFGSOptions),
}
both = pytest.mark.parametrize("name", SOLVERS)


class Falling:
    """R(x) = -|x|^4: with it the energy has no lower bound."""

    def value_and_grad(self, x):
        return -x.pow(4).flatten(1).sum(1), -4 * x.pow(3)


@dataclass
class Mask:
    """A x = m x; its proximal step is (x + step m y) / (1 + step m)."""

    m: torch.Tensor

    def A(self, x):
        return self.m * x

    def A_adjoint(self, y):
        return self.m * y

    def prox_l2(self, z, y, gamma):
        return (z + gamma * self.m * y) / (1 + gamma * self.m)


class WithoutProx(Mask):
    prox_l2 = None


def solve(name, objective, start, **options):
    solver, make = SOLVERS[name]
    return solver(objective, start, make(**options))


@both
@pytest.mark.parametrize("operator", [Mask, WithoutProx])
@settings(max_examples=20)
@given(lam=st.floats(0.05, 4), seed=st.integers(0, 5))
def test_the_closed_form_is_found(name, operator, lam, seed):
    """min 1/2 |m x - y|^2 + lam/2 |x|^2 with m in {0, 1}: x = m y / (m + lam)."""
    m = (random_image(1, 1, 6, 5, seed=seed) > 0.4).double()
    y = m * random_image(2, 1, 6, 5, seed=seed)
    objective = Objective(y, Quadratic(), lam, operator(m))
    assert objective.has_prox == (operator is Mask)
    solution = solve(name, objective, torch.ones_like(y), steps=500, tolerance=3e-7)
    assert solution.status is Status.CONVERGED
    # |x - minimiser| <= |grad E| / lam, where lam is the least curvature
    bound = 3e-7 * 30**0.5 / lam
    torch.testing.assert_close(solution.image, m * y / (m + lam), rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("name", "activation"),
    [("L-BFGS", "relu"), *((name, a) for name in SOLVERS for a in ("silu", "softplus"))],
)
def test_the_energy_never_grows(name, activation):
    y = random_image(3, 1, 9, 8)
    objective = Objective(y, LocalRegularizer(small_critic(activation)), 0.3)
    solution = solve(name, objective, y, steps=60)
    energies = torch.stack([iterate.energy for iterate in solution.history])
    assert (energies.diff(dim=0) <= 0).all()
    assert (energies[-1] < energies[0]).all()
    assert solution.gradients <= 60
    at_end = objective.evaluate(solution.image)
    torch.testing.assert_close(solution.history[-1].energy, at_end.energy)


@both
def test_a_smooth_critic_converges(name):
    y = random_image(2, 1, 9, 8)
    objective = Objective(y, LocalRegularizer(small_critic("softplus")), 0.1)
    solution = solve(name, objective, y, steps=300, tolerance=3e-7)
    assert solution.status is Status.CONVERGED
    gradient = objective.evaluate(solution.image).gradient
    assert gradient.flatten(1).norm(dim=1).max() <= 3e-7 * 72**0.5


@both
def test_an_image_is_solved_as_if_it_were_alone(name):
    y = torch.cat([random_image(1, 1, 7, 7), 30 * random_image(1, 1, 7, 7, seed=1)])
    regularizer = LocalRegularizer(small_critic("silu"))
    together = solve(name, Objective(y, regularizer, 0.2), y, steps=400)
    for i in range(2):
        alone = solve(name, Objective(y[i : i + 1], regularizer, 0.2), y[i : i + 1], steps=400)
        assert alone.status is Status.CONVERGED
        torch.testing.assert_close(together.image[i : i + 1], alone.image, rtol=0, atol=2e-3)
    assert together.status is Status.CONVERGED


@both
def test_an_energy_without_bound_is_reported_as_failed(name):
    y = 1 + random_image(1, 1, 3, 3)
    solution = solve(name, Objective(y, Falling(), 1.0), y, steps=3000)
    assert solution.status is Status.FAILED


@both
def test_no_more_gradients_than_allowed(name):
    y = random_image(1, 1, 8, 8)
    objective = Objective(y, LocalRegularizer(small_critic("silu")), 5.0)
    solution = solve(name, objective, y, steps=4, tolerance=0)
    assert solution.status is Status.MAXIMUM_STEPS
    assert solution.gradients == 4


def test_both_find_the_same_minimiser():
    y = random_image(1, 1, 10, 10)
    objective = Objective(y, LocalRegularizer(small_critic("softplus")), 0.1)
    images = [solve(name, objective, y, steps=500, tolerance=3e-7).image for name in SOLVERS]
    torch.testing.assert_close(*images, rtol=0, atol=1e-6)
