"""The options of the solvers: the same in Python and on the command line.

Nothing heavy is imported here, so that the command line can show its help at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from locreg.arguments import check_at_least, check_positive
from locreg.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """The options that all solvers have.

    Attributes:
        steps: the largest number of steps; None: chosen from the noise level.
    """

    steps: int | None


@dataclass(frozen=True, kw_only=True)
class AdamOptions(SolverOptions):
    """Options of `locreg.adam`: Prost et al. (2021), section 3.3.

    The learning rate decays exponentially from the first step to the last.

    Attributes:
        steps: number of steps.
        learning_rate: the learning rate of the first step, about the change of a pixel per step on
            the [0, 1] scale.
        last_learning_rate: the learning rate of the last step.
        beta1: decay per step of the running mean of the gradient.
        beta2: decay per step of the running mean of the squared gradient.

    Raises:
        UsageError: when steps is below 1, a learning rate is not positive, or a decay is not in
            [0, 1).
    """

    steps: int = 50
    learning_rate: float = 0.1
    last_learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        check_at_least(1, "steps", self.steps)
        check_positive("learning_rate", self.learning_rate)
        check_positive("last_learning_rate", self.last_learning_rate)
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise UsageError("beta1 and beta2 must be in [0, 1).")


@dataclass(frozen=True, kw_only=True)
class GradientDescentOptions(SolverOptions):
    """Options of `locreg.gradient_descent`: Prost et al. (2021), eq. (5).

    Attributes:
        steps: the largest number of steps.
        step_size: eta. With a ReLU critic the energy has kinks, and the path ends up to about
            eta |grad E| away from a minimiser; smaller steps end closer but take longer.
        tolerance: stop when a step moves the batch of images by at most this share of its norm.

    Raises:
        UsageError: when steps or step_size is not positive, or tolerance is negative.
    """

    steps: int = 200
    step_size: float = 0.1
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and self.step_size > 0 and self.tolerance >= 0):
            raise UsageError("steps and step_size must be positive, tolerance at least 0.")


@dataclass(frozen=True, kw_only=True)
class ProximalGradientOptions(SolverOptions):
    """Options of `locreg.proximal_gradient` (Ochs et al. 2014).

    Attributes:
        steps: the largest number of gradients that are computed.
        tolerance: an image has converged when |grad E| / sqrt(number of values) is at most this.
        first_step: the step size tau that is tried first.
        growth: factor by which tau grows after every step that is taken.
        inertia: the largest beta, the weight of the last move.

    Raises:
        UsageError: when steps or first_step is not positive, tolerance is negative, growth is below
            1, or inertia is not in [0, 1).
    """

    steps: int = 200
    tolerance: float = 1e-4
    first_step: float = 0.5
    growth: float = 1.2
    inertia: float = 0.95

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and self.first_step > 0 and self.tolerance >= 0):
            raise UsageError("steps and first_step must be positive, tolerance at least 0.")
        if not (self.growth >= 1 and 0 <= self.inertia < 1):
            raise UsageError("growth must be at least 1 and inertia in [0, 1).")


@dataclass(frozen=True, kw_only=True)
class LBFGSOptions(SolverOptions):
    """Options of `locreg.lbfgs`.

    Attributes:
        steps: the largest number of gradients that are computed.
        tolerance: an image has converged when |grad E| / sqrt(number of values) is at most this.
        memory: number of last moves that the curvature is estimated from; each takes the memory of
            two images.
        decrease: c1 of the Wolfe conditions: the energy must decrease by at least this share of the
            linear decrease.
        curvature: c2 of the Wolfe conditions: at most this share of the slope may be left.

    Raises:
        UsageError: when steps or memory is not positive, tolerance is negative, or not
            0 < decrease < curvature < 1.
    """

    steps: int = 100
    tolerance: float = 1e-4
    memory: int = 8
    decrease: float = 1e-4
    curvature: float = 0.9

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and self.memory >= 1 and self.tolerance >= 0):
            raise UsageError("steps and memory must be positive, tolerance at least 0.")
        if not 0 < self.decrease < self.curvature < 1:
            raise UsageError("The Wolfe constants must satisfy 0 < decrease < curvature < 1.")


@dataclass(frozen=True, kw_only=True)
class AnnealingOptions(SolverOptions):
    """Options of `locreg.annealed_proximal_gradient`.

    Attributes:
        steps: number of steps, each with one gradient.
        first_level: noise level of the first step, on the [0, 1] scale.
        last_level: lowest noise level of the last step, on the [0, 1] scale.

    Raises:
        UsageError: when steps is below 1, or a noise level is not positive.
    """

    steps: int = 16
    first_level: float = 0.2
    last_level: float = 0.01

    def __post_init__(self) -> None:
        check_at_least(1, "steps", self.steps)
        for name in ("first_level", "last_level"):
            check_positive(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class GradientStepOptions(SolverOptions):
    """Options of `locreg.gradient_steps`.

    Attributes:
        steps: number of steps. None: `locreg.restore` chooses it from the noise level; the solver
            itself takes one.

    Raises:
        UsageError: when steps is below 1.
    """

    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_at_least(1, "steps", self.steps)


def step_sizes(steps: int) -> list[float]:
    """The ``steps`` step sizes eta of `locreg.gradient_steps`: 1, 1/2, 1/4, ..."""
    return [0.5**step for step in range(steps)]
