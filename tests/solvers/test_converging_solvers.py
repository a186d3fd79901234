"""Proximal gradient and L-BFGS: closed forms, monotone energies, every image on its own."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Quadratic, random_image, small_critic
from locreg.errors import UsageError
from locreg.kernels import gaussian_kernel
from locreg.objective import Objective
from locreg.operators import blur_circular
from locreg.options import AdamOptions, LBFGSOptions, ProximalGradientOptions
from locreg.quasi_newton import lbfgs
from locreg.regularizer import LocalRegularizer, load
from locreg.restoration import restore
from locreg.solvers import Status, adam, proximal_gradient
from locreg.validation import add_noise

CPU = torch.device("cpu")

SOLVERS = {
    "proximal gradient": (proximal_gradient, ProximalGradientOptions),
    "L-BFGS": (lbfgs, LBFGSOptions),
}
both = pytest.mark.parametrize("name", SOLVERS)


class Absolute:
    """R(x) = |x|_1, with a kink at 0."""

    def value_and_grad(self, x):
        return x.abs().flatten(1).sum(1), x.sign()


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
@given(lam=st.floats(0.05, 4), seed=st.integers(0, 5))
def test_closed_form(name, operator, lam, seed):
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


@given(step=st.floats(1e-3, 1e3))
def test_the_proximal_step_of_denoising_solves_its_equation(step):
    """z = prox(x) where step (z - y) + z - x = 0."""
    y, x = random_image(2, 1, 4, 4), random_image(2, 1, 4, 4, seed=1)
    steps = torch.tensor([step, 2 * step]).double().view(-1, 1, 1, 1)
    z = Objective(y, Quadratic(), 1.0).prox(x, steps)
    torch.testing.assert_close(steps * (z - y) + z - x, torch.zeros_like(x), rtol=0, atol=1e-9)


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


def test_an_image_that_finds_no_decrease_costs_the_others_nothing():
    """Near 0 the first image gets a gradient that leads upwards: it must give up, alone."""

    class PartlyWrong:
        def __init__(self, wrong):
            self.wrong = torch.tensor(wrong).view(-1, 1, 1, 1)

        def value_and_grad(self, x):
            near = x.flatten(1).norm(dim=1).view(-1, 1, 1, 1) < 6
            slope = x + 4 * x.pow(3)
            value = (0.5 * x.square() + x.pow(4)).flatten(1).sum(1)
            return value, torch.where(near & self.wrong, -9 * slope, slope)

    random = torch.Generator().manual_seed(3)
    y = 3 * torch.randn(2, 1, 6, 6, dtype=torch.float64, generator=random)
    options = LBFGSOptions(steps=400, tolerance=1e-5)
    found = lbfgs(Objective(y, PartlyWrong([True, False]), 1.0), y, options)
    alone = lbfgs(Objective(y[1:], PartlyWrong([False]), 1.0), y[1:], options)
    assert found.status is Status.STALLED
    assert alone.status is Status.CONVERGED
    assert torch.equal(found.image[1:], alone.image)
    energies = torch.stack([iterate.energy for iterate in found.history])
    moved = torch.stack([iterate.step_size for iterate in found.history])[:-1] > 0
    assert torch.equal(energies[1:] < energies[:-1], moved)


def test_lbfgs_reaches_a_kink_and_calls_it_stalled():
    """min 1/2 |x - y|^2 + |x|_1 for |y| < 1 is x = 0, where the gradient does not vanish."""
    y = random_image(1, 1, 1, 4)
    solution = solve("L-BFGS", Objective(y, Absolute(), 1.0), y, steps=3000, tolerance=1e-9)
    assert solution.status is Status.STALLED
    torch.testing.assert_close(solution.image, torch.zeros_like(y), rtol=0, atol=1e-3)


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


def test_both_find_the_same_minimiser_by_restore():
    y = random_image(1, 1, 10, 10)
    regularizer = LocalRegularizer(small_critic("softplus"))
    images = [
        restore(y, regularizer, lam=0.1, solver=make(steps=500, tolerance=3e-7)).image
        for _, make in SOLVERS.values()
    ]
    torch.testing.assert_close(*images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("blurred", [False, True])
def test_lbfgs_has_the_energy_of_1000_adam_steps_after_a_tenth_of_the_gradients(
    blurred, photograph
):
    sigma = 0.03 if blurred else 0.1
    clean = torch.from_numpy(photograph[100:124, 210:234].copy()).permute(2, 0, 1)[None] / 255
    operator = blur_circular(gaussian_kernel(7, 3.0), (3, 24, 24), CPU) if blurred else None
    y = add_noise(operator.A(clean) if operator else clean, sigma, seed=0)
    objective = Objective(y, load("denoise-rgb").at(sigma), sigma, operator)
    long = adam(objective, y, AdamOptions(steps=1000))
    short = lbfgs(objective, y, LBFGSOptions(steps=100, tolerance=1e-5))
    assert short.gradients <= 100
    start, least, reached = (
        iterate.energy.item() for iterate in (long.history[0], long.history[-1], short.history[-1])
    )
    assert reached <= least + 1e-4 * (start - least)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (ProximalGradientOptions, {"steps": 0}),
        (ProximalGradientOptions, {"inertia": 1.0}),
        (LBFGSOptions, {"memory": 0}),
        (LBFGSOptions, {"curvature": 1.0}),
    ],
)
def test_options_that_cannot_work_are_refused(make, wrong):
    with pytest.raises(UsageError):
        make(**wrong)
