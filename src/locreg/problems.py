"""Test problems: a clean image, what is observed of it, and the locreg task that restores it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from locreg.measurements import seed_of
from locreg.objective import LinearOperator
from locreg.operators import blur_circular, downsampling, inpainting
from locreg.regularizer import LocalRegularizer
from locreg.restoration import Lam, Restoration, restore
from locreg.tasks import deblur, fill, inpaint, upscale
from locreg.validation import add_noise

_CPU = torch.device("cpu")
_BENCHMARK_ANTIALIASING = 0.5  # standard deviation, in pixels of the small image


@dataclass(frozen=True)
class Photograph:
    """A clean image (1, C, H, W) in [0, 1], and the name that its noise is drawn from."""

    clean: Tensor
    name: str


@dataclass(frozen=True)
class Problem:
    """An observation y = A x + noise of a known image x.

    Attributes:
        clean: x (1, C, H, W).
        operator: A; None is the identity.
        y: the observation, its noise not clipped.
        sigma: standard deviation of the noise.
        start: the observation as an image of the size of x: where solvers start.
        restore: from a regularizer and lam (None: calibrated) to what locreg restores, told A and
            sigma but not x.
        kernel: of a circular blur.
    """

    clean: Tensor
    operator: LinearOperator | None
    y: Tensor
    sigma: float
    start: Tensor
    restore: Callable[[LocalRegularizer, Lam], Restoration]
    kernel: NDArray[np.float32] | None = None


def observe(photograph: Photograph, operator: LinearOperator | None, sigma: float) -> Tensor:
    """A x plus noise from a seed that depends on name and level alone."""
    exact = photograph.clean if operator is None else operator.A(photograph.clean)
    return add_noise(exact, sigma, seed_of(photograph.name, sigma))


def denoising(photograph: Photograph, sigma: float) -> Problem:
    """White Gaussian noise alone."""
    y = observe(photograph, None, sigma)
    return Problem(
        photograph.clean, None, y, sigma, y,
        lambda regularizer, lam: restore(y, regularizer, sigma=_told(regularizer, sigma), lam=lam),
    )  # fmt: skip


def deblurring(photograph: Photograph, sigma: float, kernel: NDArray[np.float32]) -> Problem:
    """Circular blur with a known kernel."""
    operator = blur_circular(kernel, _shape(photograph.clean), _CPU)
    y = observe(photograph, operator, sigma)

    def invert(regularizer: LocalRegularizer, lam: Lam) -> Restoration:
        return deblur(
            y, regularizer, kernel, border="circular", sigma=_told(regularizer, sigma), lam=lam
        )

    return Problem(photograph.clean, operator, y, sigma, y, invert, kernel)


def inpainting_at_random(photograph: Photograph, sigma: float, missing: float) -> Problem:
    """A share of the pixels missing, drawn at random from the photograph's name."""
    generator = torch.Generator().manual_seed(seed_of(photograph.name))
    known = torch.rand(photograph.clean.shape[-2:], generator=generator) < 1 - missing
    operator = inpainting(known, _shape(photograph.clean), _CPU)
    y = observe(photograph, operator, sigma) * known

    def invert(regularizer: LocalRegularizer, lam: Lam) -> Restoration:
        return inpaint(y, regularizer, known, sigma=_told(regularizer, sigma), lam=lam)

    return Problem(photograph.clean, operator, y, sigma, fill(y, known), invert)


def upscaling(photograph: Photograph, sigma: float, factor: int) -> Problem:
    """A small image, after Gaussian antialiasing; starts at its bicubic enlargement.

    Rows and columns beyond a multiple of the factor are cut off.
    """
    height, width = (n // factor * factor for n in photograph.clean.shape[-2:])
    photograph = Photograph(photograph.clean[..., :height, :width], photograph.name)
    clean = photograph.clean
    operator = downsampling(factor, _BENCHMARK_ANTIALIASING, _shape(clean), _CPU)
    y = observe(photograph, operator, sigma)
    start = F.interpolate(y, size=clean.shape[-2:], mode="bicubic", align_corners=False)

    def invert(regularizer: LocalRegularizer, lam: Lam) -> Restoration:
        sigma_told = _told(regularizer, sigma)
        return upscale(
            y, regularizer, factor, antialiasing=_BENCHMARK_ANTIALIASING, sigma=sigma_told, lam=lam
        )

    return Problem(clean, operator, y, sigma, start, invert)


def tomography(photograph: Photograph, sigma: float, angles: int) -> Problem:
    """Parallel beams, the operator of norm 1; starts at the pseudoinverse."""
    from deepinv.physics import Tomography

    operator = Tomography(angles=angles, img_width=photograph.clean.shape[-1], normalize=True)
    y = observe(photograph, operator, sigma)
    start = operator.A_dagger(y)

    def invert(regularizer: LocalRegularizer, lam: Lam) -> Restoration:
        return restore(
            y, regularizer, operator, sigma=_told(regularizer, sigma), lam=lam, start=start
        )

    return Problem(photograph.clean, operator, y, sigma, start, invert)


def _told(regularizer: LocalRegularizer, sigma: float) -> float | None:
    """The noise level, unless the weights have one lam for a degradation known by examples."""
    calibration = regularizer.calibration
    return None if calibration is not None and not calibration.depends_on_sigma else sigma


def _shape(images: Tensor) -> tuple[int, int, int]:
    channels, height, width = images.shape[1:]
    return channels, height, width
