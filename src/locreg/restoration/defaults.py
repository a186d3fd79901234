"""Defaults that fit a regularizer: solver, steps, noise level, lam and packaged weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from locreg.degradation.measure_noise import MeasuredNoise
from locreg.degradation.noise import LEAST_SIGMA, SUPPORTED_SHARES, NoiseRange
from locreg.errors import LocregError, UsageError
from locreg.regularizer.trained_regularizer import TrainedRegularizer
from locreg.restoration.options import RestoreOptions
from locreg.solvers.options import (
    AdamOptions,
    AnnealingOptions,
    GradientStepOptions,
    SolverOptions,
    step_sizes,
)
from locreg.solvers.registry import Solver, solver_of

# For deblurring, inpainting and upscaling, lam is this share of the denoising lam. It is the best
# share on average over held-out photographs; any value from 0.2 to 0.5 is nearly as good.
_SHARE_OF_OTHER_OPERATORS = 0.4

# The levels of the two steps that remove noise of a camera, as shares of its level. Such noise
# varies slowly, so a step for white noise of the same level would leave most of it. On the crops of
# docs/weights.md ("Noise of cameras"), shares of 1.0 and 1.5 have 0.1 dB less.
COARSE_SHARE, FINE_SHARE = 1.15, 1.725

# Below this level both shares fall in proportion to it: weak noise is easily mistaken for texture.
CAUTIOUS_BELOW = 0.0115

# The noise level from which a second gradient step pays. On held-out photographs it gains 0.0, 0.05
# and 0.2 dB at noise levels 0.1, 0.2 and 0.4. With several scales, which see more at once, it gains
# 0.0 dB at 0.2 and 0.1 to 0.2 dB at 0.4.
_TWO_STEPS_FROM, _TWO_STEPS_FROM_WITH_SCALES = 0.15, 0.3


@dataclass(frozen=True)
class SolverPlan:
    """Which solver runs, and for which noise level.

    Attributes:
        solver: options of the solver, with every choice made.
        sigma: the noise level of the observation, times the strength if that raises it; None if it
            is unknown.
        level: the noise level that R and lam are for; None if neither depends on it.
        share: factor of the calibrated lam, for the strength.
    """

    solver: SolverOptions
    sigma: float | None
    level: float | None
    share: float

    @property
    def starts_at_observation(self) -> bool:
        """Whether this solver denoises from y itself, so that no other start can be given."""
        row = solver_of(self.solver)
        return row.conditioned and not row.anneals


def plan_solver(
    options: RestoreOptions,
    regularizer: TrainedRegularizer,
    noise: MeasuredNoise | None,
    *,
    denoising: bool,
) -> SolverPlan:
    """Choose the solver, its steps and the noise level of the energy.

    Args:
        options: what was asked for.
        regularizer: R.
        noise: the noise of the observation; None if it is unknown.
        denoising: whether A is the identity.

    Raises:
        UsageError: when the weights do not fit the options, or need a noise level and the noise is
            None.
        LocregError: when the noise level is far from those of the training.
    """
    solver = chosen_solver(options, regularizer, denoising=denoising)
    row = solver_of(solver)
    _check_conditioned(row, regularizer)
    raised = regularizer.depends_on_level and options.strength > 1
    sigma = None if noise is None else noise.level * (options.strength if raised else 1)
    if regularizer.learned_noise:
        _check_learned_noise(options, solver, regularizer, sigma, denoising=denoising)
    level = sigma
    if sigma is not None and (row.anneals or not denoising):
        level = max(sigma, LEAST_SIGMA)
    if regularizer.depends_on_level and level is None:
        raise UsageError("These weights depend on the noise level: give sigma.")
    solver = _within_trained_levels(solver, regularizer, sigma)
    if solver.steps is None:
        assert level is not None  # only gradient steps may leave their number open: they need it
        solver = replace(solver, steps=usual_steps(regularizer, level))
    share = 1.0 if raised else options.strength
    return SolverPlan(solver, sigma, level, share)


def chosen_solver(
    options: RestoreOptions, regularizer: TrainedRegularizer, *, denoising: bool
) -> SolverOptions:
    """The solver that the options ask for, or the default, with the steps of the options."""
    solver = options.solver or default_solver(regularizer, denoising=denoising)
    return solver if options.steps is None else replace(solver, steps=options.steps)


def default_solver(regularizer: TrainedRegularizer, *, denoising: bool) -> SolverOptions:
    """The solver that a regularizer was made for.

    For a critic, the paper's 50 Adam steps. For a denoising energy, a few gradient steps if the
    task is denoising, and annealing with any other operator.
    """
    if not regularizer.noise_conditioned:
        return AdamOptions()
    return GradientStepOptions() if denoising else AnnealingOptions()


def usual_steps(regularizer: TrainedRegularizer, sigma: float) -> int:
    """How many gradient steps a denoising energy takes to remove white noise of level sigma.

    One step if the level was learned: `locreg.learn_damage` finds the level of a damage with one
    step, and an energy for learned noise is trained for one. Otherwise the number of steps that the
    energy was trained for. If that is one, strong noise gets a second step, because one gradient
    sees too little of the image.
    """
    if regularizer.learned_level is not None:
        return 1
    levels = regularizer.noise_range
    if regularizer.trained_steps > 1 or levels is None:
        return regularizer.trained_steps
    several = regularizer.number_of_scales > 1
    enough = _TWO_STEPS_FROM_WITH_SCALES if several else _TWO_STEPS_FROM
    return 2 if sigma >= enough and sigma / 2 >= levels.low else 1


def takes_energy(options: RestoreOptions) -> bool:
    """Whether the options leave the choice of a denoising energy: no solver or rule of a critic."""
    return options.lam != "score" and (
        options.solver is None or solver_of(options.solver).conditioned
    )


def takes_gradient_steps(options: RestoreOptions, regularizer: TrainedRegularizer) -> bool:
    """Whether gradient steps on a denoising energy denoise, with a lam that is known before."""
    if not regularizer.noise_conditioned or isinstance(options.lam, str):
        return False
    return isinstance(chosen_solver(options, regularizer, denoising=True), GradientStepOptions)


def takes_coarse_step(options: RestoreOptions, regularizer: TrainedRegularizer) -> bool:
    """Whether noise of a camera is removed in two steps, at half the resolution and at the full.

    An energy for white noise needs both; one that was trained on other noise does not. With a given
    lam, or a rule for it, there is one energy alone.
    """
    if options.lam is not None or not regularizer.removes_white_noise:
        return False
    return isinstance(chosen_solver(options, regularizer, denoising=True), GradientStepOptions)


def default_weights(options: RestoreOptions, *, grey: bool) -> str:
    """The packaged weights that restore best.

    These are a denoising energy, unless the solver or the rule for lam needs a critic.
    """
    if not takes_energy(options):
        return "ridge-gray" if grey else "ridge-rgb"
    return "denoise-gray" if grey else "denoise-rgb"


def calibrated_lam(
    regularizer: TrainedRegularizer, sigma: float | None, *, denoising: bool = True
) -> float:
    """lam for a noise level.

    For denoising, a critic's weights hold a calibration of lam, and a denoising energy is trained
    with lam = sigma. With any other operator, lam is a fixed share of that.

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
        raise UsageError("lam follows from the noise level: give sigma or lam.")
    return share * calibration.lam(sigma)


def _check_conditioned(solver: Solver, regularizer: TrainedRegularizer) -> None:
    if solver.conditioned and not regularizer.noise_conditioned:
        raise UsageError(
            "Gradient steps and annealing need weights of a denoising energy, and these are a "
            "critic's: choose another solver."
        )


def _check_learned_noise(
    options: RestoreOptions,
    solver: SolverOptions,
    regularizer: TrainedRegularizer,
    sigma: float | None,
    *,
    denoising: bool,
) -> None:
    """Refuse options that weights for learned noise were not trained for."""
    row = solver_of(solver)
    several = row.conditioned and solver.steps not in (None, 1)
    if not denoising or row.anneals or several:
        raise UsageError(
            "These weights remove the noise of one folder of images: they support denoising alone, "
            "with a single gradient step and without annealing."
        )
    if isinstance(options.lam, str):
        raise UsageError(
            "The rules for lam assume white noise, but these weights remove another kind: give lam "
            "as a number, or leave it out."
        )
    level = regularizer.learned_level
    assert level is not None
    assert sigma is not None  # for denoising it is the learned level by default
    low, high = (share * level for share in SUPPORTED_SHARES)
    if not low <= sigma <= high:
        raise UsageError(
            f"The noise of these weights has the level {level:.4g}: give a sigma from {low:.4g} to "
            f"{high:.4g}, or leave sigma out."
        )


def _within_trained_levels(
    solver: SolverOptions, regularizer: TrainedRegularizer, sigma: float | None
) -> SolverOptions:
    """Keep annealing within the trained noise levels, and refuse a sigma far outside of them."""
    trained = regularizer.noise_range
    if trained is None or sigma is None:
        return solver
    if sigma > SUPPORTED_SHARES[1] * trained.high:
        raise _untrained(sigma, trained)
    match solver:
        case AnnealingOptions():
            return replace(
                solver,
                first_level=min(solver.first_level, trained.high),
                last_level=max(solver.last_level, trained.low),
            )
        case GradientStepOptions() if solver.steps is not None:
            _check_last_step(solver.steps, regularizer, sigma, trained)
    if sigma < SUPPORTED_SHARES[0] * trained.low:
        raise _untrained(sigma, trained)
    return solver


def _check_last_step(
    steps: int, regularizer: TrainedRegularizer, sigma: float, trained: NoiseRange
) -> None:
    """Refuse a number of gradient steps whose last one falls below the trained noise levels."""
    lowest, trained_lowest = (step_sizes(count)[-1] for count in (steps, regularizer.trained_steps))
    if lowest * sigma < SUPPORTED_SHARES[0] * trained_lowest * trained.low:
        raise LocregError(
            f"The last of {steps} gradient steps is for noise of level {lowest * sigma:.2g}, but "
            f"these weights were trained for noise in {trained}: take fewer steps."
        )


def _untrained(sigma: float, trained: NoiseRange) -> LocregError:
    return LocregError(
        f"These weights were trained for noise in {trained}, but sigma is {sigma:.4g}: choose "
        "other weights, or train some for this noise level."
    )
