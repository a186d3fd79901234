"""deepinv's operators and solvers with our regularizer, and the check of any operator."""

from dataclasses import dataclass

import deepinv
import pytest
import torch
from deepinv.optim import FISTA, GD, HQS, L2, PGD

from conftest import random_image
from locreg.critic import Layer, PatchCritic
from locreg.errors import LocregError
from locreg.kernels import gaussian_kernel
from locreg.operators import (
    blur_circular,
    blur_unknown_border,
    check_operator,
    downsampling,
    inpainting,
)
from locreg.options import LBFGSOptions
from locreg.regularizer import LocalRegularizer
from locreg.restoration import restore

CPU = torch.device("cpu")
SHAPE = (1, 16, 16)


def smooth_regularizer():
    """A smooth convex R, bounded below: sums of softplus with positive weights."""
    layers = (
        Layer(channels=4, activation="softplus"),
        Layer(channels=1, activation="identity", bias=False),
    )
    critic = PatchCritic(layers, in_channels=1).requires_grad_(False)
    critic.weights[-1].abs_()
    return LocalRegularizer(critic)


def operators():
    """At least eight of deepinv's linear operators on a grey image of 16x16 pixels."""
    physics = deepinv.physics
    kernel = gaussian_kernel(5, 1.0)
    weights = torch.from_numpy(kernel)[None, None]
    mask = (torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) > 0.4).float()
    return {
        "unknown border": blur_unknown_border(kernel, CPU),
        "circular blur": blur_circular(kernel, SHAPE, CPU),
        "replicated blur": physics.Blur(filter=weights, padding="replicate"),
        "inpainting": inpainting(mask[0], SHAPE, CPU),
        "downsampling": downsampling(2, 0.5, SHAPE, CPU),
        "tomography": physics.Tomography(angles=12, img_width=16, normalize=True),
        "compressed sensing": physics.CompressedSensing(m=120, img_size=SHAPE),
        "single-pixel camera": physics.SinglePixelCamera(m=128, img_size=SHAPE),
        "composition": physics.Downsampling(img_size=SHAPE, filter=None, factor=2)
        * physics.Blur(filter=weights, padding="circular"),
    }


@pytest.mark.parametrize("name", operators())
def test_restores_through_operators_of_deepinv(name):
    operator = operators()[name]
    x = random_image(1, *SHAPE, dtype=torch.float32)
    y = operator.A(x)
    found = restore(y, smooth_regularizer(), operator, lam=0.02, solver=LBFGSOptions(steps=60))
    history = found.solution.history
    assert history[-1].energy < history[0].energy
    assert history[-1].gradient_norm < 0.05 * history[0].gradient_norm


SOLVERS = {
    "GD": (GD, {"stepsize": 0.7, "max_iter": 800}),
    "PGD": (PGD, {"stepsize": 0.7, "max_iter": 800, "g_first": True}),
    "PGD with our prox": (PGD, {"stepsize": 0.7, "max_iter": 200}),
    "FISTA": (FISTA, {"stepsize": 0.7, "max_iter": 300, "g_first": True}),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_of_deepinv_find_our_minimiser(name):
    """deepinv minimises L2(sigma=1) + lambda * prior: our energy with lam = lambda."""
    regularizer, lam = smooth_regularizer(), 0.05
    operator = blur_circular(gaussian_kernel(5, 1.0), SHAPE, CPU)
    y = operator.A(random_image(1, *SHAPE, dtype=torch.float32))
    ours = restore(
        y, regularizer, operator, lam=lam, solver=LBFGSOptions(steps=400, tolerance=1e-6)
    ).image
    make, options = SOLVERS[name]
    model = make(data_fidelity=L2(), prior=regularizer, lambda_reg=lam, **options)
    theirs = model(y, operator)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=2e-3)


def test_half_quadratic_splitting_of_deepinv_finds_our_minimiser():
    """With A = 1 and step size g its fixed point is the minimiser of lam = lambda (1 + g).

    u = (x + g y) / (1 + g) and x = prox_{g lambda R}(u) give x - y + lambda (1 + g) grad R(x) = 0.
    """
    regularizer, lam, step = smooth_regularizer(), 0.05, 1.0
    y = random_image(1, *SHAPE, dtype=torch.float32)
    solver = LBFGSOptions(steps=400, tolerance=1e-6)
    ours = restore(y, regularizer, lam=lam * (1 + step), solver=solver).image
    model = HQS(data_fidelity=L2(), prior=regularizer, lambda_reg=lam, stepsize=step, max_iter=60)
    theirs = model(y, deepinv.physics.Denoising())
    torch.testing.assert_close(theirs, ours, rtol=0, atol=2e-3)


def test_the_proximal_map_of_r_is_where_its_gradient_balances_the_distance():
    """z = prox(x) satisfies z - x + gamma grad R(z) = 0."""
    regularizer = smooth_regularizer()
    x = random_image(2, *SHAPE, dtype=torch.float32)
    z = regularizer.prox(x, gamma=0.3)
    balance = z - x + 0.3 * regularizer.grad(z)
    assert balance.abs().max() < 5e-4
    assert (z - x).abs().max() > 0.05


@dataclass
class Custom:
    """An operator of the user's, made of two functions."""

    A: object
    A_adjoint: object


def flipped(x):
    return x.flip(-1) * torch.arange(x.shape[-1])


def broken(_):
    raise RuntimeError("no detector")


@pytest.mark.parametrize(
    ("A", "A_adjoint", "says"),
    [
        (flipped, flipped, r"not the adjoint of A: for random u and v, <Au, v> is .* and .* is "),
        (lambda x: 2 * x, lambda y: y, "not the adjoint"),
        (broken, lambda y: y, "A failed on a tensor of shape.*RuntimeError: no detector"),
        (lambda x: x, broken, "A_adjoint failed.*no detector"),
        (lambda x: x[..., 1:], lambda y: y, r"A must turn the shape \(1, 1, 16, 16\) into"),
        (lambda x: x.numpy(), lambda y: y, "but gives ndarray"),
        (lambda x: torch.full_like(x, torch.nan), lambda y: y, "not the adjoint"),
    ],
)
def test_an_operator_that_cannot_work_is_found_before_the_solver_runs(A, A_adjoint, says):
    def no_step(*_):
        raise AssertionError("the solver ran")

    y = random_image(1, *SHAPE, dtype=torch.float32)
    with pytest.raises(LocregError, match=says):
        restore(y, smooth_regularizer(), Custom(A, A_adjoint), lam=0.1, on_step=no_step)


def test_the_transpose_of_a_kernel_is_needed_not_the_kernel():
    """An asymmetric blur is not its own adjoint; positive images would hardly show it."""
    weights = torch.tensor([[[[0.0, 0.0, 0.0], [0.7, 0.2, 0.1], [0.0, 0.0, 0.0]]]])
    blur = deepinv.physics.Blur(filter=weights, padding="circular")
    x = random_image(1, 1, 40, 40, dtype=torch.float32)
    check_operator(blur, x, x)
    with pytest.raises(LocregError, match="not the adjoint"):
        check_operator(Custom(blur.A, blur.A), x, x)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_small_pixel_lies_in_the_middle_of_its_block(factor):
    """A ramp shows where: pixel k of the small one has the mean position of its block."""
    length = 12 * factor
    ramp = torch.arange(length, dtype=torch.float32).expand(1, 1, length, length)
    small = downsampling(factor, 0.5, (1, length, length), CPU).A(ramp)
    expected = factor * torch.arange(12) + (factor - 1) / 2
    inside = slice(3, -3)
    torch.testing.assert_close(small[0, 0, 5, inside], expected[inside], rtol=0, atol=5e-3)
    across = downsampling(factor, 0.5, (1, length, length), CPU).A(ramp.mT.contiguous())
    torch.testing.assert_close(across[0, 0, inside, 5], expected[inside], rtol=0, atol=5e-3)


def test_masks_that_cannot_be_meant():
    with pytest.raises(LocregError, match=r"9x8 pixels and the image 16x16"):
        inpainting(torch.ones(8, 9), SHAPE, CPU)
    with pytest.raises(LocregError, match="every pixel as missing"):
        inpainting(torch.zeros(16, 16), SHAPE, CPU)


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(LocregError, match=r"kernel \(17x17 pixels\) is larger than the image"):
        blur_circular(gaussian_kernel(17, 3.0), SHAPE, CPU)
