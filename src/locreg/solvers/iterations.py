"""What the solvers on tensors share: values of each image of a batch, and the record of a path."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from locreg.solvers.objective import Evaluation
from locreg.solvers.solution import Iterate, OnStep


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
