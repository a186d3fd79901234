"""Annealing and gradient steps with energies whose noise level is known."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from conftest import Scaling, conditioned_regularizer, random_image
from locreg.errors import UsageError
from locreg.solvers.noise_conditioned import (
    annealed_proximal_gradient,
    gradient_steps,
)
from locreg.solvers.objective import ConditionedObjective
from locreg.solvers.options import AnnealingOptions, GradientStepOptions, step_sizes
from locreg.solvers.solution import Status


@dataclass
class Scaled:
    """R(x; s) = s |x|^2 / 2, for which lam_s R does not depend on s: it is lam sigma |x|^2 / 2."""

    level: float = 0.0

    def at(self, sigma):
        return Scaled(sigma)

    def value_and_grad(self, x):
        return self.level * 0.5 * x.flatten(1).square().sum(1), self.level * x


@pytest.mark.parametrize(("operator", "gain"), [(None, 1), (Scaling(2.0), 2)])
def test_annealing_ends_at_the_minimiser_that_all_levels_share(operator, gain):
    """1/2 |g x - y|^2 + lam sigma/2 |x|^2 has the minimiser g y / (g^2 + lam sigma)."""
    y = random_image(2, 1, 6, 7)
    found = annealed_proximal_gradient(
        ConditionedObjective(y, Scaled(), 1.0, 0.5, operator),
        torch.zeros_like(y),
        AnnealingOptions(steps=40),
    )
    torch.testing.assert_close(found.image, gain * y / (gain**2 + 0.5), rtol=1e-3, atol=1e-3)
    energies = torch.stack([iterate.energy for iterate in found.history])
    assert (energies.diff(dim=0) <= 1e-6).all()
    assert (found.steps, found.gradients, found.status) == (40, 41, Status.MAXIMUM_STEPS)


def test_the_noise_levels_fall_from_the_first_to_that_of_the_observation():
    seen = []

    class Spy(Scaled):
        def at(self, sigma):
            seen.append(sigma)
            return Scaled(sigma)

    y = random_image(1, 1, 5, 5)
    options = AnnealingOptions(steps=5, first_level=0.4, last_level=0.01)
    annealed_proximal_gradient(ConditionedObjective(y, Spy(), 1.0, 0.05), y, options)
    np.testing.assert_allclose(seen, np.geomspace(0.4, 0.05, 5))
    seen.clear()
    annealed_proximal_gradient(
        ConditionedObjective(y, Spy(), 1.0, 0.1), y, AnnealingOptions(steps=1)
    )
    assert seen == [0.1]  # a single step is one of the observation's own level


def test_annealing_fails_at_an_energy_that_is_not_finite():
    y = torch.full((1, 1, 4, 4), 1e300, dtype=torch.float64)
    found = annealed_proximal_gradient(ConditionedObjective(y, Scaled(), 1.0, 0.1), y)
    assert found.status is Status.FAILED
    assert found.steps == 1

    class Breaking(Scaled):
        def at(self, sigma):
            return Breaking(sigma)

        def value_and_grad(self, x):
            value, gradient = super().value_and_grad(x)
            return value, gradient * torch.nan

    y = random_image(1, 1, 4, 4)
    found = annealed_proximal_gradient(ConditionedObjective(y, Breaking(0.1), 1.0, 0.1), y)
    assert found.status is Status.FAILED


def test_gradient_steps_put_half_of_the_noise_back():
    """x_1 = y - s grad R(y; s); x_2 = z - s/2 grad R(z; s/2) with z midway from x_1 to y."""
    regularizer, y, s = (
        conditioned_regularizer(),
        random_image(1, 1, 9, 8, dtype=torch.float32),
        0.3,
    )
    first = y - s * regularizer.grad(y, s)
    middle = (first + y) / 2
    second = middle - s / 2 * regularizer.grad(middle, s / 2)
    one, two = (
        gradient_steps(
            ConditionedObjective(y, regularizer, s, s),
            torch.zeros_like(y),
            GradientStepOptions(steps=steps),
        )
        for steps in (1, 2)
    )
    torch.testing.assert_close(one.image, first)
    torch.testing.assert_close(two.image, second)
    assert (two.steps, two.gradients, len(two.history)) == (2, 2, 2)
    assert torch.equal(two.history[0].energy, one.history[0].energy)


def test_gradient_steps_take_the_data_term_through_an_operator():
    """R(x; s) = s |x|^2 / 2, A = 2: z = x - 2 eta (2 x - y), then (1 - eta lam eta s) z."""
    y, lam, s = random_image(2, 1, 4, 5), 0.7, 0.4
    x = random_image(2, 1, 4, 5, seed=1)
    found = gradient_steps(
        ConditionedObjective(y, Scaled(), lam, s, Scaling(2.0)), x, GradientStepOptions(steps=3)
    )
    for eta in (1.0, 0.5, 0.25):
        x = (1 - eta * lam * eta * s) * (x - 2 * eta * (2 * x - y))
    torch.testing.assert_close(found.image, x)


@pytest.mark.parametrize("steps", [1, 2])
def test_gradient_steps_fail_at_an_energy_that_is_not_finite(steps):
    broken = torch.full((1, 1, 4, 4), torch.inf)
    found = gradient_steps(
        ConditionedObjective(broken, Scaled(), 0.1, 0.1), broken, GradientStepOptions(steps=steps)
    )
    assert (found.status, found.gradients) == (Status.FAILED, 1)

    class Broken(Scaled):
        def at(self, _):
            return self

        def value_and_grad(self, x):
            return x.flatten(1).sum(1), torch.full_like(x, torch.nan)

    y = random_image(1, 1, 4, 4)
    assert (
        gradient_steps(
            ConditionedObjective(y, Broken(), 0.1, 0.1), y, GradientStepOptions(steps=steps)
        ).status
        is Status.FAILED
    )


def test_step_sizes_are_halved():
    assert step_sizes(4) == [1, 0.5, 0.25, 0.125]
    y = random_image(1, 1, 4, 4)
    solution = gradient_steps(
        ConditionedObjective(y, Scaled(), 0.1, 0.1), y, GradientStepOptions(steps=3)
    )
    assert [iterate.step_size.item() for iterate in solution.history] == step_sizes(3)
    one = gradient_steps(ConditionedObjective(y, Scaled(), 0.1, 0.1), y)
    assert one.gradients == 1


def test_annealing_needs_a_positive_lam():
    y = random_image(1, 1, 4, 4)
    with pytest.raises(UsageError, match="lam must be positive"):
        annealed_proximal_gradient(ConditionedObjective(y, Scaled(), 0.0, 0.1), y)
