"""lam without a ground truth: two principles and an unbiased estimate of the error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from locreg.errors import LocregError, UsageError
from locreg.regularizer import LocalRegularizer
from locreg.solvers import Solution
from locreg.validation import best_lam, growing_root

_PROBE = 0.1  # length of the probe of the divergence, in noise levels
_PROBE_SEED = 0x5EED  # hardly that of the observation's noise, of which the probe must know nothing
_RISK_RATIO = 1.5  # between two lams whose risk is estimated


@dataclass(frozen=True)
class Inversion:
    """An observation and how it is inverted.

    Attributes:
        y: the observation.
        solve: from lam and an observation to a solution.
        forward: A, from an image to what would be observed without noise.
        observed: True where y holds an observation, of a shape that expands to that of y; None is
            everywhere.
    """

    y: Tensor
    solve: Callable[[float, Tensor], Solution]
    forward: Callable[[Tensor], Tensor]
    observed: Tensor | None = None

    def at(self, lam: float) -> Solution:
        """The solution for y."""
        return self.solve(lam, self.y)

    @property
    def values(self) -> int:
        """n, the number of values that were observed."""
        if self.observed is None:
            return self.y.numel()
        return int(self.observed.expand_as(self.y).sum())


@dataclass(frozen=True)
class ChosenLam:
    """The lam of a principle, and the solution that was found with it."""

    lam: float
    solution: Solution


def lam_by_discrepancy(inversion: Inversion, sigma: float, first: float) -> ChosenLam:
    """The lam at which what was removed has the energy of the noise: |Ax - y|^2 = n sigma^2.

    n is the number of values of y. Morozov, *On the solution of functional equations by the method
    of regularization*, 1966. It regularizes more than is best: part of the noise always stays.

    Args:
        inversion: the observation and how it is inverted.
        sigma: standard deviation of the noise; above 0.
        first: a lam to start from.
    """
    _check_level(sigma)
    expected = inversion.values * sigma**2

    def excess(solution: Solution) -> float:
        removed = _energy(inversion.forward(solution.image) - inversion.y)
        return math.log(max(removed, 1e-300) / expected)

    return _root(inversion.at, excess, first)


def lam_by_sure(inversion: Inversion, sigma: float, first: float) -> ChosenLam:
    """The lam of the least error as Stein estimates it, from the observation alone.

        risk(lam) = |A x(y) - y|^2 + 2 sigma^2 <b, A x(y + e b) - A x(y)> / e

    is, but for a constant, an unbiased estimate of the expected |A x(y) - A x|^2: what the solution
    x(y) has wrong, seen through A. b is a random probe of the divergence. Stein, *Estimation of
    the mean of a multivariate normal distribution*, 1981; Ramani, Blu, Unser, *Monte-Carlo SURE*,
    2008.

    Args:
        inversion: the observation and how it is inverted.
        sigma: standard deviation of the noise; above 0.
        first: a lam to start from.
    """
    _check_level(sigma)
    generator = torch.Generator().manual_seed(_PROBE_SEED)
    probe = torch.randn(inversion.y.shape, generator=generator, dtype=inversion.y.dtype)
    probe = probe.to(inversion.y.device)
    if inversion.observed is not None:
        probe = probe * inversion.observed
    length = _PROBE * sigma

    def quality(lam: float) -> float:
        predicted = inversion.forward(inversion.at(lam).image)
        moved = inversion.forward(inversion.solve(lam, inversion.y + length * probe).image)
        divergence = float((probe.double() * (moved - predicted).double()).sum()) / length
        risk = _energy(predicted - inversion.y) + 2 * sigma**2 * divergence
        return -risk / inversion.values

    lam, _ = best_lam(quality, first, ratio=_RISK_RATIO)
    return ChosenLam(lam, inversion.at(lam))


def lam_by_score(inversion: Inversion, regularizer: LocalRegularizer, first: float) -> ChosenLam:
    """The lam at which the critic scores the restored image as it scores clean images on average.

    With less, the image still looks degraded to the critic; with more, it looks smoother than
    clean images do. It needs no noise level, unless R depends on one.

    Raises:
        UsageError: when the weights are not calibrated.
    """
    calibration = regularizer.calibration
    if calibration is None:
        raise UsageError("These weights hold no calibration: they do not know clean scores.")
    median = calibration.clean_images[len(calibration.clean_images) // 2]

    def excess(solution: Solution) -> float:
        scores = regularizer.score_map(solution.image)
        return median - float(scores.mean(dtype=torch.float64))

    return _root(inversion.at, excess, first)


def _check_level(sigma: float) -> None:
    if not sigma > 0:
        raise LocregError(
            "This choice of lam needs noise, and none is there: give lam, or a sigma above 0."
        )


def _energy(x: Tensor) -> float:
    return float(x.double().square().sum())


def _root(
    solve: Callable[[float], Solution], excess: Callable[[Solution], float], first: float
) -> ChosenLam:
    """The lam where ``excess``, which grows with lam, changes sign."""
    tried = list[float]()
    last = list[Solution]()  # alone: all of them would be many large images

    def excess_at(lam: float) -> float:
        tried.append(lam)
        last[:] = [solve(lam)]
        return excess(last[0])

    lam = growing_root(excess_at, first)
    if lam is None:
        raise LocregError(
            f"No lam between {min(tried):.3g} and {max(tried):.3g} satisfies the principle: give "
            "lam, or check sigma."
        )
    return ChosenLam(lam, last[0])
