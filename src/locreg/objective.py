"""The energy E(x) = 1/2 |Ax - y|^2 + lam R(x): value and gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from locreg.options import check_lam


class Regularizer(Protocol):
    """What an objective asks of R."""

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """R of each image (B,), and its gradient."""


class LinearOperator(Protocol):
    """A linear degradation operator and its adjoint, as in ``deepinv.physics.LinearPhysics``."""

    def A(self, x: Tensor) -> Tensor:
        """Ax: from an image to what would be observed without noise."""

    def A_adjoint(self, y: Tensor) -> Tensor:
        """A*y: <Ax, y> = <x, A*y> for all x and y."""


@dataclass(frozen=True)
class Evaluation:
    """The objective at a point; all but the gradient are per image, float64 (B,)."""

    energy: Tensor
    data_term: Tensor
    regularizer: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Objective:
    """E(x) = 1/2 |Ax - y|^2 + lam R(x).

    This is eq. (2) of Prost et al. (2021) times sigma^2: its minimiser is the same with
    ``lam = sigma^2 lambda / n`` where the paper's R is the mean over n patches and ours the sum.

    Attributes:
        y: the observation.
        regularizer: R.
        lam: weight of R, at least 0.
        operator: A; None is the identity (denoising).
    """

    y: Tensor
    regularizer: Regularizer
    lam: float
    operator: LinearOperator | None = None

    def __post_init__(self) -> None:
        check_lam(self.lam)

    @torch.no_grad()
    def evaluate(self, x: Tensor) -> Evaluation:
        """Value and gradient at x (B, C, H, W): grad E = A*(Ax - y) + lam grad R(x)."""
        residual = (x if self.operator is None else self.operator.A(x)) - self.y
        data_term = 0.5 * residual.flatten(1).square().sum(1, dtype=torch.float64)
        data_gradient = residual if self.operator is None else self.operator.A_adjoint(residual)
        regularizer, gradient = self.regularizer.value_and_grad(x)
        return Evaluation(
            energy=data_term + self.lam * regularizer,
            data_term=data_term,
            regularizer=regularizer,
            gradient=data_gradient + self.lam * gradient,
        )
