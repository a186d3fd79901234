"""Limited-memory BFGS on a batch of images, each with its own curvature, line search and end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor

from locreg.solvers.iterations import (
    choose,
    choose_evaluation,
    dot,
    finite,
    gradient_norm,
    record,
    scale,
)
from locreg.solvers.objective import Evaluation, Objective
from locreg.solvers.options import LBFGSOptions
from locreg.solvers.solution import Iterate, OnStep, Solution, Status

_MOST_TRIALS = 25  # per line search: 25 halvings reach the accuracy of float32


@torch.no_grad()
def lbfgs(
    objective: Objective,
    start: Tensor,
    options: LBFGSOptions = LBFGSOptions(),
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Minimise E by L-BFGS; the energy never grows for any image.

        x <- x + t d,    d = -H grad E(x)

    H is the inverse curvature estimated from the last moves. The step length t satisfies the weak
    Wolfe conditions: the energy decreases enough and the slope along d becomes flatter. These do
    not require smoothness, so the method also works for ReLU critics, which have kinks (Lewis and
    Overton, Math. Program. 2013). Each image has its own direction, step length and stopping, but
    gradients are counted for the whole batch.

    Nocedal and Wright, *Numerical Optimization* (2006), algorithms 7.4 and 7.5.

    Args:
        objective: the energy E.
        start: the first x (B, C, H, W), nominally in [0, 1].
        options: see `LBFGSOptions`.
        on_step: called with the number and the `Iterate` of each point of the path.

    Raises:
        LocregError: when start does not fit the regularizer in shape or dtype.
    """
    x = start.clone()
    at_x = objective.evaluate(x)
    gradients = 1
    moves: deque[tuple[Tensor, Tensor]] = deque(maxlen=options.memory)
    stalled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    curved = torch.zeros_like(stalled)  # images with moves to estimate their curvature from
    history: list[Iterate] = []
    while True:
        converged = gradient_norm(at_x) <= options.tolerance * x[0].numel() ** 0.5
        running = ~(converged | stalled)
        status = _status(at_x, converged, running, gradients >= options.steps)
        if status is not None:
            record(history, at_x, 0.0, on_step)
            return Solution(x, status, tuple(history), gradients)

        direction = -_inverse_curvature(moves, at_x.gradient)
        following, at_following, length, trials = _line_search(
            objective, x, at_x, direction, running, options, options.steps - gradients
        )
        gradients += trials
        record(history, at_x, length, on_step)
        failed = running & (length == 0)
        stalled |= failed & ~curved
        if (failed & curved).any():  # before an image stalls, try steepest descent
            moves = deque((_kept(~failed, pair) for pair in moves), maxlen=options.memory)
        curved = (curved | (length > 0)) & ~failed
        moves.append((following - x, at_following.gradient - at_x.gradient))
        x, at_x = following, at_following


def _kept(kept: Tensor, move: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The move, set to 0 for the images that are False in ``kept`` (B,)."""
    s, y = (scale(kept, part) for part in move)
    return s, y


def _status(at_x: Evaluation, converged: Tensor, running: Tensor, used_up: bool) -> Status | None:
    """The reason to stop, or None."""
    if not finite(at_x):
        return Status.FAILED
    if running.any():
        return Status.MAXIMUM_STEPS if used_up else None
    return Status.CONVERGED if converged.all() else Status.STALLED


def _inverse_curvature(moves: Iterable[tuple[Tensor, Tensor]], gradient: Tensor) -> Tensor:
    """H grad E by the two-loop recursion, per image; moves without positive curvature are ignored.

    ``moves`` holds pairs of differences, s of points and y of gradients, oldest first.
    """
    pairs = [(s, y, dot(s, y)) for s, y in moves]
    weights = [torch.where(sy > 0, 1 / sy, 0) for _, _, sy in pairs]
    result = gradient.clone()
    shares = []
    for (s, y, _), weight in zip(reversed(pairs), reversed(weights), strict=True):
        share = weight * dot(s, result)
        result -= scale(share, y)
        shares.append(share)
    if pairs:  # the newest move sets the scale
        _, y, sy = pairs[-1]
        result = scale(torch.where(sy > 0, sy / dot(y, y), 1), result)
    for (s, y, _), weight, share in zip(pairs, weights, reversed(shares), strict=True):
        result += scale(share - weight * dot(y, result), s)
    return result


def _line_search(
    objective: Objective,
    x: Tensor,
    at_x: Evaluation,
    direction: Tensor,
    running: Tensor,
    options: LBFGSOptions,
    most_trials: int,
) -> tuple[Tensor, Evaluation, Tensor, int]:
    """Find step lengths that satisfy the weak Wolfe conditions, by bisection, for running images.

    Returns the points reached, their evaluations, the step lengths (0 if no length decreased the
    energy enough) and the number of trials.
    """
    slope = dot(at_x.gradient, direction)
    shortest, longest = torch.zeros_like(slope), torch.full_like(slope, torch.inf)
    length, reached = torch.ones_like(slope), torch.zeros_like(slope)
    best, at_best = x, at_x  # the furthest points that decrease the energy enough
    searching = running & (slope < 0)
    trials = 0
    while searching.any() and trials < min(_MOST_TRIALS, most_trials):
        trial = x + scale(length, direction)
        at_trial = objective.evaluate(trial)
        trials += 1
        lower = at_trial.energy <= at_x.energy + options.decrease * length * slope
        flatter = dot(at_trial.gradient, direction) >= options.curvature * slope
        better = searching & lower
        best, at_best = choose(better, trial, best), choose_evaluation(better, at_trial, at_best)
        reached = torch.where(better, length, reached)
        searching &= ~(lower & flatter)
        shortest, longest = (
            torch.where(searching & lower, length, shortest),
            torch.where(searching & ~lower, length, longest),
        )
        longer = torch.where(longest.isinf(), 2 * length, (shortest + longest) / 2)
        length = torch.where(searching, longer, length)
    return best, at_best, reached, trials
