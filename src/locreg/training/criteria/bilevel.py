"""The bilevel criterion: the minimiser of the energy should be close to the clean image.

Chen, Ranftl, Pock, *Insights into analysis operator learning: from patch-based sparse models to
higher order MRFs*, IEEE Transactions on Image Processing 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from locreg.images.archives import ImageSource
from locreg.images.patches import PatchPool
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.multiscale import Critic, sum_at_scale
from locreg.solvers.iterations import dot, scale
from locreg.solvers.lbfgs import lbfgs
from locreg.solvers.objective import Objective
from locreg.solvers.options import LBFGSOptions


@dataclass(frozen=True)
class BilevelLoss:
    """The criterion, and how exact its gradient is; each a scalar tensor.

    Attributes:
        square_error: mean square of x* - x.
        slope: root mean square of grad E at x*; it is 0 at a minimiser.
        left: residual of conjugate gradients, relative to the norm of the right-hand side.
    """

    square_error: Tensor
    slope: Tensor
    left: Tensor


def bilevel_loss(
    critic: Critic,
    clean: Tensor,
    noisy: Tensor,
    lam: float,
    *,
    minimisation: LBFGSOptions,
    conjugate_gradients: int,
) -> BilevelLoss:
    """Mean square of x* - x with x* = argmin 1/2 |x* - y|^2 + lam R(x*); also sets the ``.grad``.

    The gradient comes from implicit differentiation. At the minimiser x* - y + lam grad R(x*) = 0,
    so the derivative of the loss l by the weights is that of -lam <grad R(x*), p> with p held
    fixed, where (I + lam Hess R(x*)) p = dl / dx*. Conjugate gradients solve for p. They stop early
    where the energy is not convex, or after a number of steps, and return what they have.

    Args:
        critic: r, twice differentiable except at kinks.
        clean: x, images (B, C, H, W) in [0, 1].
        noisy: y, of the same shape.
        lam: weight of R in the energy.
        minimisation: options of L-BFGS, which finds x*.
        conjugate_gradients: largest number of conjugate gradient steps.
    """
    solution = lbfgs(Objective(noisy, LocalRegularizer(critic), lam), noisy, minimisation)
    restored: Tensor = solution.image.requires_grad_()
    with torch.enable_grad():
        scales = range(len(critic.scales))
        value = torch.stack([sum_at_scale(critic, k, restored) for k in scales]).sum()
        gradient = torch.autograd.grad(value, restored, create_graph=True)[0]

    def hessian(direction: Tensor) -> Tensor:
        product = torch.autograd.grad(gradient, restored, direction, retain_graph=True)[0]
        curved: Tensor = direction + lam * product
        return curved

    error = restored.detach() - clean
    right = 2 / error.numel() * error
    direction = conjugate_gradient(hessian, right, conjugate_gradients)
    left = (right - hessian(direction)).norm() / right.norm()
    critic.zero_grad()
    torch.autograd.backward(
        gradient, -lam * direction, inputs=[p for p in critic.parameters() if p.requires_grad]
    )
    norms = solution.history[-1].gradient_norm
    return BilevelLoss(
        square_error=error.square().mean(),
        slope=norms.square().sum().div(error.numel()).sqrt(),
        left=left,
    )


def conjugate_gradient(
    operator: Callable[[Tensor], Tensor], right: Tensor, steps: int, *, tolerance: float = 1e-3
) -> Tensor:
    """Solve H x = b for each image of a batch (B, ...), starting from x = 0.

    An image is done when its residual is at most ``tolerance`` times |b|, or when the curvature
    <d, H d> along a direction is not positive. In this case it keeps its current x (Steihaug 1983);
    if this happens in the first direction, x is b.

    Args:
        operator: H, linear, symmetric and mostly positive definite, applied to each image by
            itself.
        right: b.
        steps: largest number of applications of H.
        tolerance: relative residual at which an image is done.
    """
    x, residual = torch.zeros_like(right), right.clone()
    direction, squared = residual.clone(), dot(residual, residual)
    goal = tolerance**2 * squared
    running = squared > 0
    for step in range(steps):
        product = operator(direction)
        curvature = dot(direction, product)
        if step == 0:
            x = scale((curvature <= 0).double(), right)
        running = running & (curvature > 0) & (squared > goal)
        if not running.any():
            break
        length = torch.where(running, squared / curvature, 0)
        x = x + scale(length, direction)
        residual = residual - scale(length, product)
        following = dot(residual, residual)
        direction = residual + scale(torch.where(running, following / squared, 0), direction)
        squared = following
    return x


@dataclass(frozen=True)
class BilevelCriterion:
    """The bilevel criterion on clean patches with white noise, for `locreg.training`.

    Attributes:
        clean: pool of clean patches.
        sigma: noise level.
        lam: weight of R in the energy.
        batch: number of patches in a step.
        seed: seed of the noise.
        minimisation: options of L-BFGS, which finds the minimisers.
        conjugate_gradients: largest number of conjugate gradient steps.
    """

    clean: PatchPool
    sigma: float
    lam: float
    batch: int
    seed: int
    minimisation: LBFGSOptions
    conjugate_gradients: int
    terms = ("psnr", "slope", "left")

    @property
    def skipped(self) -> dict[ImageSource, str]:
        """Files that could not be used so far, with the reason."""
        return self.clean.skipped

    def draw(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Clean patches, and the same with noise."""
        random = np.random.default_rng([self.seed, iteration])
        clean = torch.from_numpy(self.clean.patches(self.batch, iteration))
        noise = torch.from_numpy(random.standard_normal(tuple(clean.shape), dtype=np.float32))
        return clean, clean + self.sigma * noise

    def accumulate(self, critic: Critic, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Set the ``.grad`` of the critic's parameters; returns PSNR in dB, slope and residual.

        For slope and residual see `BilevelLoss`.
        """
        device = next(critic.parameters()).device
        clean, noisy = (part.to(device) for part in batch)
        loss = bilevel_loss(
            critic,
            clean,
            noisy,
            self.lam,
            minimisation=self.minimisation,
            conjugate_gradients=self.conjugate_gradients,
        )
        psnr = -10 * loss.square_error.log10()
        return torch.stack([psnr, loss.slope.to(psnr), loss.left]).detach()
