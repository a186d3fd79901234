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
    SERVED_SHARES,
    AdamOptions,
    AnnealingOptions,
    GradientDescentOptions,
    GradientStepOptions,
    LBFGSOptions,
    MinimiserOptions,
    ProximalGradientOptions,
    SolverOptions,
    check_sigma,
)
from locreg.quasi_newton import lbfgs
from locreg.regularizer import LocalRegularizer
from locreg.solvers import (
    OnStep,
    Solution,
    adam,
    gradient_descent,
    proximal_gradient,
)

# Of the lam of denoising, what is best on average over deblurring, inpainting and upscaling, on
# photographs held out of the training; between 0.2 and 0.5 it matters little.
_SHARE_OF_OTHER_OPERATORS = 0.4

# A second gradient step is worth 0.0, 0.05 and 0.2 dB at 0.1, 0.2 and 0.4, on photographs held out
# of the training.
_TWO_STEPS_FROM = 0.15

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
            Weights of learned noise have a level of their own, which is the default and ``"auto"``.
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
            without an operator.
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
                estimate=estimate,
                on_step=on_step,
            ),
            y,
        )
    lam = _checked_lam(lam)
    if sigma is not None and sigma != "auto":
        sigma = float(sigma)
    if regularizer.learned_level is not None:
        if sigma is None or sigma == "auto":
            sigma = regularizer.learned_level
        _check_learned_noise(regularizer.learned_level, operator, sigma, lam, solver)
    if operator is None and estimate is None:
        estimate = estimate_sigma
    level = _noise_level(y, sigma, lam, regularizer, estimate)
    solver = solver or default_solver(regularizer, denoising=operator is None)
    _check_solver(solver, regularizer)
    first = _first(y, operator, start)
    usable = level
    if level is not None and (operator is not None or isinstance(solver, AnnealingOptions)):
        usable = max(level, LEAST_SIGMA)
    at_level = regularizer
    if regularizer.depends_on_level:
        if usable is None:
            raise UsageError('These weights depend on the noise level: give sigma (or "auto").')
        at_level = regularizer.at(usable)
    solver = _within_trained_levels(solver, regularizer, level)
    if isinstance(solver, GradientStepOptions) and solver.steps is None:
        solver = GradientStepOptions(steps=usual_steps(regularizer, usable or 0.0))

    def invert(weight: float, observation: Tensor) -> Solution:
        origin = observation if first is y else first
        if isinstance(solver, GradientStepOptions):
            return gradient_steps(
                observation, regularizer, operator, origin, usable or 0.0, weight,
                solver.steps or 1, on_step=on_step,
            )  # fmt: skip
        if isinstance(solver, AnnealingOptions):
            return annealed_proximal_gradient(
                observation, regularizer, operator, origin, usable or LEAST_SIGMA, weight, solver,
                on_step=on_step,
            )  # fmt: skip
        objective = Objective(observation, at_level, weight, operator)
        return solve(objective, origin, solver, on_step=on_step)

    forward = _identity if operator is None else operator.A
    inversion = Inversion(y, invert, forward, observed)
    chosen = _choose_lam(lam, inversion, regularizer, usable, denoising=operator is None)
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


def _check_learned_noise(
    level: float,
    operator: LinearOperator | None,
    sigma: float,
    lam: Lam,
    solver: SolverOptions | None,
) -> None:
    """Refuse what weights of learned noise were not trained for."""
    few = isinstance(solver, GradientStepOptions) and solver.steps in (None, 1)
    lower = isinstance(solver, GradientStepOptions | AnnealingOptions) and not few
    if operator is not None or lower:
        raise UsageError(
            "These weights remove the noise of one folder of images: they serve denoising alone, "
            "in one step, and not by annealing."
        )
    if isinstance(lam, str):
        raise UsageError("The rules for lam are for white noise, not for that of these weights.")
    low, high = (share * level for share in SERVED_SHARES)
    if not low <= sigma <= high:
        raise UsageError(
            f"The noise of these weights has the level {level:.4g}: give a sigma from {low:.4g} to "
            f"{high:.4g}, or none."
        )


def _within_trained_levels(
    solver: SolverOptions, regularizer: LocalRegularizer, sigma: float | None
) -> SolverOptions:
    """Annealing without levels that the weights do not know; a sigma far from them is refused."""
    trained = regularizer.noise_range
    if trained is None or sigma is None:
        return solver
    if isinstance(solver, AnnealingOptions):
        return replace(
            solver,
            first_level=min(solver.first_level, trained.high),
            last_level=max(solver.last_level, trained.low),
        )
    if not SERVED_SHARES[0] * trained.low <= sigma <= SERVED_SHARES[1] * trained.high:
        raise LocregError(
            f"These weights were trained for noise in {trained}, and sigma is {sigma:.4g}: choose "
            "others, or train some for this noise."
        )
    return solver


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
    return sum(estimate(image[None]) for image in y) / len(y)


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


def default_solver(regularizer: LocalRegularizer, *, denoising: bool) -> SolverOptions:
    """The solver that a regularizer was made for.

    The paper's 50 Adam steps for a critic; with a noise-conditioned energy a gradient step or two
    for denoising, and annealing for any other operator.
    """
    if not regularizer.noise_conditioned:
        return AdamOptions()
    return GradientStepOptions() if denoising else AnnealingOptions()


def usual_steps(regularizer: LocalRegularizer, sigma: float) -> int:
    """How many gradient steps of a noise-conditioned energy serve white noise of level sigma.

    As many as it was trained for; of an energy that was trained for one, a second one helps where
    the noise is so strong that one gradient sees too little of the image.
    """
    levels = regularizer.noise_range
    if regularizer.trained_steps > 1 or levels is None:
        return regularizer.trained_steps
    return 2 if sigma >= _TWO_STEPS_FROM and sigma / 2 >= levels.low else 1


def solve(
    objective: Objective,
    start: Tensor,
    solver: MinimiserOptions,
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Minimise the objective by the algorithm that these options belong to."""
    match solver:
        case AdamOptions():
            return adam(objective, start, solver, on_step=on_step)
        case GradientDescentOptions():
            return gradient_descent(objective, start, solver, on_step=on_step)
        case ProximalGradientOptions():
            return proximal_gradient(objective, start, solver, on_step=on_step)
        case LBFGSOptions():
            return lbfgs(objective, start, solver, on_step=on_step)


def calibrated_lam(
    regularizer: LocalRegularizer, sigma: float | None, *, denoising: bool = True
) -> float:
    """The weight of R at a noise level.

    For denoising a critic's weights hold a calibration, and a noise-conditioned energy is trained
    with lam = sigma. Through any other operator it is a share of that.

    Raises:
        LocregError: when a critic's weights are not calibrated.
        UsageError: when lam depends on sigma and sigma is None.
    """
    share = 1.0 if denoising else _SHARE_OF_OTHER_OPERATORS
    calibration = regularizer.calibration
    if regularizer.noise_conditioned and sigma is not None:
        return share * sigma
    if calibration is None:
        raise LocregError("These weights hold no calibration: give lam.")
    if not calibration.depends_on_sigma:
        return share * calibration.lam(1.0)
    if sigma is None:
        raise UsageError('lam follows from the noise level: give sigma (or "auto"), or lam.')
    return share * calibration.lam(sigma)


def _check_solver(solver: SolverOptions, regularizer: LocalRegularizer) -> None:
    for_conditioned = isinstance(solver, GradientStepOptions | AnnealingOptions)
    if for_conditioned and not regularizer.noise_conditioned:
        raise UsageError(
            "Gradient steps and annealing need weights of a noise-conditioned energy; these are "
            "a critic's: choose another solver."
        )
