"""The searches for a root and for the best lam."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locreg.solvers.search import best_lam, growing_root


@given(root=st.floats(1e-3, 1e3), first=st.floats(0.1, 10))
def test_the_root_of_a_growing_function_is_found(root, first):
    found = growing_root(lambda lam: math.log(lam) - math.log(root), first, refinements=6)
    if 2**-11.9 < root / first < 2**11.9:
        assert found is not None
    if found is not None:
        assert abs(math.log2(found / root)) <= 2**-6 + 1e-9
    assert growing_root(lambda _: -1.0, first) is None


def test_a_root_out_of_reach_is_not_found():
    assert growing_root(lambda lam: lam - 100, 1.0, reach=6) is None
    assert growing_root(lambda lam: lam - 100, 1.0, reach=7) == pytest.approx(100, rel=0.1)
    assert growing_root(lambda _: 1.0, 1.0) is None


@given(best=st.floats(1e-1, 10), first=st.floats(0.5, 2))
def test_the_summit_of_a_parabola_is_found_exactly(best, first):
    """The quality is a parabola in log lam, as near any smooth summit."""
    lam, quality = best_lam(lambda lam: 30 - math.log(lam / best) ** 2, first)
    assert lam == pytest.approx(best, rel=1e-6)
    assert quality == pytest.approx(30)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_climb_ends_where_the_quality_rises_for_ever(sign):
    lam, quality = best_lam(lambda lam: sign * math.log(lam), 0.1, ratio=2, reach=5)
    assert lam == pytest.approx(0.1 * 2.0 ** (5 * sign))
    assert quality == pytest.approx(sign * math.log(lam))


def test_no_lam_is_tried_twice():
    tried = []

    def quality(lam):
        tried.append(lam)
        return -abs(math.log(lam / 3))

    best_lam(quality, 1.0)
    assert len(tried) == len(set(tried))
