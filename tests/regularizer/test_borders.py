"""The mirror at the borders of an image, and its adjoint."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_image
from locreg.regularizer.borders import pad, pad_adjoint
from locreg.regularizer.mirror import mirror_indices

sizes = st.integers(1, 23)


@given(height=sizes, width=sizes, field=st.integers(1, 17))
def test_pad_adjoint_is_the_adjoint_of_pad(height, width, field):
    x = random_image(1, 2, height, width)
    z = random_image(1, 2, height + field - 1, width + field - 1, seed=1)
    left, right = (pad(x, field) * z).sum(), (x * pad_adjoint(z, height, width, field)).sum()
    assert abs(left - right) <= 1e-12 * pad(x, field).norm() * z.norm()


@given(length=st.integers(1, 40), half=st.integers(0, 12))
def test_every_pixel_lies_in_equally_many_windows(length, half):
    field = 2 * half + 1
    source = mirror_indices(length, field)
    windows = np.concatenate([source[start : start + field] for start in range(length)])
    assert (np.bincount(windows, minlength=length) == field).all()


def test_mirror_agrees_with_numpy():
    assert mirror_indices(5, 15).tolist() == np.pad(np.arange(5), 7, "symmetric").tolist()
