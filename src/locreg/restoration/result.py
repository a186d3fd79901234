"""What `locreg.restore` and `locreg.denoise` return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from locreg.arrays import as_array
from locreg.degradation.measure_noise import MeasuredNoise
from locreg.solvers.solution import Iterate, Solution


@dataclass(frozen=True)
class Restoration:
    """A restored image and how it was computed.

    Attributes:
        image: x, in the shape of the observation (denoising) or of the operator's domain; not
            clipped. A tensor, or an array from `locreg.denoise`, as all values below.
        sigma: the noise level that was used: given, or estimated; None if nothing depends on it.
        noise: what was found about the noise; None if nothing depends on it, and with an operator.
        lam: the weight of the regularizer: given, calibrated or found by a rule.
        solution: the solver's status and history.
        seconds: the time that the restoration took.
        observation: y, and often no copy. With an operator, what highlights have above white is
            left out.
        observed: the mask that was given, in the shape of the observation; None: everything was.
        fitted: Ax, in the shape of the observation; None without an operator, since it is x then.
        parts: the restoration of each image or channel, if each was restored by itself. ``sigma``,
            ``noise``, ``lam`` and ``solution`` are those of the part with the most noise.
    """

    image: Any
    sigma: float | None
    noise: MeasuredNoise | None
    lam: float
    solution: Solution
    seconds: float
    observation: Any
    observed: Any = None
    fitted: Any = None
    parts: tuple[Restoration, ...] = ()

    @property
    def explained(self) -> Any:
        """Ax, which is x without an operator: what the result says of the observation."""
        return self.image if self.fitted is None else self.fitted

    @property
    def residual(self) -> Any:
        """y - Ax, in the shape of the observation; NaN where nothing was observed.

        It is computed each time, since images may be large: do not change ``image`` or y before.
        """
        residual = self.observation - self.explained
        if self.observed is None:
            return residual
        if isinstance(residual, np.ndarray):
            return np.where(self.observed, residual, np.float32(np.nan))
        import torch

        return torch.where(self.observed, residual, torch.nan)


def joined(parts: Sequence[Restoration], axis: int) -> Restoration:
    """One result of several, whose images are put together along an axis."""
    noisiest = max(parts, key=lambda part: part.sigma or 0.0)
    return replace(
        noisiest,
        image=concatenated([part.image for part in parts], axis),
        observation=concatenated([part.observation for part in parts], axis),
        observed=_all_together([part.observed for part in parts], axis),
        fitted=_all_together([part.fitted for part in parts], axis),
        seconds=sum(part.seconds for part in parts),
        parts=tuple(parts),
    )


def with_values(restoration: Restoration, change: Callable[[Any], Any]) -> Restoration:
    """A restoration whose images and histories are changed, from arrays to tensors or back."""
    solution = restoration.solution
    history = tuple(iterate_with(iterate, change) for iterate in solution.history)
    observed, fitted = restoration.observed, restoration.fitted
    return replace(
        restoration,
        image=change(restoration.image),
        observation=change(restoration.observation),
        observed=None if observed is None else change(observed),
        fitted=None if fitted is None else change(fitted),
        solution=replace(solution, image=change(solution.image), history=history),
        parts=tuple(with_values(part, change) for part in restoration.parts),
    )


def iterate_with(iterate: Iterate, change: Callable[[Any], Any]) -> Iterate:
    """A point of a path whose values are changed."""
    return Iterate(*(change(getattr(iterate, field.name)) for field in fields(Iterate)))


def in_arrays(restoration: Restoration) -> Restoration:
    """A restoration whose values are arrays."""
    return with_values(restoration, as_array)


def _all_together(values: Sequence[Any], axis: int) -> Any:
    """Arrays or tensors put together; None if there are none."""
    return None if values[0] is None else concatenated(values, axis)


def concatenated(values: Sequence[Any], axis: int) -> Any:
    """Arrays or tensors put together along an axis."""
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values, axis)
    import torch

    return torch.cat(list(values), axis)
