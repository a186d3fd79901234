"""Restoration of an image: minimise the energy, with parameters that need not be guessed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from locreg.annealing import LEAST_SIGMA, annealed_proximal_gradient
from locreg.calibration import estimate_sigma
from locreg.errors import LocregError, UsageError
from locreg.lam_choice import ChosenLam, lam_by_discrepancy, lam_by_score
from locreg.objective import LinearOperator, Objective
from locreg.operators import apply_operator, check_operator
from locreg.options import (
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
    gradient_step,
    proximal_gradient,
)

# Of 0.2, 0.5 and 1, the best on average over deblurring, inpainting and upscaling, on photographs
# held out of the training.
_SHARE_OF_OTHER_OPERATORS = 0.5

Lam = float | Literal["discrepancy", "score"] | None


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
            Needed where the regularizer is noise-conditioned, and where ``lam`` is not given and
            the calibration depends on it.
        lam: weight of R; by default the regularizer's calibration gives it for sigma.
            ``"discrepancy"`` and ``"score"`` find it for this observation, without a ground truth,
            by solving about six times: see `lam_choice`.
        solver: the options of the solver to use: Adam (section 3.3), gradient descent (eq. 5),
            one that converges (proximal gradient or L-BFGS), or, with a noise-conditioned
            regularizer, one gradient step or annealing. By default `default_solver` chooses.
        start: where the solver starts, in the operator's domain; by default A*y, which is y
            without an operator.
        estimate: from one observation (1, ...) to its noise level; without an operator
            `estimate_sigma`.
        on_step: called with step number and `Iterate` at every step, to report progress.

    Raises:
        UsageError: when sigma or lam is out of range, or missing.
        LocregError: when y has the wrong shape or non-finite pixels, there is no calibration, or
            the operator fails, gives wrong shapes, or ``A_adjoint`` is not the adjoint of ``A``.
    """
    begin = time.perf_counter()
    if y.dim() != 4 and operator is None:
        raise LocregError(f"The image must have the shape (B, C, H, W), got {tuple(y.shape)}.")
    if not torch.isfinite(y).all():
        raise LocregError("The image holds NaN or infinite pixels: replace them first.")
    if regularizer.in_channels == 1 and y.shape[1] > 1 and operator is None:
        shape = y.shape
        y = y.reshape(-1, 1, *shape[2:])
    else:
        shape = None
    if y.shape[1] == 1 and regularizer.in_channels == 3 and operator is None:
        raise LocregError(
            "The image is grey and the weights are for colour images: use alr-gray, or train with "
            "channels 1."
        )
    fixed = regularizer.calibration is not None and not regularizer.calibration.depends_on_sigma
    if not isinstance(lam, float | int) and fixed:
        if isinstance(sigma, float | int):
            raise UsageError("lam of these weights does not follow from sigma: leave sigma out.")
        sigma = None  # nothing to estimate it for
    if operator is None and estimate is None:
        estimate = estimate_sigma
    if sigma == "auto" and isinstance(lam, float | int) and not regularizer.noise_conditioned:
        sigma = None  # nothing to estimate it for
    level = _noise_level(y, sigma, estimate)
    solver = solver or default_solver(regularizer, denoising=operator is None)
    _check_solver(solver, regularizer, level)
    if start is not None:
        first = start.reshape(y.shape) if operator is None else start
    elif operator is None:
        first = y
    else:
        first = apply_operator(operator.A_adjoint, "A_adjoint", y)
    if operator is not None:
        check_operator(operator, first, y)

    def solve_with(weight: float) -> Solution:
        if isinstance(solver, AnnealingOptions):
            assert level is not None  # checked above
            return annealed_proximal_gradient(
                y, regularizer, operator, first, level, weight, solver, on_step=on_step
            )
        fixed = regularizer
        if regularizer.noise_conditioned:
            assert level is not None
            fixed = regularizer.at(level)
        return solve(Objective(y, fixed, weight, operator), first, solver, on_step=on_step)

    chosen = _choose_lam(lam, solve_with, y, regularizer, level, denoising=operator is None)
    image = chosen.solution.image
    residual = y - (image if operator is None else operator.A(image))
    return Restoration(
        image=image if shape is None else image.reshape(shape),
        sigma=level,
        lam=chosen.lam,
        solution=chosen.solution,
        seconds=time.perf_counter() - begin,
        residual=residual if shape is None else residual.reshape(shape),
    )


def _choose_lam(
    lam: Lam,
    solve_with: Callable[[float], Solution],
    y: Tensor,
    regularizer: LocalRegularizer,
    sigma: float | None,
    *,
    denoising: bool,
) -> ChosenLam:
    """The lam that is given, calibrated for sigma, or found by one of the principles."""
    if isinstance(lam, float | int):
        return ChosenLam(lam, solve_with(lam))
    calibrated = calibrated_lam(regularizer, sigma, denoising=denoising)
    if lam == "discrepancy":
        if sigma is None:
            raise UsageError("The discrepancy principle needs the noise level: give sigma.")
        return lam_by_discrepancy(solve_with, y.numel(), sigma, calibrated)
    if lam == "score":
        return lam_by_score(solve_with, regularizer, calibrated)
    return ChosenLam(calibrated, solve_with(calibrated))


def default_solver(regularizer: LocalRegularizer, *, denoising: bool) -> SolverOptions:
    """The solver that a regularizer was made for.

    The paper's 50 Adam steps for a critic; with a noise-conditioned energy one gradient step for
    denoising, and annealing for any other operator.
    """
    if not regularizer.noise_conditioned:
        return AdamOptions()
    return GradientStepOptions() if denoising else AnnealingOptions()


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
        case GradientStepOptions():
            return gradient_step(objective, start, on_step=on_step)


def calibrated_lam(
    regularizer: LocalRegularizer, sigma: float | None, *, denoising: bool = True
) -> float:
    """The weight of R for a noise level.

    A critic's weights hold a calibration. A noise-conditioned energy is trained to denoise with
    lam = sigma; through any other operator a share of it restores best.

    Raises:
        LocregError: when a critic's weights are not calibrated.
        UsageError: when lam depends on sigma and sigma is None.
    """
    calibration = regularizer.calibration
    if regularizer.noise_conditioned and sigma is not None:
        return sigma if denoising else _SHARE_OF_OTHER_OPERATORS * max(sigma, LEAST_SIGMA)
    if calibration is None:
        raise LocregError("These weights hold no calibration: give lam.")
    if not calibration.depends_on_sigma:
        return calibration.lam(1.0)
    if sigma is None:
        raise UsageError('lam follows from the noise level: give sigma (or "auto"), or lam.')
    return calibration.lam(sigma)


def _check_solver(
    solver: SolverOptions, regularizer: LocalRegularizer, level: float | None
) -> None:
    if regularizer.noise_conditioned:
        if level is None:
            raise UsageError('These weights depend on the noise level: give sigma (or "auto").')
    elif isinstance(solver, GradientStepOptions | AnnealingOptions):
        raise UsageError(
            "One gradient step and annealing need weights of a noise-conditioned energy; these are "
            "a critic's: choose another solver."
        )


def _noise_level(
    y: Tensor,
    sigma: float | Literal["auto"] | None,
    estimate: Callable[[Tensor], float] | None,
) -> float | None:
    if sigma == "auto":
        if estimate is None:
            raise UsageError("The noise level is estimated for denoising only: give sigma.")
        return sum(estimate(image[None]) for image in y) / len(y)
    if sigma is not None:
        check_sigma(sigma)
    return sigma
