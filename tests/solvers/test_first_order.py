"""Adam, gradient descent and proximal gradient against closed forms and torch.optim."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Quadratic, Scaling, random_image, small_critic
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.solvers.first_order import adam, gradient_descent, proximal_gradient
from locreg.solvers.objective import Objective
from locreg.solvers.options import AdamOptions, GradientDescentOptions, ProximalGradientOptions
from locreg.solvers.solution import Status


@settings(max_examples=30)
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


def test_the_history_holds_energy_gradient_norm_and_step_size():
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


def test_adam_takes_the_steps_of_torch():
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


@pytest.mark.parametrize("activation", ["silu", "softplus"])
def test_proximal_gradient_needs_fewer_gradients_than_gradient_descent(activation):
    y = random_image(1, 1, 9, 8)
    objective = Objective(y, LocalRegularizer(small_critic(activation)), 0.2)
    best = proximal_gradient(objective, y, ProximalGradientOptions(steps=500, tolerance=1e-7))
    short = proximal_gradient(objective, y, ProximalGradientOptions(steps=20))
    slow = gradient_descent(objective, y, GradientDescentOptions(steps=60, tolerance=0))
    least = best.history[-1].energy.item()
    assert short.history[-1].energy.item() - least <= slow.history[-1].energy.item() - least


def test_steps_are_reported_as_they_are_taken():
    y = random_image(1, 1, 4, 4)
    seen = []
    solution = adam(
        Objective(y, Quadratic(), 1.0),
        y,
        AdamOptions(steps=3),
        on_step=lambda step, iterate: seen.append((step, iterate)),
    )
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert tuple(iterate for _, iterate in seen) == solution.history
    assert solution.steps == 3
