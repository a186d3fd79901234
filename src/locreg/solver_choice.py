"""Which solver serves which regularizer, with how many steps, and which lam belongs to it."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from locreg.annealing import step_sizes
from locreg.errors import LocregError, UsageError
from locreg.objective import LinearOperator, Objective
from locreg.options import (
    SERVED_SHARES,
    AdamOptions,
    AnnealingOptions,
    GradientDescentOptions,
    GradientStepOptions,
    LBFGSOptions,
    MinimiserOptions,
    NoiseRange,
    ProximalGradientOptions,
    SolverOptions,
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


def default_solver(regularizer: LocalRegularizer, *, denoising: bool) -> SolverOptions:
    """The solver that a regularizer was made for.

    The paper's 50 Adam steps for a critic; with a noise-conditioned energy a few gradient steps
    for denoising, and annealing for any other operator.
    """
    if not regularizer.noise_conditioned:
        return AdamOptions()
    return GradientStepOptions() if denoising else AnnealingOptions()


def usual_steps(regularizer: LocalRegularizer, sigma: float) -> int:
    """How many gradient steps of a noise-conditioned energy remove white noise of level sigma.

    One, where the level was learned: that of a damage was found with one (`locreg.damage`), and
    learned noise is taken away by one. Else as many as the energy was trained for; of one that was
    trained for one, a second one helps where the noise is so strong that one gradient sees too
    little of the image.
    """
    if regularizer.learned_level is not None:
        return 1
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
        UsageError: when a critic's weights are not calibrated, or lam depends on sigma and sigma is
            None.
    """
    share = 1.0 if denoising else _SHARE_OF_OTHER_OPERATORS
    calibration = regularizer.calibration
    if regularizer.noise_conditioned and sigma is not None:
        return share * sigma
    if calibration is None:
        raise UsageError("These weights hold no calibration: give lam.")
    if not calibration.depends_on_sigma:
        return share * calibration.lam(1.0)
    if sigma is None:
        raise UsageError('lam follows from the noise level: give sigma (or "auto"), or lam.')
    return share * calibration.lam(sigma)


def check_solver(solver: SolverOptions, regularizer: LocalRegularizer) -> None:
    """Refuse a solver that these weights were not made for."""
    for_conditioned = isinstance(solver, GradientStepOptions | AnnealingOptions)
    if for_conditioned and not regularizer.noise_conditioned:
        raise UsageError(
            "Gradient steps and annealing need weights of a noise-conditioned energy; these are "
            "a critic's: choose another solver."
        )


def check_learned_noise(
    regularizer: LocalRegularizer,
    operator: LinearOperator | None,
    sigma: float | str | None,
    lam: float | str | None,
    solver: SolverOptions | None,
) -> None:
    """Refuse what weights of learned noise were not trained for."""
    several = isinstance(solver, GradientStepOptions) and solver.steps not in (None, 1)
    if operator is not None or several or isinstance(solver, AnnealingOptions):
        raise UsageError(
            "These weights remove the noise of one folder of images: they serve denoising alone, "
            "in one step, and not by annealing."
        )
    if isinstance(lam, str):
        raise UsageError("The rules for lam are for white noise, not for that of these weights.")
    level = regularizer.learned_level
    assert level is not None
    assert isinstance(sigma, float)  # without an operator it is, by default, the level
    low, high = (share * level for share in SERVED_SHARES)
    if not low <= sigma <= high:
        raise UsageError(
            f"The noise of these weights has the level {level:.4g}: give a sigma from {low:.4g} to "
            f"{high:.4g}, or none."
        )


def within_trained_levels(
    solver: SolverOptions, regularizer: LocalRegularizer, sigma: float | None
) -> SolverOptions:
    """Annealing without levels that the weights do not know; a sigma far from them is refused."""
    trained = regularizer.noise_range
    if trained is None or sigma is None:
        return solver
    if sigma > SERVED_SHARES[1] * trained.high:
        raise _untrained(sigma, trained)
    if isinstance(solver, AnnealingOptions):
        return replace(
            solver,
            first_level=min(solver.first_level, trained.high),
            last_level=max(solver.last_level, trained.low),
        )
    if isinstance(solver, GradientStepOptions) and solver.steps is not None:
        lowest, trained_lowest = (
            step_sizes(steps)[-1] for steps in (solver.steps, regularizer.trained_steps)
        )
        if lowest * sigma < SERVED_SHARES[0] * trained_lowest * trained.low:
            raise LocregError(
                f"The last of {solver.steps} gradient steps is one at the noise level "
                f"{lowest * sigma:.2g}, and these weights were trained for noise in {trained}: "
                "take fewer steps."
            )
    if sigma < SERVED_SHARES[0] * trained.low:
        raise _untrained(sigma, trained)
    return solver


def _untrained(sigma: float, trained: NoiseRange) -> LocregError:
    return LocregError(
        f"These weights were trained for noise in {trained}, and sigma is {sigma:.4g}: choose "
        "others, or train some for this noise."
    )
