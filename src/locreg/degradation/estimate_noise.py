"""The noise level of an image, estimated from the image alone."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from locreg.errors import LocregError

_PATCH = 8  # side of the patches whose covariance is computed, in pixels
_BLOCK = 16  # side of the blocks whose smoothest give the noise level, in pixels
_MOST_CLIPPED = 0.1  # share of clipped values from which a patch is left out
_FAR_AWAY = 4.0  # ranges of its neighbours by which a hot pixel is away from them
_LEAST_DISTANCE = 0.02  # and more than this, on the [0, 1] scale
_FEWEST_DIFFERENCES = 24  # a block with fewer known differences is ignored
_MOST_PATCHES = 100_000  # a larger image is sampled in steps of 2, 3, ... pixels


def estimate_sigma(x: Tensor, known: Tensor | None = None) -> float:
    """Standard deviation of the white noise in an image (1, C, H, W), on the [0, 1] scale.

    The smallest eigenvalues of the covariance of 8x8 patches contain noise only. The largest
    eigenvalue is dropped until the mean of the rest is no larger than their median: then none
    stands out as signal. Patches without noise of their own are left out: constant ones, such as
    letterbox bars, clipped ones, and those with a hot or dead pixel. If the channels are linearly
    dependent, as in a grey image stored as colour, some eigenvalues are 0 whatever the noise; then
    each channel is measured on its own, and the variances are averaged.

    Chen, Zhu, Heng, *An efficient statistical method for image noise level estimation*, ICCV 2015.

    Args:
        x: the image; missing pixels may have any finite value.
        known: (H, W), True where a pixel is known; by default everywhere. If too few patches are
            known, the level is that of `estimate_sigma_of_known`.

    Raises:
        LocregError: when the image is too small to hold 2 patches per eigenvalue, or too few
            neighbours are known.
    """
    positions = (x.shape[2] - _PATCH + 1) * (x.shape[3] - _PATCH + 1)
    if min(x.shape[2:]) < _PATCH or positions < 2 * x.shape[1] * _PATCH**2:
        if known is not None:
            return estimate_sigma_of_known(x, known)
        raise LocregError(
            f"An image of {x.shape[3]}x{x.shape[2]} pixels is too small to estimate its noise "
            "level: give sigma."
        )
    apart = math.ceil(math.sqrt(positions / _MOST_PATCHES))
    patches, spoilt = _patches(x[0], apart), _patches(_isolated(x[0]), apart)[0].any(1)
    if known is not None:
        whole = _patches(known[None], apart)[0].all(1)
        if whole.sum() < 2 * x.shape[1] * _PATCH**2:
            return estimate_sigma_of_known(x, known)
        patches, spoilt = patches[:, whole], spoilt[whole]
    patches = _with_noise(patches, spoilt)
    if patches.shape[1] < 2 * patches.shape[0] * patches.shape[2]:
        return 0.0
    joint = _covariance_eigenvalues(patches.permute(1, 0, 2).flatten(1))
    if joint[0] > 1e-12 * joint[-1]:
        return math.sqrt(_noise_variance(joint))
    return math.sqrt(np.mean([_noise_variance(_covariance_eigenvalues(c)) for c in patches]))


def estimate_sigma_of_known(x: Tensor, known: Tensor) -> float:
    """Standard deviation of the white noise in an image (1, C, H, W) with missing pixels.

    It is measured on second differences of three known neighbours, along rows and columns. Where
    the image is smooth, their root mean square over a block of 16x16 pixels is that of the noise;
    the 20% quantile of the blocks' variances is taken as the noise variance. This is less exact
    than `estimate_sigma`.

    Args:
        x: the image, on the [0, 1] scale; missing pixels may have any finite value.
        known: (H, W), True where a pixel is known.

    Raises:
        LocregError: when there are too few known neighbours.
    """
    squares, counts = torch.zeros_like(x[0]), torch.zeros_like(x[0, 0])
    for axis in (-2, -1):
        if x.shape[axis] < 3:
            continue
        windows = x[0].unfold(axis, 3, 1)  # (C, ..., 3): each pixel with its two neighbours
        usable = known.unfold(axis, 3, 1).all(-1)
        second = windows[..., 0] - 2 * windows[..., 1] + windows[..., 2]
        length = second.shape[axis]
        squares.narrow(axis, 1, length).add_(usable * second.square() / 6)  # 6 = 1 + 4 + 1
        counts.narrow(axis, 1, length).add_(usable)
    block = partial(F.avg_pool2d, kernel_size=_BLOCK, ceil_mode=True)
    counts = block(counts[None])[0]
    enough = counts * _BLOCK**2 >= _FEWEST_DIFFERENCES
    if not enough.any():
        raise LocregError("Too few neighbouring pixels are known to estimate sigma: give it.")
    variances = block(squares)[:, enough] / counts[enough]
    return math.sqrt(float(variances.double().quantile(0.2, dim=1).mean()))


def _patches(x: Tensor, apart: int) -> Tensor:
    """The 8x8 patches of x (C, H, W), ``apart`` pixels from each other: (C, N, 64)."""
    return x.unfold(1, _PATCH, apart).unfold(2, _PATCH, apart).flatten(3).flatten(1, 2)


def _isolated(x: Tensor) -> Tensor:
    """(1, H, W), True at pixels of x (C, H, W) that stand out from all eight neighbours.

    They do if they are away from them by more than `_FAR_AWAY` times the neighbours' range, which
    noise never is.
    """
    highest, lowest = torch.full_like(x, -math.inf), torch.full_like(x, math.inf)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            if row or column:
                here, there = _overlap(x, row, column)
                torch.maximum(highest[here], x[there], out=highest[here])
                torch.minimum(lowest[here], x[there], out=lowest[here])
    distance = torch.maximum(x - highest, lowest - x)
    return (distance > _FAR_AWAY * (highest - lowest) + _LEAST_DISTANCE).any(0, keepdim=True)


def _overlap(x: Tensor, row: int, column: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where x (C, H, W) has a pixel that lies a row and a column further, and where that one is."""
    here, there = [slice(None)], [slice(None)]
    for step, length in zip((row, column), x.shape[1:], strict=True):
        here.append(slice(max(-step, 0), length - max(step, 0)))
        there.append(slice(max(step, 0), length - max(-step, 0)))
    return tuple(here), tuple(there)


def _with_noise(patches: Tensor, spoilt: Tensor) -> Tensor:
    """Those of the patches (C, N, 64) that are not constant, clipped for a tenth or spoilt (N,)."""
    constant = (patches.amax(2) == patches.amin(2)).all(0)
    clipped = ((patches == 0) | (patches == 1)).float().mean((0, 2)) > _MOST_CLIPPED
    kept = ~constant & ~clipped & ~spoilt
    # Where all is clipped, as with noise that is stronger than the image, the rest is too special.
    if kept.sum() < 2 * patches.shape[0] * patches.shape[2]:
        kept = ~constant
    return patches[:, kept]


def _covariance_eigenvalues(samples: Tensor) -> NDArray[np.float64]:
    """Ascending eigenvalues of the covariance of samples (count, dimension)."""
    eigenvalues: Tensor = torch.linalg.eigvalsh(torch.cov(samples.double().T))
    return np.asarray(eigenvalues.clamp_min(0).cpu())


def _noise_variance(eigenvalues: NDArray[np.float64]) -> float:
    """The mean of the smallest eigenvalues, after dropping the largest until mean <= median."""
    for count in range(len(eigenvalues), 0, -1):
        smallest = eigenvalues[:count]
        if smallest.mean() <= np.median(smallest):
            break
    return float(smallest.mean())
