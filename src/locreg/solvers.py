"""Minimisers of an objective: each a short function that returns a `Solution`."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from locreg.objective import Evaluation, Objective
from locreg.options import AdamOptions, GradientDescentOptions


class Status(enum.Enum):
    """Why a solver stopped: its tolerance was met, its steps were used up, or the energy grew."""

    CONVERGED = "converged"
    MAXIMUM_STEPS = "maximum steps"
    FAILED = "failed"


@dataclass(frozen=True)
class Iterate:
    """One point of a solver's path; all but the step size are per image, float64 (B,).

    Attributes:
        energy, data_term, regularizer: E, 1/2 |Ax - y|^2 and R at this point.
        gradient_norm: |grad E| at this point.
        step_size: of the step that leaves this point; 0 at the last one.
    """

    energy: Tensor
    data_term: Tensor
    regularizer: Tensor
    gradient_norm: Tensor
    step_size: float


@dataclass(frozen=True)
class Solution:
    """What a solver found: the image, why it stopped there, and the path from start to end."""

    image: Tensor
    status: Status
    history: tuple[Iterate, ...]


OnStep = Callable[[int, Iterate], None]


@torch.no_grad()
def adam(
    objective: Objective,
    start: Tensor,
    options: AdamOptions = AdamOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """A fixed number of Adam steps: the solver of Prost et al. (2021), section 3.3.

    Adam's step is invariant to the scale of the energy. It does not seek a minimiser to high
    accuracy: stopping after these steps is part of the paper's method.
    """
    x = start.clone()
    optimizer = torch.optim.Adam([x], betas=(options.beta1, options.beta2))
    decay = options.last_learning_rate / options.learning_rate
    history: list[Iterate] = []
    for step in range(options.steps):
        rate = options.learning_rate * decay ** (step / max(options.steps - 1, 1))
        at_x = objective.evaluate(x)
        _record(history, at_x, rate, on_step)
        if not _finite(at_x):
            return Solution(x, Status.FAILED, tuple(history))
        x.grad = at_x.gradient
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    at_x = objective.evaluate(x)
    _record(history, at_x, 0.0, on_step)
    return Solution(x, Status.MAXIMUM_STEPS if _finite(at_x) else Status.FAILED, tuple(history))


@torch.no_grad()
def gradient_descent(
    objective: Objective,
    start: Tensor,
    options: GradientDescentOptions = GradientDescentOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """x <- x - eta (A*(Ax - y) + lam grad R(x)): Prost et al. (2021), eq. (5)."""
    x = start.clone()
    status = Status.MAXIMUM_STEPS
    history: list[Iterate] = []
    for _ in range(options.steps):
        at_x = objective.evaluate(x)
        _record(history, at_x, options.step_size, on_step)
        if not _finite(at_x):
            return Solution(x, Status.FAILED, tuple(history))
        move = options.step_size * at_x.gradient
        x -= move
        if move.norm() <= options.tolerance * x.norm():
            status = Status.CONVERGED
            break
    at_x = objective.evaluate(x)
    _record(history, at_x, 0.0, on_step)
    if not _finite(at_x) or (at_x.energy > history[0].energy).any():
        status = Status.FAILED  # a step size too large climbs instead of descending
    return Solution(x, status, tuple(history))


def _record(
    history: list[Iterate], at_x: Evaluation, step_size: float, on_step: OnStep | None
) -> None:
    norm = at_x.gradient.flatten(1).norm(dim=1, dtype=torch.float64)
    iterate = Iterate(at_x.energy, at_x.data_term, at_x.regularizer, norm, step_size)
    history.append(iterate)
    if on_step is not None:
        on_step(len(history) - 1, iterate)


def _finite(at_x: Evaluation) -> bool:
    return bool(torch.isfinite(at_x.energy).all())
