"""The interface of a linear operator A, and the check that an operator meets it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from locreg.errors import LocregError


def check_operator(operator: LinearOperator, x: Tensor, y: Tensor) -> None:
    """Check A and A_adjoint on random u like x and v like y: shapes, and <Au, v> = <u, A*v>.

    Raises:
        LocregError: when one of them raises or returns another shape, or the inner products differ.
    """
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    v = torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y.device)
    forward = apply_operator(operator.A, "A", u, y.shape)
    backward = apply_operator(operator.A_adjoint, "A_adjoint", v, x.shape)
    left = float((forward.double() * v.double()).sum())
    right = float((u.double() * backward.double()).sum())
    # The usual size of <Au, v> for independent signs; rounding errors are 1000 times smaller.
    usual = float(forward.double().norm() * v.double().norm()) / math.sqrt(v.numel())
    if not abs(left - right) <= 1e-3 * usual:
        raise LocregError(
            f"A_adjoint is not the adjoint of A: for random u and v, <Au, v> is {left:.6g} and "
            f"<u, A_adjoint(v)> is {right:.6g}."
        )


def apply_operator(
    function: Callable[[Tensor], Tensor],
    name: str,
    argument: Tensor,
    shape: torch.Size | None = None,
) -> Tensor:
    """Call one of an operator's functions and check the shape of its result.

    Args:
        function: the operator's method.
        name: what messages call it, such as ``A_adjoint``.
        argument: its argument.
        shape: the shape that the result must have; None: any.

    Raises:
        LocregError: when the function raises, or its result is not a tensor of this shape.
    """
    try:
        result = function(argument)
    except Exception as error:  # a user's operator may raise anything
        raise LocregError(
            f"The operator's {name} failed on a tensor of shape {tuple(argument.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if shape is not None and (not isinstance(result, Tensor) or result.shape != shape):
        returned = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise LocregError(
            f"The operator's {name} must turn the shape {tuple(argument.shape)} into "
            f"{tuple(shape)}, but gives {returned}."
        )
    return result


class LinearOperator(Protocol):
    """A linear degradation operator and its adjoint, as in ``deepinv.physics.LinearPhysics``."""

    def A(self, x: Tensor) -> Tensor:
        """A x: what would be observed of the image x without noise."""

    def A_adjoint(self, y: Tensor) -> Tensor:
        """A* y, where <Ax, y> = <x, A*y> for all x and y."""


class ProximalOperator(LinearOperator, Protocol):
    """An operator with the proximal map of its data term, as deepinv's operators have it."""

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
        """argmin_x gamma/2 |Ax - y|^2 + 1/2 |x - z|^2."""
