"""Solvers for noise-conditioned regularizers: gradient steps, and annealing of the noise level."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from locreg.arguments import check_positive
from locreg.degradation.noise import LEAST_SIGMA
from locreg.solvers.iterations import finite, record
from locreg.solvers.objective import ConditionedObjective
from locreg.solvers.options import AnnealingOptions, GradientStepOptions, step_sizes
from locreg.solvers.solution import Iterate, OnStep, Solution, Status


@torch.no_grad()
def annealed_proximal_gradient(
    objective: ConditionedObjective,
    start: Tensor,
    options: AnnealingOptions = AnnealingOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Proximal gradient steps on energies E_s with decreasing noise level s = s_1 > ... > s_N.

        E_s(x) = 1/2 |Ax - y|^2 + lam_s R(x; s),   lam_s = lam sigma / s
        x = prox_{tau D}(x - tau lam_s grad R(x; s)),   tau = s / lam_s

    with D the data term. Since tau lam_s = s, the gradient step denoises at noise level s, which R
    was trained for. The noise levels decrease geometrically from ``options.first_level`` to the
    observation's own sigma, or to ``options.last_level`` if that is higher. At s = sigma, lam_s is
    lam. The schedule is that of half-quadratic splitting in Zhang et al., *Plug-and-play image
    restoration with deep denoiser prior*, 2021, here with an explicit energy. The history holds E_s
    at the current noise level.

    Args:
        objective: y, R, A, lam and sigma. A sigma below `LEAST_SIGMA` is replaced by `LEAST_SIGMA`.
        start: the first x (B, C, H, W), nominally in [0, 1].
        options: see `AnnealingOptions`.
        on_step: called with the number and the `Iterate` of each point of the path.

    Raises:
        UsageError: when lam is not positive, or a noise level is above 1.
        LocregError: when R does not depend on a noise level, or start does not fit R in shape or
            dtype.
    """
    check_positive("lam", objective.lam)
    sigma = max(objective.sigma, LEAST_SIGMA)
    last = max(options.last_level, sigma)
    levels = np.geomspace(last, max(options.first_level, last), options.steps)[::-1].tolist()
    x, history = start, list[Iterate]()
    for level in levels:
        lam = objective.lam * sigma / level
        at_level = objective.at(level, lam)
        at_x = at_level.evaluate(x)
        tau = level / lam
        record(history, at_x, tau, on_step)
        if not finite(at_x):
            return Solution(x, Status.FAILED, tuple(history), len(history))
        step = torch.full((len(x), 1, 1, 1), tau, dtype=x.dtype, device=x.device)
        x = at_level.prox(x - level * at_x.regularizer_gradient, step)
    at_x = at_level.evaluate(x)
    record(history, at_x, 0.0, on_step)
    status = Status.MAXIMUM_STEPS if finite(at_x) else Status.FAILED
    return Solution(x, status, tuple(history), len(history))


@torch.no_grad()
def gradient_steps(
    objective: ConditionedObjective,
    start: Tensor,
    options: GradientStepOptions = GradientStepOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Gradient steps on 1/2 |Ax - y|^2 + lam R(x; eta sigma), of step sizes eta = 1, 1/2, 1/4, ...

        z = x - eta A*(Ax - y),   x = z - eta lam grad R(z; eta sigma)

    This is eq. (5) of Prost et al. (2021) with its two gradients applied one after the other. In
    denoising, the first z is y itself, and one step with lam = sigma is what R was trained for
    (Hurault, Leclaire, Papadakis, *Gradient step denoiser for convergent plug-and-play*, 2022).
    Each further step first puts part of the noise back, and sees more of the image. The history
    holds the energy at every z, but not at the result, which would cost one more gradient.

    Args:
        objective: y, R, A, lam and sigma.
        start: the first x (B, C, H, W), nominally in [0, 1].
        options: see `GradientStepOptions`.
        on_step: called with the number and the `Iterate` of each z.

    Raises:
        UsageError: when lam is negative or not finite, or sigma is not in [0, 1].
        LocregError: when R does not depend on a noise level, or start does not fit R in shape or
            dtype.
    """
    x, history = start, list[Iterate]()
    for eta in step_sizes(options.steps or 1):
        at_level = objective.at(eta * objective.sigma, objective.lam)
        z = x - eta * at_level.data_gradient(x)
        at_z = at_level.evaluate(z)
        record(history, at_z, eta, on_step)
        if not finite(at_z):
            return Solution(z, Status.FAILED, tuple(history), len(history))
        x = z - eta * objective.lam * at_z.regularizer_gradient
    status = Status.MAXIMUM_STEPS if torch.isfinite(x).all() else Status.FAILED
    return Solution(x, status, tuple(history), len(history))
