"""The check that a linear operator and its adjoint fit each other."""

from dataclasses import dataclass

import deepinv
import pytest
import torch

from conftest import Scaling, random_image
from locreg.degradation.operators import apply_operator, check_operator
from locreg.errors import LocregError


@dataclass
class Custom:
    """An operator of the user's, made of two functions."""

    A: object
    A_adjoint: object


def flipped(x):
    return x.flip(-1) * torch.arange(x.shape[-1])


def broken(_):
    raise RuntimeError("no detector")


@pytest.mark.parametrize(
    ("A", "A_adjoint", "says"),
    [
        (flipped, flipped, r"not the adjoint of A: for random u and v, <Au, v> is .* and .* is "),
        (lambda x: 2 * x, lambda y: y, "not the adjoint"),
        (broken, lambda y: y, "A failed on a tensor of shape.*RuntimeError: no detector"),
        (lambda x: x, broken, "A_adjoint failed.*no detector"),
        (lambda x: x[..., 1:], lambda y: y, r"A must turn the shape \(1, 1, 16, 16\) into"),
        (lambda x: x.numpy(), lambda y: y, "but gives ndarray"),
        (lambda x: torch.full_like(x, torch.nan), lambda y: y, "not the adjoint"),
    ],
)
def test_an_operator_that_cannot_work_is_refused(A, A_adjoint, says):
    y = random_image(1, 1, 16, 16, dtype=torch.float32)
    with pytest.raises(LocregError, match=says):
        check_operator(Custom(A, A_adjoint), y, y)


def test_the_transpose_of_a_kernel_is_needed_not_the_kernel():
    """An asymmetric blur is not its own adjoint; positive images would hardly show it."""
    weights = torch.tensor([[[[0.0, 0.0, 0.0], [0.7, 0.2, 0.1], [0.0, 0.0, 0.0]]]])
    blur = deepinv.physics.Blur(filter=weights, padding="circular")
    x = random_image(1, 1, 40, 40, dtype=torch.float32)
    check_operator(blur, x, x)
    with pytest.raises(LocregError, match="not the adjoint"):
        check_operator(Custom(blur.A, blur.A), x, x)


def test_an_operator_may_change_the_shape():
    """A sums over rows, and A* repeats a row."""
    x = random_image(2, 3, 5, 4)
    sums = Custom(lambda x: x.sum(2), lambda y: y[:, :, None].expand(2, 3, 5, 4))
    check_operator(sums, x, sums.A(x))
    check_operator(Scaling(0.3), x, x)


def test_an_operator_is_applied_to_what_it_is_given():
    x = random_image(1, 1, 3, 3)
    assert torch.equal(apply_operator(Scaling(2.0).A, "A", x), 2 * x)
    with pytest.raises(LocregError, match=r"A must turn the shape \(1, 1, 3, 3\) into \(9,\)"):
        apply_operator(Scaling(2.0).A, "A", x, torch.Size([9]))
