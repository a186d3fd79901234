"""lam without a ground truth: two principles, each the root of a monotone function of log lam."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from locreg.errors import LocregError, UsageError
from locreg.regularizer import LocalRegularizer
from locreg.solvers import Solution

_RATIO = 2.0  # between two lams while the root is being enclosed
_MOST_ENCLOSING = 12
_REFINEMENTS = 3  # bisections: lam is then known to a factor of 2^(1/8), 9%


@dataclass(frozen=True)
class ChosenLam:
    """The lam of a principle, and the solution that was found with it."""

    lam: float
    solution: Solution


def lam_by_discrepancy(
    solve: Callable[[float], Solution], values: int, sigma: float, first: float
) -> ChosenLam:
    """The lam at which what was removed has the energy of the noise: |Ax - y|^2 = n sigma^2.

    Morozov, *On the solution of functional equations by the method of regularization*, 1966.

    Args:
        solve: from lam to a solution.
        values: n, the number of values of the observation y.
        sigma: standard deviation of the noise; above 0.
        first: a lam to start from.
    """
    if not sigma > 0:
        raise UsageError("The discrepancy principle needs a noise level above 0: give sigma.")
    expected = 0.5 * values * sigma**2

    def excess(solution: Solution) -> float:
        return math.log(max(float(solution.history[-1].data_term.sum()), 1e-300) / expected)

    return _root(solve, excess, first)


def lam_by_score(
    solve: Callable[[float], Solution], regularizer: LocalRegularizer, first: float
) -> ChosenLam:
    """The lam at which the critic scores the restored image as it scores clean images on average.

    With less, the image still looks degraded to the critic; with more, it looks smoother than
    clean images do. It needs no noise level.

    Raises:
        LocregError: when the weights are not calibrated.
    """
    calibration = regularizer.calibration
    if calibration is None:
        raise LocregError("These weights hold no calibration: they do not know clean scores.")
    median = calibration.clean_images[len(calibration.clean_images) // 2]

    def excess(solution: Solution) -> float:
        scores = regularizer.score_map(solution.image)
        return median - float(scores.mean(dtype=torch.float64))

    return _root(solve, excess, first)


def _root(
    solve: Callable[[float], Solution], excess: Callable[[Solution], float], first: float
) -> ChosenLam:
    """The lam where ``excess``, which grows with lam, changes sign."""
    lam = first
    side = excess(solve(lam)) > 0
    for _ in range(_MOST_ENCLOSING):
        following = lam / _RATIO if side else lam * _RATIO
        if (excess(solve(following)) > 0) != side:
            break
        lam = following
    else:
        raise LocregError(
            f"No lam between {min(lam, first):.3g} and {max(lam, first):.3g} satisfies the "
            "principle: give lam, or check sigma."
        )
    low, high = sorted((lam, following))
    for _ in range(_REFINEMENTS):
        middle = math.sqrt(low * high)
        solution = solve(middle)
        low, high = (middle, high) if excess(solution) <= 0 else (low, middle)
    return ChosenLam(middle, solution)
