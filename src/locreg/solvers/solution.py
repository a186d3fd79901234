"""What a solver returns: the image, the path to it, and why the solver stopped."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from locreg.solvers.objective import Evaluation


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

    Attributes:
        energy, data_term, regularizer: E, 1/2 |Ax - y|^2 and R at this point.
        gradient_norm: |grad E| at this point.
        step_size: size of the step from this point to the next; 0 at the last point.
    """

    energy: Tensor
    data_term: Tensor
    regularizer: Tensor
    gradient_norm: Tensor
    step_size: Tensor


@dataclass(frozen=True)
class Solution:
    """The result of a solver.

    Attributes:
        image: the last point (B, C, H, W), nominally in [0, 1], not clipped.
        status: why the solver stopped there.
        history: the path from start to end; `locreg.gradient_steps` leaves out the end.
        gradients: how many times grad R was computed.
    """

    image: Tensor
    status: Status
    history: tuple[Iterate, ...]
    gradients: int

    @property
    def steps(self) -> int:
        """Number of steps, one from each point of the history but the end."""
        return len(self.history) - (not self.history[-1].step_size.any())


# It is called with the number of a point of the path, from 0, and the point.
OnStep = Callable[[int, Iterate], None]


def gradient_norm(at_x: Evaluation) -> Tensor:
    """|grad E| per image, float64 (B,)."""
    norm: Tensor = at_x.gradient.flatten(1).norm(dim=1, dtype=torch.float64)
    return norm


def choose(images: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """``yes`` for the images that are True in ``images`` (B,), ``no`` for the others."""
    return torch.where(images.view(-1, *[1] * (yes.dim() - 1)), yes, no)


def choose_evaluation(images: Tensor, yes: Evaluation, no: Evaluation) -> Evaluation:
    """As `choose`, for all values of an evaluation."""
    pairs = ((getattr(yes, f.name), getattr(no, f.name)) for f in fields(Evaluation))
    return Evaluation(*(choose(images, *pair) for pair in pairs))


def record(
    history: list[Iterate], at_x: Evaluation, step_size: float | Tensor, on_step: OnStep | None
) -> None:
    """Append a point to the history and pass it to ``on_step``."""
    norm = gradient_norm(at_x)
    step_size = torch.as_tensor(step_size, dtype=torch.float64).expand_as(norm)
    iterate = Iterate(at_x.energy, at_x.data_term, at_x.regularizer, norm, step_size)
    history.append(iterate)
    if on_step is not None:
        on_step(len(history) - 1, iterate)


def finite(at_x: Evaluation) -> bool:
    """Whether the energy of every image is finite."""
    return bool(torch.isfinite(at_x.energy).all())


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per image: float64 (B,)."""
    return (a * b).flatten(1).sum(1, dtype=torch.float64)


def scale(factors: Tensor, images: Tensor) -> Tensor:
    """Each image (B, ...) times its own factor (B,)."""
    return factors.to(images.dtype).view(-1, *[1] * (images.dim() - 1)) * images
