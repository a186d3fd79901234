"""The energy E(x) = 1/2 |Ax - y|^2 + lam R(x): value and gradient."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from locreg.arguments import check_lam
from locreg.degradation.noise import check_sigma
from locreg.degradation.operators import LinearOperator, ProximalOperator

_MOST_CONJUGATE_GRADIENTS = 50


class Regularizer(Protocol):
    """The interface of R that an `Objective` needs."""

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """R of each image x (B, C, H, W), float64 (B,), and its gradient, of the shape of x."""


class ConditionedRegularizer(Protocol):
    """R(x; sigma), trained so that x - sigma grad R(x; sigma) denoises x at noise level sigma."""

    def at(self, sigma: float) -> Regularizer:
        """R(.; sigma) at one noise level."""


@dataclass(frozen=True)
class Evaluation:
    """The objective at a point x (B, C, H, W).

    Attributes:
        energy, data_term, regularizer: E, 1/2 |Ax - y|^2 and R of each image, float64 (B,).
        gradient, regularizer_gradient: grad E and grad R, of the shape of x.
    """

    energy: Tensor
    data_term: Tensor
    regularizer: Tensor
    gradient: Tensor
    regularizer_gradient: Tensor


@dataclass(frozen=True)
class Objective:
    """E(x) = 1/2 |Ax - y|^2 + lam R(x).

    This is eq. (2) of Prost et al. (2021) times sigma^2. It has the same minimiser for
    ``lam = sigma^2 lambda / n``, since R is a sum over n patches here and a mean in the paper.

    Attributes:
        y: the observation (B, ...), of the shape of A x, on the [0, 1] scale.
        regularizer: R.
        lam: weight of R, at least 0.
        operator: A; None is the identity (denoising).

    Raises:
        UsageError: when lam is negative or not finite.
    """

    y: Tensor
    regularizer: Regularizer
    lam: float
    operator: LinearOperator | None = None

    def __post_init__(self) -> None:
        check_lam(self.lam)

    @torch.no_grad()
    def evaluate(self, x: Tensor) -> Evaluation:
        """Value and gradient at x (B, C, H, W): grad E = A*(Ax - y) + lam grad R(x).

        Raises:
            LocregError: when x does not fit the regularizer in shape or dtype.
        """
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
        """A*(Ax - y), of the shape of x (B, C, H, W)."""
        return self._residual_and_data_gradient(x)[1]

    def _residual_and_data_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        residual = (x if self.operator is None else self.operator.A(x)) - self.y
        return residual, residual if self.operator is None else self.operator.A_adjoint(residual)

    @property
    def has_prox(self) -> bool:
        """Whether the proximal map of the data term has a closed form.

        It has one for denoising, and for operators with their own ``prox_l2``, such as deepinv's
        masks and circular blurs; deepinv's general ``LinearPhysics.prox_l2`` is iterative.
        """
        if self.operator is None:
            return True
        prox = getattr(type(self.operator), "prox_l2", None)
        deepinv = sys.modules.get("deepinv")  # it is loaded if the operator comes from it
        if prox is None or (deepinv and prox is deepinv.physics.LinearPhysics.prox_l2):
            return False
        return not hasattr(self.operator, "padding") or self.operator.padding == "circular"

    @torch.no_grad()
    def prox(self, x: Tensor, step: Tensor) -> Tensor:
        """argmin_z step/2 |Az - y|^2 + 1/2 |z - x|^2, of the shape of x (B, C, H, W).

        Each image has its own ``step`` (B, 1, 1, 1). For the identity the result is
        (x + step y) / (1 + step). For operators without a closed form it is approximated by at most
        50 steps of conjugate gradients.
        """
        if self.operator is None:
            return (x + step * self.y) / (1 + step)
        if self.has_prox:
            return cast(ProximalOperator, self.operator).prox_l2(x, self.y, step)
        from deepinv.optim.linear import least_squares

        minimiser: Tensor = least_squares(
            self.operator.A, self.operator.A_adjoint, self.y,
            z=x, init=x, gamma=step, solver="CG", max_iter=_MOST_CONJUGATE_GRADIENTS, tol=1e-4,
        )  # fmt: skip
        return minimiser


@dataclass(frozen=True)
class ConditionedObjective:
    """The energies E_s(x) = 1/2 |Ax - y|^2 + lam_s R(x; s), one for each noise level s.

    Attributes:
        y: the observation (B, ...), of the shape of A x, on the [0, 1] scale.
        regularizer: a noise-conditioned R.
        lam: weight of R at the noise level of the observation.
        sigma: noise level of the observation, its standard deviation on the [0, 1] scale.
        operator: A; None is the identity (denoising).
    """

    y: Tensor
    regularizer: ConditionedRegularizer
    lam: float
    sigma: float
    operator: LinearOperator | None = None

    def __post_init__(self) -> None:
        check_lam(self.lam)
        check_sigma(self.sigma)

    def at(self, level: float, lam: float) -> Objective:
        """The energy E_s at noise level s = ``level``, with lam_s = ``lam``.

        Raises:
            UsageError: when lam is negative or not finite, or the noise level is not in [0, 1].
            LocregError: when R does not depend on a noise level.
        """
        return Objective(self.y, self.regularizer.at(level), lam, self.operator)
