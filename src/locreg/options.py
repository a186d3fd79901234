"""Noise levels, and options of the solvers: the same in Python and on the command line.

Nothing heavy is imported here, so that the command line can show its help at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from locreg.errors import UsageError

Precision = Literal["float32", "bfloat16"]

# Of upscaling: between cameras and their lenses, about 0.5, and images made small by software.
ANTIALIASING = 0.35

LEAST_NOISE = 0.004  # below it, one step of an 8-bit image, hardly any noise is there

# Through an operator noise is never taken for less than about half that step: without noise the
# data would leave nothing to the regularizer, where they say nothing themselves either.
LEAST_SIGMA = 0.002

# Shares of the noise that weights are trained for, that a user may ask them to remove; learned
# noise is varied so in training.
SERVED_SHARES = (0.7, 1.3)


@dataclass(frozen=True, kw_only=True)
class NoiseRange:
    """White Gaussian noise, its standard deviation in [low, high] on the [0, 1] scale."""

    low: float
    high: float

    def __post_init__(self) -> None:
        check_sigma(self.low)
        check_sigma(self.high)
        if self.high == 0:
            raise UsageError("Noise of level 0 is none: give a level above 0.")
        if self.low > self.high:
            raise UsageError(f"Noise levels must satisfy low <= high, got {self.low}:{self.high}.")

    @property
    def one_level(self) -> bool:
        """Whether the range is a single level."""
        return self.low == self.high

    @property
    def middle(self) -> float:
        """The mean level."""
        return (self.low + self.high) / 2

    @classmethod
    def parse(cls, text: str) -> NoiseRange:
        """From ``S`` (one level) or ``LO:HI``."""
        low, separator, high = text.partition(":")
        try:
            return cls(low=float(low), high=float(high if separator else low))
        except ValueError:
            raise UsageError(
                f"Noise must be S or LO:HI, such as 0.1 or 0.05:0.3, got {text!r}."
            ) from None

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


def check_sigma(sigma: float) -> None:
    """Refuse a noise level that cannot be meant.

    Raises:
        UsageError: when sigma is negative, not finite, or above 1.
    """
    if not sigma >= 0:
        raise UsageError(f"A noise level must be at least 0, got {sigma:g}.")
    if sigma > 1:
        raise UsageError(
            f"Noise level {sigma:g} is above 1: levels are standard deviations on the [0, 1] scale"
            + (f"; if you mean {sigma:g}/255, give {sigma / 255:.4g}." if sigma <= 255 else ".")
        )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise UsageError for what is not one of the choices."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def check_positive(name: str, value: float) -> None:
    """Refuse a constant that must be positive and finite.

    Raises:
        UsageError: when it is not.
    """
    if not 0 < value < float("inf"):
        raise UsageError(f"{name} must be positive, got {value}.")


def check_at_least(least: int, name: str, value: int) -> None:
    """Refuse a whole number that is too small.

    Raises:
        UsageError: when it is.
    """
    if value < least:
        raise UsageError(f"{name} must be at least {least}, got {value}.")


def check_lam(lam: float) -> None:
    """Refuse a weight of the regularizer that cannot be meant.

    Raises:
        UsageError: when lam is negative or not finite.
    """
    if not 0 <= lam < float("inf"):
        raise UsageError(f"lam must be at least 0 and finite, got {lam:g}.")


@dataclass(frozen=True, kw_only=True)
class AdamOptions:
    """Prost et al. (2021), section 3.3: the learning rate decays exponentially."""

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
class GradientDescentOptions:
    """Prost et al. (2021), eq. (5).

    Attributes:
        steps: the most steps that are taken.
        step_size: eta. With a ReLU critic the energy has kinks, and the path ends up to about
            eta |grad E| away from a minimiser; smaller steps end closer and take longer.
        tolerance: stop where a step moves the image by less than this share of its norm.
    """

    steps: int = 200
    step_size: float = 0.1
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and self.step_size > 0 and self.tolerance >= 0):
            raise UsageError("steps and step_size must be positive, tolerance at least 0.")


@dataclass(frozen=True, kw_only=True)
class ProximalGradientOptions:
    """Inertial proximal gradient descent with backtracking (Ochs et al. 2014).

    Attributes:
        steps: the most gradients that are computed.
        tolerance: an image has converged where |grad E| / sqrt(number of values) is at most this.
        first_step: the step size that is tried first.
        growth: factor by which the step size grows after every step that was taken.
        inertia: the largest weight of the last move.
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
class LBFGSOptions:
    """Limited-memory BFGS with a weak Wolfe line search.

    Attributes:
        steps: the most gradients that are computed.
        tolerance: an image has converged where |grad E| / sqrt(number of values) is at most this.
        memory: number of moves that the curvature is estimated from; each holds two images.
        decrease: c1 of the Wolfe conditions, the share of the linear decrease that must be met.
        curvature: c2, the share of the slope that may be left.
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
class AnnealingOptions:
    """Proximal gradient with a noise-conditioned energy at a decreasing noise level.

    Attributes:
        steps: number of steps, each with one gradient.
        first_level: noise level of the first step.
        last_level: the noise level of the last step is not below this.
    """

    steps: int = 16
    first_level: float = 0.2
    last_level: float = 0.01

    def __post_init__(self) -> None:
        check_at_least(1, "steps", self.steps)
        for name in ("first_level", "last_level"):
            check_positive(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class GradientStepOptions:
    """One or a few gradient steps with a noise-conditioned energy, which is trained for them.

    Attributes:
        steps: None are as many as serve the noise level: see `solver_choice.usual_steps`.
    """

    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_at_least(1, "steps", self.steps)


# Those that minimise one energy; the others follow a sequence of energies.
MinimiserOptions = AdamOptions | GradientDescentOptions | ProximalGradientOptions | LBFGSOptions
SolverOptions = MinimiserOptions | GradientStepOptions | AnnealingOptions
