"""Minimisers of an objective: each a short function that returns a `Solution`."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from locreg.objective import Evaluation, Objective
from locreg.options import AdamOptions, GradientDescentOptions, ProximalGradientOptions

_EPSILON = 1e-8  # keeps Adam's division finite, as in its paper


class Status(enum.Enum):
    """Why a solver stopped.

    Its tolerance was met; its steps were used up; no step, however small, lowers the energy any
    more (at a kink, or at the accuracy of the arithmetic); the energy grew or is not finite.
    """

    CONVERGED = "converged"
    MAXIMUM_STEPS = "maximum steps"
    STALLED = "stalled"
    FAILED = "failed"


@dataclass(frozen=True)
class Iterate:
    """One point of a solver's path, per image: float64 (B,).

    Attributes:
        energy, data_term, regularizer: E, 1/2 |Ax - y|^2 and R at this point.
        gradient_norm: |grad E| at this point.
        step_size: of the step that leaves this point; 0 at the last one.
    """

    energy: Tensor
    data_term: Tensor
    regularizer: Tensor
    gradient_norm: Tensor
    step_size: Tensor


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Attributes:
        image: the last point.
        status: why the solver stopped there.
        history: the path from start to end; of `locreg.annealing.gradient_steps`, without the end.
        gradients: how many times grad E was computed.
    """

    image: Tensor
    status: Status
    history: tuple[Iterate, ...]
    gradients: int

    @property
    def steps(self) -> int:
        """Number of steps; the last point of the history is one that no step left."""
        return len(self.history) - (not self.history[-1].step_size.any())


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

    Kingma and Ba, *Adam*, 2015, algorithm 1. Written out: loading ``torch.optim`` takes 2 s.
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
    """x <- x - eta (A*(Ax - y) + lam grad R(x)): Prost et al. (2021), eq. (5)."""
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
        status = Status.FAILED  # a step size too large climbs instead of descending
    return Solution(x, status, tuple(history), len(history))


@torch.no_grad()
def proximal_gradient(
    objective: Objective,
    start: Tensor,
    options: ProximalGradientOptions = ProximalGradientOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Minimise E by inertial proximal gradient descent; the energy of no image ever grows.

    A step takes the regularizer by its gradient and the data term D by its proximal map,
    ``x+ = prox_{tau D}(x + beta (x - x_before) - tau lam grad R(x))``, or, where that map has no
    closed form, both by their gradient. It is taken where ``E(x+) <= E(x) - |x+ - x|^2 / (8 tau)``.
    Where not, it is tried without inertia, then with half of tau. Step size, inertia and stopping
    are each image's own; an image that has stopped stays as it is.

    It is for smooth critics: at the kinks of a ReLU critic it stalls early, where L-BFGS goes on.

    Ochs, Chen, Brox, Pock, *iPiano*, SIAM J. Imaging Sci. 2014; the restart of the inertia where
    the energy would grow is that of O'Donoghue and Candes, Found. Comput. Math. 2015.
    """
    x, before = start.clone(), start.clone()
    at_x = objective.evaluate(x)
    tau = torch.full((len(x),), options.first_step, dtype=torch.float64, device=x.device)
    age = torch.zeros_like(tau)  # steps taken since the inertia was last given up
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


def gradient_norm(at_x: Evaluation) -> Tensor:
    """|grad E| per image, float64 (B,)."""
    norm: Tensor = at_x.gradient.flatten(1).norm(dim=1, dtype=torch.float64)
    return norm


def choose(images: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """``yes`` for the images (B,) that are True, ``no`` for the others."""
    return torch.where(images.view(-1, *[1] * (yes.dim() - 1)), yes, no)


def choose_evaluation(images: Tensor, yes: Evaluation, no: Evaluation) -> Evaluation:
    """The same for all that an evaluation holds."""
    pairs = ((getattr(yes, f.name), getattr(no, f.name)) for f in fields(Evaluation))
    return Evaluation(*(choose(images, *pair) for pair in pairs))


def record(
    history: list[Iterate], at_x: Evaluation, step_size: float | Tensor, on_step: OnStep | None
) -> None:
    """Append a point to the path, and tell the caller."""
    norm = gradient_norm(at_x)
    step_size = torch.as_tensor(step_size, dtype=torch.float64).expand_as(norm)
    iterate = Iterate(at_x.energy, at_x.data_term, at_x.regularizer, norm, step_size)
    history.append(iterate)
    if on_step is not None:
        on_step(len(history) - 1, iterate)


def finite(at_x: Evaluation) -> bool:
    """Whether the energy of every image is a number."""
    return bool(torch.isfinite(at_x.energy).all())
