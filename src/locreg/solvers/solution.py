"""What a solver returns: the image, the path to it, and why the solver stopped."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Status(enum.Enum):
    """Why a solver stopped.

    Attributes:
        CONVERGED: its tolerance was met.
        MAXIMUM_STEPS: it took all its steps.
        STALLED: no step, however small, decreases the energy any more, because of a kink or of
            rounding.
        FAILED: the energy grew, or is not finite.
    """

    CONVERGED = "converged"
    MAXIMUM_STEPS = "maximum steps"
    STALLED = "stalled"
    FAILED = "failed"


@dataclass(frozen=True)
class Iterate:
    """One point of a solver's path; each value is float64 (B,), one per image.

    The values are tensors if the solver worked on tensors, otherwise arrays.

    Attributes:
        energy, data_term, regularizer: E, 1/2 |Ax - y|^2 and R at this point.
        gradient_norm: |grad E| at this point.
        step_size: size of the step from this point to the next; 0 at the last point.
    """

    energy: Any
    data_term: Any
    regularizer: Any
    gradient_norm: Any
    step_size: Any


@dataclass(frozen=True)
class Solution:
    """The result of a solver.

    Attributes:
        image: the last point (B, C, H, W), nominally in [0, 1], not clipped; a tensor or an array.
        status: why the solver stopped there.
        history: the path from start to end; `locreg.gradient_steps` leaves out the end.
        gradients: how many times grad R was computed.
    """

    image: Any
    status: Status
    history: tuple[Iterate, ...]
    gradients: int

    @property
    def steps(self) -> int:
        """Number of steps, one from each point of the history but the end."""
        return len(self.history) - (not self.history[-1].step_size.any())


# It is called with the number of a point of the path, from 0, and the point.
OnStep = Callable[[int, Iterate], None]
