"""Restoration with a noise-conditioned energy at a decreasing noise level."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from locreg.objective import LinearOperator, Objective, Regularizer
from locreg.options import LEAST_SIGMA, AnnealingOptions, check_positive
from locreg.solvers import Iterate, OnStep, Solution, Status, finite, record


class ConditionedRegularizer(Protocol):
    """R(x; sigma), trained so that x - sigma grad R(x; sigma) denoises."""

    def at(self, sigma: float) -> Regularizer:
        """R(.; sigma) at one noise level."""


@torch.no_grad()
def annealed_proximal_gradient(
    y: Tensor,
    regularizer: ConditionedRegularizer,
    operator: LinearOperator | None,
    start: Tensor,
    sigma: float,
    lam: float,
    options: AnnealingOptions = AnnealingOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Proximal gradient steps on energies of decreasing noise level s = s_1 > s_2 > ... > s_N.

        E_s(x) = 1/2 |Ax - y|^2 + lam_s R(x; s),   lam_s = lam sigma / s
        x = prox_{tau D}(x - tau lam_s grad R(x; s)),   tau = s / lam_s

    with D the data term: the gradient step is a denoising step of level s, as it was trained. The
    levels decrease geometrically from ``options.first_level`` to the observation's own (or to
    ``options.last_level``, where that is higher); at s = sigma lam_s is lam. Half-quadratic
    splitting in the schedule of Zhang et al., *Plug-and-play image restoration with deep denoiser
    prior*, 2021, with an explicit energy. The history holds E_s of the level at hand.

    Args:
        y: the observation.
        regularizer: R.
        operator: A; None is the identity.
        start: the first x.
        sigma: noise level of y; where it is smaller than `LEAST_SIGMA`, that is taken.
        lam: weight of R at the observation's level.

    Raises:
        UsageError: when lam is not positive.
    """
    check_positive("lam", lam)
    sigma = max(sigma, LEAST_SIGMA)
    last = max(options.last_level, sigma)
    levels = np.geomspace(last, max(options.first_level, last), options.steps)[::-1].tolist()
    x, history = start, list[Iterate]()
    for level in levels:
        weight = lam * sigma / level
        objective = Objective(y, regularizer.at(level), weight, operator)
        at_x = objective.evaluate(x)
        tau = level / weight
        record(history, at_x, tau, on_step)
        if not finite(at_x):
            return Solution(x, Status.FAILED, tuple(history), len(history))
        step = torch.full((len(x), 1, 1, 1), tau, dtype=x.dtype, device=x.device)
        x = objective.prox(x - level * at_x.regularizer_gradient, step)
    at_x = objective.evaluate(x)
    record(history, at_x, 0.0, on_step)
    status = Status.MAXIMUM_STEPS if finite(at_x) else Status.FAILED
    return Solution(x, status, tuple(history), len(history))


def step_sizes(steps: int) -> list[float]:
    """Of `gradient_steps`: 1, 1/2, 1/4, ..."""
    return [0.5**step for step in range(steps)]


@torch.no_grad()
def gradient_steps(
    y: Tensor,
    regularizer: ConditionedRegularizer,
    operator: LinearOperator | None,
    start: Tensor,
    sigma: float,
    lam: float,
    steps: int = 1,
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """A few gradient steps on 1/2 |Ax - y|^2 + lam R(x; eta sigma), of sizes eta = 1, 1/2, 1/4, ...

        z = x - eta A*(Ax - y),   x = z - eta lam grad R(z; eta sigma)

    Eq. (5) of Prost et al. (2021), its two gradients one after the other. In denoising z is first y
    itself, and with lam = sigma one step is what the energy was trained for (Hurault, Leclaire,
    Papadakis, *Gradient step denoiser for convergent plug-and-play*, 2022). Further steps begin
    with a part of the noise put back, and see as much more of the image. The history holds the
    energies at every z; that of the result would cost one more gradient.

    Args:
        y, regularizer, operator, start: as for `annealed_proximal_gradient`.
        sigma: noise level of y.
        lam: weight of R.
        steps: how many.
    """
    x, history = start, list[Iterate]()
    for eta in step_sizes(steps):
        objective = Objective(y, regularizer.at(eta * sigma), lam, operator)
        z = x - eta * objective.data_gradient(x)
        at_z = objective.evaluate(z)
        record(history, at_z, eta, on_step)
        if not finite(at_z):
            return Solution(z, Status.FAILED, tuple(history), len(history))
        x = z - eta * lam * at_z.regularizer_gradient
    status = Status.MAXIMUM_STEPS if torch.isfinite(x).all() else Status.FAILED
    return Solution(x, status, tuple(history), len(history))
