"""Searches for the best value of one parameter, such as lam."""

from __future__ import annotations

import math
from collections.abc import Callable


def best_lam(
    quality: Callable[[float], float], first: float, *, ratio: float = 1.25, reach: int = 16
) -> tuple[float, float]:
    """The lam of highest quality, and its quality, by a climb on a geometric grid from ``first``.

    The maximum is refined by the parabola through the best grid point and its two neighbours; the
    quality returned is that of the parabola. The climb ends at ``first * ratio**(+-reach)``, since
    the quality may rise for ever with an untrained critic.

    Args:
        quality: a function of lam, such as a PSNR.
        first: where the search begins, above 0.
        ratio: ratio of neighbouring grid points, above 1.
        reach: largest number of grid points on each side of ``first``.
    """
    known: dict[int, float] = {}

    def at(step: int) -> float:
        if step not in known:
            known[step] = quality(first * ratio**step)
        return known[step]

    top = 0
    while abs(top) < reach:
        best = max((top, top - 1, top + 1), key=at)
        if best == top:
            break
        top = best
    left, middle, right = at(top - 1), at(top), at(top + 1)
    curvature = left - 2 * middle + right
    if abs(top) == reach or curvature >= 0:
        return first * ratio**top, middle
    shift = 0.5 * (left - right) / curvature
    return first * ratio ** (top + shift), middle - 0.25 * (left - right) * shift


def growing_root(
    excess: Callable[[float], float], first: float, *, refinements: int = 3, reach: int = 12
) -> float | None:
    """The lam at which ``excess``, which grows with lam, changes sign.

    From ``first`` on, lam is doubled or halved until the sign changes; then the interval is
    bisected. The result is None if the sign does not change within ``reach`` steps.

    Args:
        excess: an increasing function of lam.
        first: where the search begins, above 0.
        refinements: number of bisections; k of them determine lam to a factor of 2^(2^-k).
        reach: largest number of doublings or halvings.
    """
    lam, above = first, excess(first) > 0
    for _ in range(reach):
        following = lam / 2 if above else lam * 2
        if (excess(following) > 0) != above:
            break
        lam = following
    else:
        return None
    low, high = sorted((lam, following))
    middle = following
    for _ in range(refinements):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) <= 0 else (low, middle)
    return middle
