"""Restoration through operators, ours minimised by deepinv's solvers too."""

import deepinv
import pytest
import torch
from deepinv.optim import FISTA, GD, HQS, L2, PGD

from conftest import random_image, small_critic
from locreg.degradation.deepinv_operators import (
    blur_circular,
    blur_unknown_border,
    downsampling,
    inpainting,
)
from locreg.degradation.kernels import gaussian_kernel
from locreg.errors import LocregError
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import Layer
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.solvers.options import LBFGSOptions, ProximalGradientOptions

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
    found = restore(
        y,
        smooth_regularizer(),
        operator,
        options=RestoreOptions(lam=0.02, solver=LBFGSOptions(steps=60)),
    )
    history = found.solution.history
    assert history[-1].energy < history[0].energy
    assert history[-1].gradient_norm < 0.05 * history[0].gradient_norm


SOLVERS = {
    "GD": (GD, {"stepsize": 0.9, "max_iter": 120}),
    "PGD": (PGD, {"stepsize": 0.9, "max_iter": 120, "g_first": True}),
    "PGD with our prox": (PGD, {"stepsize": 1.5, "max_iter": 25}),
    "FISTA": (FISTA, {"stepsize": 0.9, "max_iter": 60, "g_first": True}),
}


@pytest.fixture(scope="module")
def blurred():
    """(operator, observation, our minimiser at lam = 0.05)."""
    operator = blur_circular(gaussian_kernel(3, 0.5), SHAPE, CPU)
    y = operator.A(random_image(1, *SHAPE, dtype=torch.float32))
    solver = LBFGSOptions(steps=400, tolerance=1e-6)
    options = RestoreOptions(lam=0.05, solver=solver)
    return operator, y, restore(y, smooth_regularizer(), operator, options=options).image


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_of_deepinv_find_our_minimiser(name, blurred):
    """deepinv minimises L2(sigma=1) + lambda * prior: our energy with lam = lambda."""
    operator, y, ours = blurred
    make, options = SOLVERS[name]
    model = make(data_fidelity=L2(), prior=smooth_regularizer(), lambda_reg=0.05, **options)
    torch.testing.assert_close(model(y, operator), ours, rtol=0, atol=2e-3)
    assert (y - ours).abs().max() > 0.05


def test_both_converging_solvers_restore_the_same_image():
    y = random_image(1, 1, 10, 10)
    regularizer = LocalRegularizer(small_critic("softplus"))
    images = [
        restore(y, regularizer, options=RestoreOptions(lam=0.1, solver=solver)).image
        for solver in (
            ProximalGradientOptions(steps=500, tolerance=3e-7),
            LBFGSOptions(steps=500, tolerance=3e-7),
        )
    ]
    torch.testing.assert_close(*images, rtol=0, atol=1e-6)


def test_half_quadratic_splitting_of_deepinv_finds_our_minimiser():
    """With A = 1 and step size g its fixed point is the minimiser of lam = lambda (1 + g).

    u = (x + g y) / (1 + g) and x = prox_{g lambda R}(u) give x - y + lambda (1 + g) grad R(x) = 0.
    """
    regularizer, lam, step = smooth_regularizer(), 0.05, 1.0
    y = random_image(1, *SHAPE, dtype=torch.float32)
    solver = LBFGSOptions(steps=400, tolerance=1e-6)
    ours = restore(
        y, regularizer, options=RestoreOptions(lam=lam * (1 + step), solver=solver)
    ).image
    model = HQS(data_fidelity=L2(), prior=regularizer, lambda_reg=lam, stepsize=step, max_iter=15)
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


class Broken:
    """An operator whose A fails."""

    def A(self, _):
        raise RuntimeError("no detector")

    def A_adjoint(self, y):
        return y


class WithoutAdjoint(Broken):
    """An operator whose A_adjoint is not the adjoint of A."""

    def A(self, x):
        return 2 * x


@pytest.mark.parametrize(
    ("operator", "says"),
    [(Broken(), "A failed.*RuntimeError: no detector"), (WithoutAdjoint(), "not the adjoint of A")],
)
def test_an_operator_that_cannot_work_is_found_before_the_solver_runs(operator, says):
    def no_step(*_):
        raise AssertionError("the solver ran")

    y = random_image(1, *SHAPE, dtype=torch.float32)
    options = RestoreOptions(lam=0.1)
    with pytest.raises(LocregError, match=says):
        restore(y, smooth_regularizer(), operator, options=options, on_step=no_step)
