"""Restoration of an image: minimise the energy, with parameters that need not be guessed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from locreg.annealing import annealed_proximal_gradient, gradient_steps
from locreg.calibration import estimate_sigma
from locreg.errors import LocregError, UsageError
from locreg.lam_choice import (
    ChosenLam,
    Inversion,
    lam_by_discrepancy,
    lam_by_score,
    lam_by_sure,
)
from locreg.objective import LinearOperator, Objective
from locreg.operators import apply_operator, check_operator
from locreg.options import (
    LEAST_SIGMA,
    AnnealingOptions,
    GradientStepOptions,
    SolverOptions,
    check_sigma,
)
from locreg.regularizer import LocalRegularizer
from locreg.solver_choice import (
    calibrated_lam,
    check_learned_noise,
    check_solver,
    default_solver,
    solve,
    usual_steps,
    within_trained_levels,
)
from locreg.solvers import OnStep, Solution

_LamRule = Literal["sure", "discrepancy", "score"]
Lam = float | _LamRule | None


@dataclass(frozen=True)
class Restoration:
    """A restored image and how it came about.

    Attributes:
        image: of the observation's shape (denoising) or of the operator's domain; not clipped.
        sigma: the noise level that was given or estimated; None when only ``lam`` was given.
        lam: the weight of the regularizer that was given or calibrated.
        solution: status and history of the solver.
        seconds: how long it took.
        residual: y - Ax, of the observation's shape; NaN where nothing was observed.
    """

    image: Tensor
    sigma: float | None
    lam: float
    solution: Solution
    seconds: float
    residual: Tensor


def restore(
    y: Tensor,
    regularizer: LocalRegularizer,
    operator: LinearOperator | None = None,
    *,
    sigma: float | Literal["auto"] | None = None,
    lam: Lam = None,
    solver: SolverOptions | None = None,
    start: Tensor | None = None,
    observed: Tensor | None = None,
    estimate: Callable[[Tensor], float] | None = None,
    on_step: OnStep | None = None,
) -> Restoration:
    """Minimise 1/2 |Ax - y|^2 + lam R(x): Prost et al. (2021), eq. (2), section 3.3 and eq. (5).

    Args:
        y: the observation (B, C, H, W) in [0, 1], noise not clipped if there is a choice; with an
            operator (B, ...), in whatever shape it observes. Without an operator a colour image is
            restored by a grey regularizer channel by channel.
        regularizer: R, such as ``locreg.load("alr-rgb")``.
        operator: A, any object with ``A`` and ``A_adjoint``; None is the identity (denoising).
        sigma: standard deviation of the noise on the [0, 1] scale; ``"auto"`` estimates it from y
            (the mean over a batch), where it is needed; with an operator this needs ``estimate``.
            Weights that were learned from a folder of images have a level of their own, which is
            the default and ``"auto"`` for denoising.
            Needed where the regularizer depends on it, and where ``lam`` is not given and the
            calibration depends on it.
        lam: weight of R; by default the regularizer's calibration gives it for sigma, or with an
            operator for `LEAST_SIGMA` where sigma is smaller: without noise the calibrated lam is
            0, and what A does not observe would stay as it is.
            ``"sure"``, ``"discrepancy"`` and ``"score"`` find it for this observation, without a
            ground truth, by solving some ten to thirty times: see
            `lam_choice`.
        solver: the options of the solver to use: Adam (section 3.3), gradient descent (eq. 5),
            one that converges (proximal gradient or L-BFGS), or, with a noise-conditioned
            regularizer, a few gradient steps or annealing. By default `default_solver` chooses.
        start: where the solver starts, in the operator's domain; by default A*y, which is y
            without an operator, where gradient steps start in any case.
        observed: True where y holds an observation, of a shape that expands to that of y; by
            default everywhere. Elsewhere A must give 0 and y must be 0.
        estimate: from one observation (1, ...) to its noise level; without an operator
            `estimate_sigma`.
        on_step: called with step number and `Iterate` at every step, to report progress.

    Raises:
        UsageError: when sigma or lam is out of range, or missing.
        LocregError: when y has the wrong shape or non-finite pixels, there is no calibration, the
            noise is far from what the weights were trained for, or the operator fails, gives wrong
            shapes, or ``A_adjoint`` is not the adjoint of ``A``.
    """
    begin = time.perf_counter()
    _check_observation(y, operator)
    if operator is None and restores_channels_apart(regularizer, y):
        return each_channel(
            lambda channels: restore(
                channels,
                regularizer,
                sigma=sigma,
                lam=lam,
                solver=solver,
                start=None if start is None else start.reshape(channels.shape),
                observed=None
                if observed is None
                else observed.expand(y.shape).reshape(channels.shape),
                estimate=estimate,
                on_step=on_step,
            ),
            y,
        )
    lam = _checked_lam(lam)
    if sigma is not None and sigma != "auto":
        sigma = float(sigma)
    if operator is None and sigma in (None, "auto"):
        sigma = regularizer.learned_level or sigma
    if regularizer.learned_noise:
        check_learned_noise(regularizer, operator, sigma, lam, solver)
    if operator is None and estimate is None:
        estimate = estimate_sigma
    level = _noise_level(y, sigma, lam, regularizer, estimate)
    solver = solver or default_solver(regularizer, denoising=operator is None)
    check_solver(solver, regularizer)
    if operator is None and start is not None and isinstance(solver, GradientStepOptions):
        raise UsageError(
            "Gradient steps start at the image itself: leave start out, or choose another solver."
        )
    first = _first(y, operator, start)
    energy_level = level
    if level is not None and (operator is not None or isinstance(solver, AnnealingOptions)):
        energy_level = max(level, LEAST_SIGMA)
    at_level = regularizer
    if regularizer.depends_on_level:
        if energy_level is None:
            raise UsageError('These weights depend on the noise level: give sigma (or "auto").')
        at_level = regularizer.at(energy_level)
    solver = within_trained_levels(solver, regularizer, level)

    def invert(weight: float, observation: Tensor) -> Solution:
        origin = observation if first is y else first
        if isinstance(solver, GradientStepOptions | AnnealingOptions):
            assert energy_level is not None  # a noise-conditioned regularizer has asked for it
            given = (observation, regularizer, operator, origin, energy_level, weight)
            if isinstance(solver, AnnealingOptions):
                return annealed_proximal_gradient(*given, solver, on_step=on_step)
            steps = solver.steps or usual_steps(regularizer, energy_level)
            return gradient_steps(*given, steps, on_step=on_step)
        objective = Objective(observation, at_level, weight, operator)
        return solve(objective, origin, solver, on_step=on_step)

    forward = _identity if operator is None else operator.A
    inversion = Inversion(y, invert, forward, observed)
    chosen = _choose_lam(lam, inversion, regularizer, energy_level, denoising=operator is None)
    image = chosen.solution.image
    residual = y - forward(image)
    return Restoration(
        image=image,
        sigma=level,
        lam=chosen.lam,
        solution=chosen.solution,
        seconds=time.perf_counter() - begin,
        residual=residual if observed is None else torch.where(observed, residual, torch.nan),
    )


def restores_channels_apart(regularizer: LocalRegularizer, y: Tensor) -> bool:
    """Whether images (B, C, H, W) in colour meet a regularizer for grey ones.

    Raises:
        LocregError: when it is the other way round.
    """
    if y.shape[1] == 1 and regularizer.in_channels == 3:
        raise LocregError(
            "The image is grey and the weights are for colour images: use denoise-gray or "
            "alr-gray, or train with channels 1."
        )
    return regularizer.in_channels == 1 and y.shape[1] > 1


def each_channel(restore: Callable[[Tensor], Restoration], y: Tensor) -> Restoration:
    """Restore the channels of images (B, C, H, W) as a batch of grey images (B C, 1, H, W)."""
    found = restore(y.reshape(-1, 1, *y.shape[2:]))
    image, residual = (x.reshape(y.shape[:2] + x.shape[2:]) for x in (found.image, found.residual))
    return replace(found, image=image, residual=residual)


def _check_observation(y: Tensor, operator: LinearOperator | None) -> None:
    if not torch.isfinite(y).all():
        raise LocregError("The image holds NaN or infinite pixels: replace them first.")
    if operator is None and y.dim() != 4:
        raise LocregError(f"The image must have the shape (B, C, H, W), got {tuple(y.shape)}.")


def _checked_lam(lam: Lam) -> Lam:
    """A number of any kind as a float, and no unknown word."""
    if lam is None:
        return None
    if isinstance(lam, str):
        if lam not in get_args(_LamRule):
            rules = ", ".join(get_args(_LamRule))
            raise UsageError(f"lam must be a number, None or one of {rules}, got {lam!r}.")
        return lam
    return float(lam)


def _noise_level(
    y: Tensor,
    sigma: float | Literal["auto"] | None,
    lam: Lam,
    regularizer: LocalRegularizer,
    estimate: Callable[[Tensor], float] | None,
) -> float | None:
    """sigma as it is given; estimated if that is asked for and something depends on it."""
    calibration = regularizer.calibration
    fixed = calibration is not None and not calibration.depends_on_sigma
    if fixed and lam is None and isinstance(sigma, float):
        raise UsageError("lam of these weights does not follow from sigma: leave sigma out.")
    if sigma != "auto":
        if sigma is not None:
            check_sigma(sigma)
        return sigma
    needed = regularizer.depends_on_level or lam in ("discrepancy", "sure")
    if not needed and (fixed or (lam is not None and lam != "score")):
        return None
    if estimate is None:
        raise UsageError("The noise level is estimated for denoising only: give sigma.")
    level = sum(estimate(image[None]) for image in y) / len(y)
    if level > 1:
        raise LocregError(
            f"The noise is estimated at {level:.3g}, stronger than white: pixels are expected in "
            "[0, 1]; say what is white (--white), or give sigma."
        )
    return level


def _first(y: Tensor, operator: LinearOperator | None, start: Tensor | None) -> Tensor:
    """Where the solver starts; the operator is checked there."""
    if operator is None:
        if start is not None and start.shape != y.shape:
            raise LocregError(
                f"start must have the shape of the image, {tuple(y.shape)}, got "
                f"{tuple(start.shape)}."
            )
        return y if start is None else start
    first = apply_operator(operator.A_adjoint, "A_adjoint", y) if start is None else start
    check_operator(operator, first, y)
    return first


def _identity(x: Tensor) -> Tensor:
    return x


def _choose_lam(
    lam: Lam,
    inversion: Inversion,
    regularizer: LocalRegularizer,
    sigma: float | None,
    *,
    denoising: bool,
) -> ChosenLam:
    """The lam that is given, calibrated for sigma, or found by one of the principles."""
    if isinstance(lam, float):
        return ChosenLam(lam, inversion.at(lam))
    calibrated = calibrated_lam(regularizer, sigma, denoising=denoising)
    if lam == "score":
        return lam_by_score(inversion, regularizer, calibrated)
    if lam is not None:
        if sigma is None:
            raise UsageError("This choice of lam needs the noise level: give sigma.")
        choose = lam_by_discrepancy if lam == "discrepancy" else lam_by_sure
        return choose(inversion, sigma, calibrated)
    return ChosenLam(calibrated, inversion.at(calibrated))
