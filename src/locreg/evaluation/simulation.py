"""Test problems: a clean image, a simulated observation of it, and how locreg restores it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from locreg.degradation.deepinv_operators import blur_circular, downsampling, inpainting
from locreg.degradation.noise import add_noise
from locreg.degradation.operators import LinearOperator
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.options import LamRule, RestoreOptions
from locreg.restoration.restore import restore
from locreg.restoration.result import Restoration
from locreg.restoration.tasks import deblur, filled, inpaint, upscale

Lam = float | LamRule | None
_CPU = torch.device("cpu")
_BENCHMARK_ANTIALIASING = 0.5  # standard deviation of the Gaussian, in pixels of the small image


@dataclass(frozen=True)
class Photograph:
    """A clean image (1, C, H, W) in [0, 1], and the name that seeds its noise."""

    clean: Tensor
    name: str


@dataclass(frozen=True)
class Problem:
    """An observation y = A x + noise of a known image x.

    Attributes:
        clean: x, (1, C, H, W) in [0, 1].
        operator: A; None: the identity.
        y: the observation, not clipped.
        sigma: standard deviation of the noise.
        start: an image of the size of x, made from y, that solvers start from.
        restore: restores y by locreg, given a regularizer and lam (None: calibrated). It knows A
            and sigma, but not x.
        kernel: kernel of a circular blur; None: there is no blur.
    """

    clean: Tensor
    operator: LinearOperator | None
    y: Tensor
    sigma: float
    start: Tensor
    restore: Callable[[LocalRegularizer, Lam], Restoration]
    kernel: NDArray[np.float32] | None = None


def observe(photograph: Photograph, operator: LinearOperator | None, sigma: float) -> Tensor:
    """A x plus noise whose seed depends only on the photograph's name and the noise level."""
    exact = photograph.clean if operator is None else operator.A(photograph.clean)
    return add_noise(exact, sigma, seed_of(photograph.name, sigma))


def denoising(photograph: Photograph, sigma: float) -> Problem:
    """A problem with white Gaussian noise alone."""
    y = observe(photograph, None, sigma)
    return Problem(
        photograph.clean, None, y, sigma, y,
        lambda regularizer, lam: restore(
            y, regularizer, options=_options(regularizer, sigma, lam)
        ),
    )  # fmt: skip


def deblurring(photograph: Photograph, sigma: float, kernel: NDArray[np.float32]) -> Problem:
    """A problem with a circular blur by a known kernel."""
    operator = blur_circular(kernel, _shape(photograph.clean), _CPU)
    y = observe(photograph, operator, sigma)

    def invert(regularizer: LocalRegularizer, lam: Lam) -> Restoration:
        return deblur(y, regularizer, kernel, _options(regularizer, sigma, lam), border="circular")

    return Problem(photograph.clean, operator, y, sigma, y, invert, kernel)


def inpainting_at_random(photograph: Photograph, sigma: float, missing: float) -> Problem:
    """A problem with a share of the pixels missing, at random places seeded by the photograph."""
    generator = torch.Generator().manual_seed(seed_of(photograph.name))
    known = torch.rand(photograph.clean.shape[-2:], generator=generator) < 1 - missing
    operator = inpainting(known, _shape(photograph.clean), _CPU)
    y = observe(photograph, operator, sigma) * known

    def invert(regularizer: LocalRegularizer, lam: Lam) -> Restoration:
        return inpaint(y, regularizer, known, _options(regularizer, sigma, lam))

    return Problem(photograph.clean, operator, y, sigma, filled(y, known), invert)


def upscaling(photograph: Photograph, sigma: float, factor: int) -> Problem:
    """A problem with a small image, downsampled after Gaussian antialiasing.

    Solvers start from its bicubic enlargement. The photograph is cropped to a multiple of the
    factor.
    """
    height, width = (n // factor * factor for n in photograph.clean.shape[-2:])
    photograph = Photograph(photograph.clean[..., :height, :width], photograph.name)
    clean = photograph.clean
    operator = downsampling(factor, _BENCHMARK_ANTIALIASING, _shape(clean), _CPU)
    y = observe(photograph, operator, sigma)
    start = F.interpolate(y, size=clean.shape[-2:], mode="bicubic", align_corners=False)

    def invert(regularizer: LocalRegularizer, lam: Lam) -> Restoration:
        options = _options(regularizer, sigma, lam)
        return upscale(y, regularizer, factor, options, antialiasing=_BENCHMARK_ANTIALIASING)

    return Problem(clean, operator, y, sigma, start, invert)


def tomography(photograph: Photograph, sigma: float, angles: int) -> Problem:
    """A problem of parallel-beam tomography, with an operator of norm 1.

    Solvers start from the pseudoinverse of the observation.
    """
    from deepinv.physics import Tomography

    operator = Tomography(angles=angles, img_width=photograph.clean.shape[-1], normalize=True)
    y = observe(photograph, operator, sigma)
    start = operator.A_dagger(y)

    def invert(regularizer: LocalRegularizer, lam: Lam) -> Restoration:
        return restore(y, regularizer, operator, _options(regularizer, sigma, lam), start=start)

    return Problem(photograph.clean, operator, y, sigma, start, invert)


def _options(regularizer: LocalRegularizer, sigma: float, lam: Lam) -> RestoreOptions:
    """Options with this sigma, or "auto" for weights whose lam does not depend on sigma."""
    calibration = regularizer.calibration
    fixed = calibration is not None and not calibration.depends_on_sigma
    return RestoreOptions(sigma="auto" if fixed else sigma, lam=lam)


def _shape(images: Tensor) -> tuple[int, int, int]:
    channels, height, width = images.shape[1:]
    return channels, height, width


def seed_of(name: str, *settings: object) -> int:
    """A seed that depends only on the file's name and the settings, equal for all methods."""
    return zlib.crc32(" ".join([name, *(f"{s:g}" for s in settings)]).encode())
