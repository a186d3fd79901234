"""Solvers against closed forms: R(x) = |x|^2 / 2, where everything is known."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Quadratic, random_image, small_critic
from locreg.errors import UsageError
from locreg.objective import Objective
from locreg.options import AdamOptions, GradientDescentOptions
from locreg.regularizer import LocalRegularizer
from locreg.solvers import Status, adam, gradient_descent


@dataclass
class Scaling:
    """A x = factor * x."""

    factor: float

    def A(self, x):
        return self.factor * x

    def A_adjoint(self, y):
        return self.factor * y


@given(lam=st.floats(0, 4), factor=st.floats(0.3, 1.2))
def test_gradient_descent_finds_the_closed_form(lam, factor):
    """min 1/2 |a x - y|^2 + lam/2 |x|^2: x = a y / (a^2 + lam), E = 1/2 lam / (a^2 + lam) |y|^2."""
    y = random_image(2, 1, 6, 5)
    objective = Objective(y, Quadratic(), lam, Scaling(factor))
    options = GradientDescentOptions(steps=2000, step_size=0.3, tolerance=1e-12)
    solution = gradient_descent(objective, torch.zeros_like(y), options)
    assert solution.status is Status.CONVERGED
    curvature = factor**2 + lam
    torch.testing.assert_close(solution.image, factor * y / curvature, rtol=1e-7, atol=1e-9)
    energy = 0.5 * lam / curvature * y.square().flatten(1).sum(1)
    torch.testing.assert_close(solution.history[-1].energy, energy, rtol=1e-7, atol=1e-9)


def test_adam_approaches_the_closed_form():
    y = random_image(1, 1, 8, 8)
    solution = adam(Objective(y, Quadratic(), 1.0), y)
    assert solution.status is Status.MAXIMUM_STEPS
    torch.testing.assert_close(solution.image, y / 2, rtol=0, atol=0.02)


def test_history_tells_energy_gradient_norm_and_steps():
    y = random_image(3, 1, 8, 8)
    critic = small_critic("silu")
    objective = Objective(y, LocalRegularizer(critic), 0.05)
    solution = gradient_descent(objective, y, GradientDescentOptions(steps=30, step_size=0.05))
    energies = torch.stack([iterate.energy for iterate in solution.history])
    assert (energies.diff(dim=0) <= 1e-12).all()
    for iterate in solution.history:
        torch.testing.assert_close(iterate.energy, iterate.data_term + 0.05 * iterate.regularizer)
    at_end = objective.evaluate(solution.image)
    torch.testing.assert_close(solution.history[-1].energy, at_end.energy)
    torch.testing.assert_close(
        solution.history[-1].gradient_norm, at_end.gradient.flatten(1).norm(dim=1)
    )
    assert (solution.history[0].step_size == 0.05).all()
    assert (solution.history[-1].step_size == 0.0).all()


def test_adam_is_that_of_torch():
    y = random_image(2, 1, 9, 8)
    objective = Objective(y, LocalRegularizer(small_critic("silu")), 0.05)
    x = y.clone()
    optimizer = torch.optim.Adam([x], betas=(0.9, 0.999))
    for step in range(50):
        x.grad = objective.evaluate(x).gradient
        optimizer.param_groups[0]["lr"] = 0.1 * 0.1 ** (step / 49)
        optimizer.step()
    torch.testing.assert_close(adam(objective, y).image, x, rtol=0, atol=1e-9)


def test_adam_steps_decay_exponentially():
    y = random_image(1, 1, 4, 4)
    rates = [i.step_size.item() for i in adam(Objective(y, Quadratic(), 1.0), y).history[:-1]]
    assert len(rates) == 50
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.01)
    ratios = [b / a for a, b in itertools.pairwise(rates)]
    assert ratios == pytest.approx([ratios[0]] * 49)


@pytest.mark.parametrize("steps", [3, 5000])
def test_a_step_too_large_is_reported_as_failed(steps):
    y = random_image(1, 1, 4, 4) + 1
    options = GradientDescentOptions(steps=steps, step_size=50.0)
    solution = gradient_descent(Objective(y, Quadratic(), 5.0), y, options)
    assert solution.status is Status.FAILED


def test_without_regularizer_the_observation_comes_back():
    y = random_image(1, 1, 9, 9)
    regularizer = LocalRegularizer(small_critic())
    assert torch.equal(adam(Objective(y, regularizer, 0.0), y).image, y)


def test_energies_of_two_halves_add_up():
    """Sums, not means: a separable energy of an image is that of its parts, with the same lam."""
    y = random_image(1, 1, 8, 12)
    x = random_image(1, 1, 8, 12, seed=1)
    whole = Objective(y, Quadratic(), 0.7).evaluate(x).energy
    parts = [
        Objective(y[..., s], Quadratic(), 0.7).evaluate(x[..., s]).energy
        for s in (slice(0, 5), slice(5, 12))
    ]
    torch.testing.assert_close(whole, sum(parts))


@pytest.mark.parametrize("lam", [-0.1, float("nan"), float("inf")])
def test_impossible_lam_is_refused(lam):
    with pytest.raises(UsageError, match="lam"):
        Objective(random_image(1, 1, 4, 4), Quadratic(), lam)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdamOptions(steps=0),
        lambda: AdamOptions(learning_rate=0),
        lambda: GradientDescentOptions(step_size=-1),
    ],
)
def test_impossible_options_are_refused(make):
    with pytest.raises(UsageError):
        make()
