"""L-BFGS: at kinks, with images that find no decrease, and compared with Adam."""

import pytest
import torch

from conftest import random_image
from locreg.degradation.deepinv_operators import blur_circular
from locreg.degradation.kernels import gaussian_kernel
from locreg.degradation.noise import add_noise
from locreg.regularizer.local_regularizer import load
from locreg.solvers.first_order import adam
from locreg.solvers.lbfgs import lbfgs
from locreg.solvers.objective import Objective
from locreg.solvers.options import AdamOptions, LBFGSOptions
from locreg.solvers.solution import Status


class Absolute:
    """R(x) = |x|_1, with a kink at 0."""

    def value_and_grad(self, x):
        return x.abs().flatten(1).sum(1), x.sign()


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
    solution = lbfgs(Objective(y, Absolute(), 1.0), y, LBFGSOptions(steps=3000, tolerance=1e-9))
    assert solution.status is Status.STALLED
    torch.testing.assert_close(solution.image, torch.zeros_like(y), rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("blurred", [False, True])
def test_lbfgs_has_the_energy_of_1000_adam_steps_after_a_tenth_of_the_gradients(
    blurred, photograph
):
    sigma = 0.03 if blurred else 0.1
    clean = torch.from_numpy(photograph[100:124, 210:234].copy()).permute(2, 0, 1)[None] / 255
    operator = (
        blur_circular(gaussian_kernel(7, 3.0), (3, 24, 24), clean.device) if blurred else None
    )
    y = add_noise(operator.A(clean) if operator else clean, sigma, seed=0)
    objective = Objective(y, load("denoise-rgb").at(sigma), sigma, operator)
    long = adam(objective, y, AdamOptions(steps=1000))
    short = lbfgs(objective, y, LBFGSOptions(steps=100, tolerance=1e-5))
    assert short.gradients <= 100
    start, least, reached = (
        iterate.energy.item() for iterate in (long.history[0], long.history[-1], short.history[-1])
    )
    assert reached <= least + 1e-4 * (start - least)


def test_lbfgs_has_the_energy_of_200_adam_steps_after_a_tenth_of_the_gradients(photograph):
    """The slow test above in small: fewer steps, and a smaller image."""
    clean = torch.from_numpy(photograph[100:112, 210:222].copy()).permute(2, 0, 1)[None] / 255
    y = add_noise(clean, 0.1, seed=0)
    objective = Objective(y, load("denoise-rgb").at(0.1), 0.1)
    long = adam(objective, y, AdamOptions(steps=200))
    short = lbfgs(objective, y, LBFGSOptions(steps=20, tolerance=1e-5))
    assert short.gradients <= 20
    start, least, reached = (
        iterate.energy.item() for iterate in (long.history[0], long.history[-1], short.history[-1])
    )
    assert reached <= least + 1e-4 * (start - least)
