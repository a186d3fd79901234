"""Solvers that minimise an objective with its gradient; each returns a `Solution`."""

from __future__ import annotations

import torch
from torch import Tensor

from locreg.solvers.iterations import choose, choose_evaluation, finite, record
from locreg.solvers.objective import Evaluation, Objective
from locreg.solvers.options import AdamOptions, GradientDescentOptions, ProximalGradientOptions
from locreg.solvers.solution import Iterate, OnStep, Solution, Status

_EPSILON = 1e-8  # keeps Adam's division finite, as in its paper


@torch.no_grad()
def adam(
    objective: Objective,
    start: Tensor,
    options: AdamOptions = AdamOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Take a fixed number of Adam steps: the solver of Prost et al. (2021), section 3.3.

        x <- x - eta_k m / (sqrt(v) + 1e-8)

    m and v are the bias-corrected running means of grad E and of its square. Adam's step does not
    depend on the scale of the energy. It does not approach a minimiser to high accuracy: to stop
    after these steps is part of the paper's method.

    Kingma and Ba, *Adam*, 2015, algorithm 1. It is not that of ``torch.optim``, which takes 2 s to
    load.

    Args:
        objective: the energy E.
        start: the first x (B, C, H, W), nominally in [0, 1].
        options: see `AdamOptions`.
        on_step: called with the number and the `Iterate` of each point of the path.

    Raises:
        LocregError: when start does not fit the regularizer in shape or dtype.
    """
    x = start.clone()
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    decay = options.last_learning_rate / options.learning_rate
    history: list[Iterate] = []
    for step in range(options.steps):
        rate = options.learning_rate * decay ** (step / max(options.steps - 1, 1))
        at_x = objective.evaluate(x)
        record(history, at_x, rate, on_step)
        if not finite(at_x):
            return Solution(x, Status.FAILED, tuple(history), len(history))
        mean.lerp_(at_x.gradient, 1 - options.beta1)
        square.lerp_(at_x.gradient.square(), 1 - options.beta2)
        deviation = (square / (1 - options.beta2 ** (step + 1))).sqrt_()
        x -= rate / (1 - options.beta1 ** (step + 1)) * mean / (deviation + _EPSILON)
    at_x = objective.evaluate(x)
    record(history, at_x, 0.0, on_step)
    return Solution(
        x, Status.MAXIMUM_STEPS if finite(at_x) else Status.FAILED, tuple(history), len(history)
    )


@torch.no_grad()
def gradient_descent(
    objective: Objective,
    start: Tensor,
    options: GradientDescentOptions = GradientDescentOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Gradient descent, x <- x - eta (A*(Ax - y) + lam grad R(x)): Prost et al. (2021), eq. (5).

    It stops when a step moves the batch by at most ``tolerance`` times its norm. It has failed if
    the energy is not finite, or is higher at the end than at the start for any image.

    Args:
        objective: the energy E.
        start: the first x (B, C, H, W), nominally in [0, 1].
        options: see `GradientDescentOptions`.
        on_step: called with the number and the `Iterate` of each point of the path.

    Raises:
        LocregError: when start does not fit the regularizer in shape or dtype.
    """
    x = start.clone()
    status = Status.MAXIMUM_STEPS
    history: list[Iterate] = []
    for _ in range(options.steps):
        at_x = objective.evaluate(x)
        record(history, at_x, options.step_size, on_step)
        if not finite(at_x):
            return Solution(x, Status.FAILED, tuple(history), len(history))
        move = options.step_size * at_x.gradient
        x -= move
        if move.norm() <= options.tolerance * x.norm():
            status = Status.CONVERGED
            break
    at_x = objective.evaluate(x)
    record(history, at_x, 0.0, on_step)
    if not finite(at_x) or (at_x.energy > history[0].energy).any():
        status = Status.FAILED  # the step size is too large
    return Solution(x, status, tuple(history), len(history))


@torch.no_grad()
def proximal_gradient(
    objective: Objective,
    start: Tensor,
    options: ProximalGradientOptions = ProximalGradientOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Minimise E by inertial proximal gradient descent; the energy never grows for any image.

        x+ = prox_{tau D}(x + beta (x - x_before) - tau lam grad R(x))

    A step uses the gradient of the regularizer and the proximal map of the data term D. If that map
    has no closed form, the step uses the gradient of both. A step is taken if
    ``E(x+) <= E(x) - |x+ - x|^2 / (8 tau)``. Otherwise it is tried again without inertia, then with
    half of tau. Each image has its own step size, inertia and stopping; an image that has stopped
    no longer changes.

    Use it for smooth critics: at the kinks of a ReLU critic it stalls early, where L-BFGS goes on.

    Ochs, Chen, Brox, Pock, *iPiano*, SIAM J. Imaging Sci. 2014. The inertia is restarted when the
    energy would grow, as in O'Donoghue and Candes, Found. Comput. Math. 2015.

    Args:
        objective: the energy E.
        start: the first x (B, C, H, W), nominally in [0, 1].
        options: see `ProximalGradientOptions`.
        on_step: called with the number and the `Iterate` of each point of the path.

    Raises:
        LocregError: when start does not fit the regularizer in shape or dtype.
    """
    x, before = start.clone(), start.clone()
    at_x = objective.evaluate(x)
    tau = torch.full((len(x),), options.first_step, dtype=torch.float64, device=x.device)
    age = torch.zeros_like(tau)  # number of steps since the inertia was last restarted
    history: list[Iterate] = []
    for _ in range(options.steps - 1):
        record(history, at_x, tau, on_step)
        if not finite(at_x):
            return Solution(x, Status.FAILED, tuple(history), len(history))
        converged = history[-1].gradient_norm <= options.tolerance * x[0].numel() ** 0.5
        stalled = tau < 1e-7 * options.first_step
        running = ~(converged | stalled)
        if not running.any():
            status = Status.CONVERGED if converged.all() else Status.STALLED
            return Solution(x, status, tuple(history), len(history))

        inertia = (age / (age + 3)).clamp_max(options.inertia)
        trial = _inertial_step(objective, at_x, x, before, tau, inertia)
        at_trial = objective.evaluate(trial)
        move = (trial - x).flatten(1).square().sum(1, dtype=torch.float64)
        taken = running & (at_trial.energy <= at_x.energy - move / (8 * tau))

        refused = running & ~taken
        tau = torch.where(taken, tau * options.growth, tau)
        tau = torch.where(refused & (age == 0), tau / 2, tau)
        age = torch.where(taken, age + 1, torch.where(refused, 0, age))
        before, x = x, choose(taken, trial, x)
        at_x = choose_evaluation(taken, at_trial, at_x)
    record(history, at_x, 0.0, on_step)
    return Solution(x, Status.MAXIMUM_STEPS, tuple(history), len(history))


def _inertial_step(
    objective: Objective,
    at_x: Evaluation,
    x: Tensor,
    before: Tensor,
    tau: Tensor,
    inertia: Tensor,
) -> Tensor:
    """x+ = prox_{tau D}(x + beta (x - x_before) - tau lam grad R(x)), or an explicit step."""
    tau = tau.to(x.dtype).view(-1, 1, 1, 1)
    ahead = x + inertia.to(x.dtype).view(-1, 1, 1, 1) * (x - before)
    if objective.has_prox:
        return objective.prox(ahead - tau * objective.lam * at_x.regularizer_gradient, tau)
    return ahead - tau * at_x.gradient
