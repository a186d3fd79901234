"""Choose lam without a ground truth: two principles and an unbiased error estimate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from locreg.errors import LocregError, UsageError
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.defaults import calibrated_lam
from locreg.restoration.options import LamRule
from locreg.solvers.search import best_lam, growing_root
from locreg.solvers.solution import Solution

_PROBE_SCALE = 0.1  # standard deviation of the divergence probe, in units of sigma
_PROBE_SEED = 0x5EED  # unlikely to be the noise's own seed: probe and noise must be independent
_RISK_RATIO = 1.5  # ratio of two neighbouring values of lam whose risk is estimated


@dataclass(frozen=True)
class Inversion:
    """An observation, and the solver that restores it for a given lam.

    Attributes:
        y: the observation.
        solve: maps lam and an observation to a solution.
        forward: A, maps an image to its noise-free observation.
        observed: mask that expands to the shape of y, True where y was observed. None: everywhere.
    """

    y: Tensor
    solve: Callable[[float, Tensor], Solution]
    forward: Callable[[Tensor], Tensor]
    observed: Tensor | None = None

    def at(self, lam: float) -> Solution:
        """The solution for y with this lam."""
        return self.solve(lam, self.y)

    @property
    def values(self) -> int:
        """n, the number of observed values."""
        if self.observed is None:
            return self.y.numel()
        return int(self.observed.expand_as(self.y).sum())


@dataclass(frozen=True)
class ChosenLam:
    """The chosen lam and its solution."""

    lam: float
    solution: Solution


def choose_lam(
    lam: float | LamRule | None,
    inversion: Inversion,
    regularizer: LocalRegularizer,
    sigma: float | None,
    *,
    share: float = 1.0,
    denoising: bool,
) -> ChosenLam:
    """Take the given lam, the calibrated lam, or the lam that a rule finds; and solve with it.

    Args:
        lam: a number, None for the lam calibrated for sigma, or the name of a rule.
        inversion: the observation and its solver.
        regularizer: R.
        sigma: the noise level; None if it is unknown.
        share: factor of the calibrated lam.
        denoising: whether A is the identity.

    Raises:
        UsageError: when sigma is None but needed, or the weights hold no calibration but need one.
        LocregError: when the rule finds no lam.
    """
    if isinstance(lam, float):
        return ChosenLam(lam, inversion.at(lam))
    calibrated = share * calibrated_lam(regularizer, sigma, denoising=denoising)
    if lam is None:
        return ChosenLam(calibrated, inversion.at(calibrated))
    if lam == "score":
        return lam_by_score(inversion, regularizer, calibrated)
    if sigma is None:
        raise UsageError("This choice of lam needs the noise level: give sigma.")
    by_rule = lam_by_discrepancy if lam == "discrepancy" else lam_by_sure
    return by_rule(inversion, sigma, calibrated)


def lam_by_discrepancy(inversion: Inversion, sigma: float, first: float) -> ChosenLam:
    """The lam at which the residual is as large as the noise: |Ax - y|^2 = n sigma^2.

    n is the number of observed values. This lam is larger than the best one: even the best
    restoration keeps part of the noise, so its residual is smaller than the noise.

    Morozov, *On the solution of functional equations by the method of regularization*, 1966.

    Args:
        inversion: the observation and its solver.
        sigma: standard deviation of the noise; above 0.
        first: a lam to start from.

    Raises:
        LocregError: when sigma is 0, or no lam satisfies the principle.
    """
    _check_level(sigma)
    expected = inversion.values * sigma**2

    def excess(solution: Solution) -> float:
        removed = _squared_norm(inversion.forward(solution.image) - inversion.y)
        return math.log(max(removed, 1e-300) / expected)

    return _root(inversion.at, excess, first)


def lam_by_sure(inversion: Inversion, sigma: float, first: float) -> ChosenLam:
    """The lam of the smallest error, which Stein's risk estimates from the observation alone.

        risk(lam) = |A x(y) - y|^2 + 2 sigma^2 <b, A x(y + e b) - A x(y)> / e

    Up to a constant, this is an unbiased estimate of the expected |A x(y) - A x|^2, the error of
    the solution x(y) seen through A. b is white noise of standard deviation 1, which probes the
    divergence at the scale e = 0.1 sigma.

    Stein, *Estimation of the mean of a multivariate normal distribution*, 1981; Ramani, Blu, Unser,
    *Monte-Carlo SURE*, 2008.

    Args:
        inversion: the observation and its solver.
        sigma: standard deviation of the noise; above 0.
        first: a lam to start from.

    Raises:
        LocregError: when sigma is 0.
    """
    _check_level(sigma)
    generator = torch.Generator().manual_seed(_PROBE_SEED)
    probe = torch.randn(inversion.y.shape, generator=generator, dtype=inversion.y.dtype)
    probe = probe.to(inversion.y.device)
    if inversion.observed is not None:
        probe = probe * inversion.observed
    scale = _PROBE_SCALE * sigma

    def quality(lam: float) -> float:
        predicted = inversion.forward(inversion.at(lam).image)
        moved = inversion.forward(inversion.solve(lam, inversion.y + scale * probe).image)
        divergence = float((probe.double() * (moved - predicted).double()).sum()) / scale
        risk = _squared_norm(predicted - inversion.y) + 2 * sigma**2 * divergence
        return -risk / inversion.values

    lam, _ = best_lam(quality, first, ratio=_RISK_RATIO)
    return ChosenLam(lam, inversion.at(lam))


def lam_by_score(inversion: Inversion, regularizer: LocalRegularizer, first: float) -> ChosenLam:
    """The lam at which the mean score of the restored image is the median of clean images.

    With a smaller lam the image still looks degraded to the critic; with a larger one it looks
    smoother than clean images do. The rule needs no noise level, unless R depends on one.

    Args:
        inversion: the observation and its solver.
        regularizer: R, calibrated: its calibration holds the mean scores of clean images.
        first: a lam to start from.

    Raises:
        UsageError: when the weights are not calibrated.
        LocregError: when no lam satisfies the principle.
    """
    calibration = regularizer.calibration
    if calibration is None:
        raise UsageError(
            "These weights hold no calibration, so the scores of clean images are unknown: give "
            "lam as a number."
        )
    median = calibration.clean_images[len(calibration.clean_images) // 2]

    def excess(solution: Solution) -> float:
        scores = regularizer.score_map(solution.image)
        return median - float(scores.mean(dtype=torch.float64))

    return _root(inversion.at, excess, first)


def _check_level(sigma: float) -> None:
    if not sigma > 0:
        raise LocregError(
            "This choice of lam needs noise, but sigma is 0: give lam, or a sigma above 0."
        )


def _squared_norm(x: Tensor) -> float:
    return float(x.double().square().sum())


def _root(
    solve: Callable[[float], Solution], excess: Callable[[Solution], float], first: float
) -> ChosenLam:
    """The lam at which ``excess``, which grows with lam, changes sign; and its solution."""
    tried = list[float]()
    latest = list[Solution]()  # only one, since all of them would be many large images

    def excess_at(lam: float) -> float:
        tried.append(lam)
        latest[:] = [solve(lam)]
        return excess(latest[0])

    lam = growing_root(excess_at, first)
    if lam is None:
        raise LocregError(
            f"No lam between {min(tried):.3g} and {max(tried):.3g} satisfies the principle: give "
            "lam, or check sigma."
        )
    return ChosenLam(lam, latest[0])
