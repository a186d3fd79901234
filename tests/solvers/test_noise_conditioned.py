"""Noise-conditioned energies in restoration: gradient steps, and annealing for any operator."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from conftest import random_image
from locreg.annealing import annealed_proximal_gradient, gradient_steps
from locreg.critic import PatchCritic, standard_layers
from locreg.errors import LocregError, UsageError
from locreg.kernels import gaussian_kernel
from locreg.objective import Objective
from locreg.operators import blur_circular, blur_unknown_border, inpainting
from locreg.options import AdamOptions, AnnealingOptions, GradientStepOptions, LBFGSOptions
from locreg.regularizer import LocalRegularizer
from locreg.restoration import restore
from locreg.solver_choice import default_solver, usual_steps
from locreg.solvers import Status
from locreg.tasks import deblur

CPU = torch.device("cpu")


@dataclass
class Scaled:
    """R(x; s) = s |x|^2 / 2, for which lam_s R does not depend on s: it is lam sigma |x|^2 / 2."""

    level: float = 0.0

    def at(self, sigma):
        return Scaled(sigma)

    def value_and_grad(self, x):
        return self.level * 0.5 * x.flatten(1).square().sum(1), self.level * x


@dataclass
class Twice:
    """A x = 2 x, a user's operator that knows no closed form."""

    def A(self, x):
        return 2 * x

    A_adjoint = A


def conditioned(seed=0):
    generator = torch.Generator().manual_seed(seed)
    critic = PatchCritic(
        standard_layers((4,) * 6, "silu"), in_channels=1, noise_conditioned=True,
        generator=generator,
    )  # fmt: skip
    return LocalRegularizer(critic.requires_grad_(False))


@pytest.mark.parametrize(("operator", "gain"), [(None, 1), (Twice(), 2)])
def test_annealing_ends_at_the_minimiser_that_all_levels_share(operator, gain):
    """1/2 |g x - y|^2 + lam sigma/2 |x|^2 has the minimiser g y / (g^2 + lam sigma)."""
    y = random_image(2, 1, 6, 7)
    found = annealed_proximal_gradient(
        y, Scaled(), operator, torch.zeros_like(y), 0.5, 1.0, AnnealingOptions(steps=40)
    )
    torch.testing.assert_close(found.image, gain * y / (gain**2 + 0.5), rtol=1e-3, atol=1e-3)
    energies = torch.stack([iterate.energy for iterate in found.history])
    assert (energies.diff(dim=0) <= 1e-6).all()
    assert (found.steps, found.gradients, found.status) == (40, 41, Status.MAXIMUM_STEPS)


def test_the_levels_fall_from_the_first_to_the_observations():
    seen = []

    class Spy(Scaled):
        def at(self, sigma):
            seen.append(sigma)
            return Scaled(sigma)

    y = random_image(1, 1, 5, 5)
    options = AnnealingOptions(steps=5, first_level=0.4, last_level=0.01)
    annealed_proximal_gradient(y, Spy(), None, y, 0.05, 1.0, options)
    np.testing.assert_allclose(seen, np.geomspace(0.4, 0.05, 5))
    seen.clear()
    annealed_proximal_gradient(y, Spy(), None, y, 0.1, 1.0, AnnealingOptions(steps=1))
    assert seen == [0.1]  # a single step is one of the observation's own level


def test_the_proximal_step_is_the_same_by_conjugate_gradients():
    y, x = random_image(1, 1, 12, 12, seed=1), random_image(1, 1, 12, 12)
    operator = inpainting(torch.eye(12), (1, 12, 12), CPU).double()
    step = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    closed = Objective(y, Scaled(), 0.0, operator)
    functions = Twice()
    functions.A, functions.A_adjoint = operator.A, operator.A_adjoint
    iterative = Objective(y, Scaled(), 0.0, functions)
    assert closed.has_prox
    assert not iterative.has_prox
    torch.testing.assert_close(iterative.prox(x, step), closed.prox(x, step), rtol=0, atol=1e-4)


def test_an_energy_that_is_not_finite_is_said():
    y = torch.full((1, 1, 4, 4), 1e300, dtype=torch.float64)
    found = annealed_proximal_gradient(y, Scaled(), None, y, 0.1, 1.0)
    assert found.status is Status.FAILED
    assert found.steps == 1

    class Breaking(Scaled):
        def at(self, sigma):
            return Breaking(sigma)

        def value_and_grad(self, x):
            value, gradient = super().value_and_grad(x)
            return value, gradient * torch.nan

    y = random_image(1, 1, 4, 4)
    found = annealed_proximal_gradient(y, Breaking(0.1), None, y, 0.1, 1.0)
    assert found.status is Status.FAILED


def test_denoising_is_one_gradient_step_of_the_noise_level():
    regularizer = conditioned()
    y = random_image(2, 1, 9, 9, dtype=torch.float32)
    found = restore(y, regularizer, sigma=0.2)
    torch.testing.assert_close(found.image, y - 0.2 * regularizer.grad(y, 0.2))
    assert (found.lam, found.solution.gradients, found.solution.steps) == (0.2, 1, 1)
    weaker = restore(y, regularizer, sigma=0.2, lam=0.1)
    torch.testing.assert_close(weaker.image, y - 0.1 * regularizer.grad(y, 0.2))


def test_without_noise_the_input_comes_back():
    y = random_image(1, 1, 9, 9, dtype=torch.float32)
    assert torch.equal(restore(y, conditioned(), sigma=0).image, y)


@pytest.mark.parametrize("make", [blur_circular, blur_unknown_border])
def test_other_operators_are_annealed(make):
    kernel = gaussian_kernel(5, 1.0)
    operator = blur_unknown_border(kernel, CPU)
    if make is blur_circular:
        operator = blur_circular(kernel, (1, 16, 16), CPU)
    y = operator.A(random_image(1, 1, 16, 16, dtype=torch.float32))
    found = restore(y, conditioned(), operator, sigma=0.05)
    assert len(found.solution.history) == AnnealingOptions().steps + 1
    assert found.solution.history[-1].data_term < found.solution.history[0].data_term


def test_annealing_denoises_where_there_is_no_noise():
    y = random_image(1, 1, 9, 9, dtype=torch.float32)
    found = restore(y, conditioned(), sigma=0.0, solver=AnnealingOptions(steps=2))
    assert found.sigma == 0
    assert torch.isfinite(found.image).all()


def test_any_minimiser_works_at_the_observations_level():
    y = random_image(1, 1, 9, 9, dtype=torch.float32)
    found = restore(y, conditioned(), sigma=0.1, solver=LBFGSOptions(steps=30))
    assert found.solution.history[-1].energy < found.solution.history[0].energy


def test_the_noise_level_is_needed_even_where_lam_is_given():
    y = random_image(1, 1, 32, 32, dtype=torch.float32)
    with pytest.raises(UsageError, match="depend on the noise level"):
        restore(y, conditioned(), lam=0.1)
    assert restore(y, conditioned(), lam=0.1, sigma="auto").sigma > 0.1
    kernel = gaussian_kernel(3, 1.0)
    found = deblur(y, conditioned(), kernel, lam=0.1, solver=AnnealingOptions(steps=1))
    assert found.sigma > 0.1


def test_lam_of_other_operators_follows_from_sigma_and_must_be_positive():
    operator = blur_circular(gaussian_kernel(3, 1.0), (1, 12, 12), CPU)
    y = random_image(1, 1, 12, 12, dtype=torch.float32)
    assert restore(y, conditioned(), operator, sigma=0.1).lam == pytest.approx(0.04)
    assert restore(y, conditioned(), operator, sigma=0.0).lam == pytest.approx(0.0008)
    assert restore(y, conditioned(), operator, sigma=0.1, lam=0.02).lam == 0.02
    with pytest.raises(UsageError, match="lam must be positive"):
        restore(y, conditioned(), operator, sigma=0.1, lam=0.0)


def test_gradient_steps_put_half_of_the_noise_back():
    """x_1 = y - s grad R(y; s); x_2 = z - s/2 grad R(z; s/2) with z midway from x_1 to y."""
    regularizer, y, s = conditioned(), random_image(1, 1, 9, 8, dtype=torch.float32), 0.3
    first = y - s * regularizer.grad(y, s)
    middle = (first + y) / 2
    second = middle - s / 2 * regularizer.grad(middle, s / 2)
    one, two = (
        gradient_steps(y, regularizer, None, torch.zeros_like(y), s, s, steps) for steps in (1, 2)
    )
    torch.testing.assert_close(one.image, first)
    torch.testing.assert_close(two.image, second)
    assert (two.steps, two.gradients, len(two.history)) == (2, 2, 2)
    assert torch.equal(two.history[0].energy, one.history[0].energy)


def test_gradient_steps_take_the_data_term_through_an_operator():
    """R(x; s) = s |x|^2 / 2, A = 2: z = x - 2 eta (2 x - y), then (1 - eta lam eta s) z."""
    y, lam, s = random_image(2, 1, 4, 5), 0.7, 0.4
    x = random_image(2, 1, 4, 5, seed=1)
    found = gradient_steps(y, Scaled(), Twice(), x, s, lam, 3)
    for eta in (1.0, 0.5, 0.25):
        x = (1 - eta * lam * eta * s) * (x - 2 * eta * (2 * x - y))
    torch.testing.assert_close(found.image, x)


@pytest.mark.parametrize("steps", [1, 2])
def test_gradient_steps_stop_at_what_is_no_number(steps):
    broken = torch.full((1, 1, 4, 4), torch.inf)
    found = gradient_steps(broken, Scaled(), None, broken, 0.1, 0.1, steps)
    assert (found.status, found.gradients) == (Status.FAILED, 1)

    class Broken(Scaled):
        def at(self, _):
            return self

        def value_and_grad(self, x):
            return x.flatten(1).sum(1), torch.full_like(x, torch.nan)

    y = random_image(1, 1, 4, 4)
    assert gradient_steps(y, Broken(), None, y, 0.1, 0.1, steps).status is Status.FAILED


def test_gradient_steps_take_no_level_that_was_not_trained():
    regularizer, y = conditioned(), random_image(1, 1, 12, 12, dtype=torch.float32)
    regularizer.criterion = {"noise": (0.2, 0.5), "steps": 1}
    restore(y, regularizer, sigma=0.4, solver=GradientStepOptions(steps=2))
    with pytest.raises(LocregError, match="take fewer steps"):
        restore(y, regularizer, sigma=0.4, solver=GradientStepOptions(steps=3))
    regularizer.criterion = {"noise": (0.2, 0.5), "steps": 3}
    assert restore(y, regularizer, sigma=0.4).solution.gradients == 3
    with pytest.raises(UsageError, match="start at the image itself"):
        restore(y, regularizer, sigma=0.4, start=y)


def test_a_damage_is_removed_in_the_one_step_that_its_strength_was_found_with():
    regularizer, y = conditioned(), random_image(1, 1, 12, 12, dtype=torch.float32)
    regularizer.criterion = {"name": "damage", "level": 0.3, "noise": (0, 0.5), "steps": 2}
    assert restore(y, regularizer).solution.gradients == 1


def test_learned_noise_is_removed_in_one_step():
    regularizer, y = conditioned(), random_image(1, 1, 12, 12, dtype=torch.float32)
    regularizer.criterion = {"level": 0.2, "noise": None}
    assert restore(y, regularizer, solver=GradientStepOptions(steps=1)).solution.gradients == 1
    with pytest.raises(UsageError, match="in one step"):
        restore(y, regularizer, solver=GradientStepOptions(steps=2))


@pytest.mark.parametrize(
    ("trained", "noise", "sigma", "steps"),
    [(1, (0, 0.5), 0.1, 1), (1, (0, 0.5), 0.4, 2), (1, (0.3, 0.5), 0.4, 1), (1, None, 0.4, 1),
     (3, (0, 0.5), 0.1, 3)],
)  # fmt: skip
def test_a_second_step_is_taken_where_the_noise_is_strong(trained, noise, sigma, steps):
    regularizer = conditioned()
    regularizer.criterion = {"noise": noise, "steps": trained}
    y = random_image(1, 1, 12, 12, dtype=torch.float32)
    assert usual_steps(regularizer, sigma) == steps
    found = restore(y, regularizer, sigma=sigma)
    given = restore(y, regularizer, sigma=sigma, solver=GradientStepOptions(steps=steps))
    assert found.solution.gradients == steps
    assert torch.equal(found.image, given.image)


@pytest.mark.parametrize("solver", [GradientStepOptions(), AnnealingOptions()])
def test_a_critic_is_refused_by_solvers_that_need_a_noise_level(solver):
    critic = PatchCritic(standard_layers((4,) * 6), in_channels=1).requires_grad_(False)
    regularizer = LocalRegularizer(critic)
    with pytest.raises(UsageError, match="need weights of a noise-conditioned energy"):
        restore(torch.zeros(1, 1, 8, 8), regularizer, lam=0.1, solver=solver)
    assert default_solver(regularizer, denoising=True) == AdamOptions()


def test_options_that_cannot_be_meant():
    with pytest.raises(UsageError, match="steps must be at least 1"):
        AnnealingOptions(steps=0)
    with pytest.raises(UsageError, match="first_level must be positive"):
        AnnealingOptions(first_level=0)
    with pytest.raises(UsageError, match="steps must be at least 1"):
        GradientStepOptions(steps=0)
