"""The energy, its gradient, and the proximal step of its data term."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from deepinv.physics import Blur
from hypothesis import given
from hypothesis import strategies as st

from conftest import Quadratic, Scaling, random_image, small_critic
from locreg.degradation.deepinv_operators import (
    blur_circular,
    blur_unknown_border,
    downsampling,
    inpainting,
)
from locreg.degradation.kernels import gaussian_kernel
from locreg.errors import UsageError
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.solvers.objective import ConditionedObjective, Objective

CPU = torch.device("cpu")


@dataclass
class WithoutProx:
    """An operator made of two functions, without a proximal map."""

    A: Callable
    A_adjoint: Callable


@pytest.mark.parametrize("operator", [None, Scaling(0.7)])
def test_the_gradient_is_that_of_the_energy(operator):
    """Compared with a central difference along a random direction."""
    y, x = random_image(2, 1, 7, 6), random_image(2, 1, 7, 6, seed=1)
    objective = Objective(y, LocalRegularizer(small_critic("softplus")), 0.4, operator)
    at_x, move = objective.evaluate(x), 1e-5 * random_image(2, 1, 7, 6, seed=2)
    difference = objective.evaluate(x + move).energy - objective.evaluate(x - move).energy
    slope = 2 * (at_x.gradient * move).flatten(1).sum(1)
    torch.testing.assert_close(difference, slope, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        at_x.gradient, objective.data_gradient(x) + 0.4 * at_x.regularizer_gradient
    )
    torch.testing.assert_close(at_x.energy, at_x.data_term + 0.4 * at_x.regularizer)


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


@given(step=st.floats(1e-3, 1e3))
def test_the_proximal_step_of_denoising_solves_its_equation(step):
    """z = prox(x) where step (z - y) + z - x = 0."""
    y, x = random_image(2, 1, 4, 4), random_image(2, 1, 4, 4, seed=1)
    steps = torch.tensor([step, 2 * step]).double().view(-1, 1, 1, 1)
    z = Objective(y, Quadratic(), 1.0).prox(x, steps)
    torch.testing.assert_close(steps * (z - y) + z - x, torch.zeros_like(x), rtol=0, atol=1e-9)


def test_the_proximal_step_is_the_same_by_conjugate_gradients():
    y, x = random_image(1, 1, 12, 12, seed=1), random_image(1, 1, 12, 12)
    operator = inpainting(torch.eye(12), (1, 12, 12), CPU).double()
    step = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    closed = Objective(y, Quadratic(), 0.0, operator)
    iterative = Objective(y, Quadratic(), 0.0, WithoutProx(operator.A, operator.A_adjoint))
    assert closed.has_prox
    assert not iterative.has_prox
    torch.testing.assert_close(iterative.prox(x, step), closed.prox(x, step), rtol=0, atol=1e-4)


def test_operators_with_a_closed_proximal_step_are_known():
    kernel, shape = gaussian_kernel(3, 1.0), (1, 12, 12)
    weights = torch.from_numpy(kernel)[None, None]
    operators = {
        None: True,
        blur_circular(kernel, shape, CPU): True,
        inpainting(torch.eye(12), shape, CPU): True,
        downsampling(2, 0.5, shape, CPU): False,
        blur_unknown_border(kernel, CPU): False,
        Blur(filter=weights, padding="replicate"): False,
    }
    y = random_image(1, *shape)
    for operator, closed in operators.items():
        assert Objective(y, Quadratic(), 1.0, operator).has_prox == closed, operator
    assert not Objective(y, Quadratic(), 1.0, Scaling(2.0)).has_prox


def test_a_conditioned_objective_holds_one_energy_per_noise_level():
    class Conditioned:
        """R(x; s) = s |x|^2 / 2."""

        def at(self, sigma):
            class AtLevel(Quadratic):
                def value_and_grad(self, x):
                    return tuple(sigma * part for part in super().value_and_grad(x))

            return AtLevel()

    y, x = random_image(1, 1, 4, 5), random_image(1, 1, 4, 5, seed=1)
    objective = ConditionedObjective(y, Conditioned(), 1.0, 0.1, Scaling(2.0))
    at_x = objective.at(0.3, 0.5).evaluate(x)
    expected = 0.5 * (2 * x - y).square().sum() + 0.5 * 0.3 * 0.5 * x.square().sum()
    torch.testing.assert_close(at_x.energy, expected.view(1))


@pytest.mark.parametrize("lam", [-0.1, float("nan"), float("inf")])
def test_impossible_lam_is_refused(lam):
    with pytest.raises(UsageError, match="lam"):
        Objective(random_image(1, 1, 4, 4), Quadratic(), lam)
