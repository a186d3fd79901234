"""What `locreg.restore` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from locreg.degradation.measure_noise import MeasuredNoise
from locreg.solvers.solution import Solution


@dataclass(frozen=True)
class Restoration:
    """A restored image and how it was computed.

    Attributes:
        image: x, in the shape of the observation (denoising) or of the operator's domain; not
            clipped.
        sigma: the noise level that was used: given, or estimated; None if nothing depends on it.
        noise: what was found about the noise; None if nothing depends on it, and with an operator.
        lam: the weight of the regularizer: given, calibrated or found by a rule.
        solution: the solver's status and history.
        seconds: the time that the restoration took.
        residual: y - Ax, in the shape of the observation; NaN where nothing was observed. With an
            operator, what highlights have above white is left out of both.
        parts: the restoration of each image or channel, if each was restored by itself. ``sigma``,
            ``noise``, ``lam`` and ``solution`` are those of the part with the most noise.
    """

    image: Tensor
    sigma: float | None
    noise: MeasuredNoise | None
    lam: float
    solution: Solution
    seconds: float
    residual: Tensor
    parts: tuple[Restoration, ...] = ()


def joined(parts: Sequence[Restoration], dim: int) -> Restoration:
    """One result of several, whose images are put together along a dimension."""
    noisiest = max(parts, key=lambda part: part.sigma or 0.0)
    return replace(
        noisiest,
        image=torch.cat([part.image for part in parts], dim=dim),
        residual=torch.cat([part.residual for part in parts], dim=dim),
        seconds=sum(part.seconds for part in parts),
        parts=tuple(parts),
    )


def residual_of(y: Tensor, fitted: Tensor, observed: Tensor | None) -> Tensor:
    """y - fitted, NaN where nothing was observed."""
    residual = y - fitted
    return residual if observed is None else torch.where(observed, residual, torch.nan)
