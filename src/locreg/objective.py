"""The energy E(x) = 1/2 |Ax - y|^2 + lam R(x): value and gradient."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from locreg.options import check_lam

_MOST_CONJUGATE_GRADIENTS = 50


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


class ProximalOperator(LinearOperator, Protocol):
    """An operator that knows the proximal map of its data term, as deepinv's do."""

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
        """argmin_x gamma/2 |Ax - y|^2 + 1/2 |x - z|^2."""


@dataclass(frozen=True)
class Evaluation:
    """The objective at a point; all but the gradients are per image, float64 (B,)."""

    energy: Tensor
    data_term: Tensor
    regularizer: Tensor
    gradient: Tensor
    regularizer_gradient: Tensor


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
        residual, data_gradient = self._residual_and_data_gradient(x)
        data_term = 0.5 * residual.flatten(1).square().sum(1, dtype=torch.float64)
        regularizer, gradient = self.regularizer.value_and_grad(x)
        return Evaluation(
            energy=data_term + self.lam * regularizer,
            data_term=data_term,
            regularizer=regularizer,
            gradient=data_gradient + self.lam * gradient,
            regularizer_gradient=gradient,
        )

    @torch.no_grad()
    def data_gradient(self, x: Tensor) -> Tensor:
        """A*(Ax - y)."""
        return self._residual_and_data_gradient(x)[1]

    def _residual_and_data_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        residual = (x if self.operator is None else self.operator.A(x)) - self.y
        return residual, residual if self.operator is None else self.operator.A_adjoint(residual)

    @property
    def has_prox(self) -> bool:
        """Whether the proximal step of the data term has a closed form.

        It has for denoising, and for operators with a ``prox_l2`` of their own: deepinv's masks and
        circular blurs, but not what falls back on its iterative ``LinearPhysics.prox_l2``.
        """
        if self.operator is None:
            return True
        prox = getattr(type(self.operator), "prox_l2", None)
        deepinv = sys.modules.get("deepinv")  # loaded, if the operator is one of deepinv's
        if prox is None or (deepinv and prox is deepinv.physics.LinearPhysics.prox_l2):
            return False
        return not hasattr(self.operator, "padding") or self.operator.padding == "circular"

    @torch.no_grad()
    def prox(self, x: Tensor, step: Tensor) -> Tensor:
        """argmin_z step/2 |Az - y|^2 + 1/2 |z - x|^2, with one ``step`` (B, 1, 1, 1) per image.

        For the identity it is (x + step y) / (1 + step). Where an operator has no closed form,
        conjugate gradients find it.
        """
        if self.operator is None:
            return (x + step * self.y) / (1 + step)
        if self.has_prox:
            return cast(ProximalOperator, self.operator).prox_l2(x, self.y, step)
        from deepinv.optim.linear import least_squares

        found: Tensor = least_squares(
            self.operator.A, self.operator.A_adjoint, self.y,
            z=x, init=x, gamma=step, solver="CG", max_iter=_MOST_CONJUGATE_GRADIENTS, tol=1e-4,
        )  # fmt: skip
        return found
