"""The noise of a folder of photographs, learned from clean and noisy images of other scenes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from locreg.degradation.noise import LEAST_NOISE
from locreg.errors import LocregError
from locreg.images.samples import brightest, hint_at_unused_range

_SIDE = 48  # side of the patches that noise is measured in, in pixels
_STEP = 24  # distance between neighbouring patches, in pixels
_LEAST_SIDE = 3 * _SIDE  # of an image, in pixels: a patch and its neighbours on both sides
_SMOOTHEST = 0.02  # share of an image's patches that are candidates, its smoothest
_FEWEST_OF_IMAGE = 8  # candidates per image, even if this is a larger share
_SMOOTH_IMAGES = 0.2  # share of the candidates that are kept: not every image has smooth places
_FEWEST = 16  # patches that are kept at least: 4 x 4 of a single image
_LEAST_SIDE_ALONE = _LEAST_SIDE + 3 * _STEP  # of a single image, in pixels
_MOST_SHORTFALL = 0.5  # share of a spectrum that may be negative because of measurement errors
_MOST_CUT = 0.05  # share of a patch's values that may be clipped to 0 or 1
_BRIGHTNESSES = 5  # groups of patches by brightness
_LEAST_RANGE = 0.1  # range of brightness that is needed to measure a slope
_LEAST_VARIANCE = 0.05  # least variance at any brightness, as a share of that in middle grey
_STEEPEST = 1.9  # slope at which black, or white, has this least variance
_STEPS_OF_TORUS = 128  # a torus has a multiple of this side; at least twice that of a patch


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Gaussian noise n(z) = g(x(z)) m(z) at the pixels z of an image x, with m stationary.

        E m_c(z) m_d(z + lag) = covariance[c, d, lag],    g(x)^2 = 1 + slope (x - 1/2)

    Attributes:
        covariance: (C, C, 2 reach + 1, 2 reach + 1), lag 0 in the middle; longer
            lags have covariance 0.
        slope: how much the variance grows with brightness; 0: not at all.
        clipped: whether noisy values are clipped to [0, 1], as in files of 8 or 16 bits.
    """

    covariance: Tensor
    slope: float
    clipped: bool

    @property
    def reach(self) -> int:
        """The longest lag, in pixels."""
        return self.covariance.shape[-1] // 2

    @cached_property
    def level(self) -> float:
        """Standard deviation in middle grey: the root of the mean variance of the channels."""
        variances = self.covariance[:, :, self.reach, self.reach].diagonal()
        return float(variances.mean().clamp_min(0).sqrt())

    def degrade(self, x: Tensor, seed: int, strength: Tensor | float = 1.0) -> Tensor:
        """x + strength n: images with noise of this model.

        Args:
            x: images (B, C, H, W), on the [0, 1] scale.
            seed: of the noise.
            strength: factor of the noise, a number or (B, 1, 1, 1).
        """
        variance = (1 + self.slope * (x - 0.5)).clamp_min(_LEAST_VARIANCE)
        degraded = x + strength * variance.sqrt() * self._stationary(x, seed)
        return torch.clamp(degraded, 0, 1) if self.clipped else degraded

    def _stationary(self, x: Tensor, seed: int) -> Tensor:
        """m, of the shape of x: white noise on a larger torus, filtered to the spectrum of m."""
        height, width = (_torus(length + self.reach) for length in x.shape[-2:])
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn((*x.shape[:2], height, width), generator=generator, dtype=x.dtype)
        transform = torch.fft.rfft2(white.to(x.device))
        root = _root_of_spectrum(self, height, width).to(transform)
        spectrum = torch.einsum("cdhw,bdhw->bchw", root, transform)
        noise: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
        return noise[:, :, : x.shape[-2], : x.shape[-1]]


def _torus(length: int) -> int:
    """The side of a torus for this length; few sides, so that images of many sizes share one."""
    return -(-length // _STEPS_OF_TORUS) * _STEPS_OF_TORUS


@lru_cache(maxsize=8)
def _root_of_spectrum(model: NoiseModel, height: int, width: int) -> Tensor:
    """Roots of the spectrum's matrices (C, C, H, W // 2 + 1); negative eigenvalues count as 0."""
    values, vectors = _spectrum(model, height, width)
    roots: Tensor = vectors * values.clamp_min(0).sqrt()[..., None, :] @ vectors.mH
    return roots.permute(2, 3, 0, 1)


def _spectrum(model: NoiseModel, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (H, W // 2 + 1, C) and eigenvectors of the spectrum's matrices."""
    reach = model.reach
    padding = (0, width - 2 * reach - 1, 0, height - 2 * reach - 1)
    covariance = torch.nn.functional.pad(model.covariance.double(), padding)
    covariance = covariance.roll((-reach, -reach), (2, 3))
    # E M_c conj(M_d) is the transform of E m_c(z) m_d(z - lag).
    spectrum = torch.fft.rfft2(covariance).conj().permute(2, 3, 0, 1)
    values, vectors = torch.linalg.eigh(spectrum)
    return values, vectors


def learn_noise(clean: Sequence[Tensor], noisy: Sequence[Tensor], *, seed: int = 0) -> NoiseModel:
    """Learn the noise that makes smooth places of clean images look like those of noisy ones.

    The covariance, and the variance at each brightness, are measured in the smoothest patches. Two
    errors distort them: what remains of the scene, and the choice of patches by their smoothness.
    The same measurement on clean images with simulated noise shows both errors, which are then
    subtracted (the method of simulated moments, McFadden 1989).

    Args:
        clean: images (1, C, H, W), on the [0, 1] scale.
        noisy: images of other scenes, all with noise of the same strength.
        seed: of the simulated noise.

    Raises:
        LocregError: when there are too few smooth patches, or hardly any noise.
    """
    clipped = all(bool(((x >= 0) & (x <= 1)).all()) for x in noisy)
    measured = _moments(noisy, len(noisy), "noisy", clipped)
    first = NoiseModel(measured.covariance, measured.slope, clipped)
    copies = (first.degrade(x, seed + index) for index, x in enumerate(clean))
    simulated = _moments(copies, len(clean), "clean", clipped)
    slope = float(np.clip(2 * measured.slope - simulated.slope, -_STEEPEST, _STEEPEST))
    model = NoiseModel(2 * measured.covariance - simulated.covariance, slope, clipped)
    values, _ = _spectrum(model, _STEPS_OF_TORUS, _STEPS_OF_TORUS)
    shortfall = values.clamp_max(0).sum() / values.clamp_min(0).sum()
    if model.level < LEAST_NOISE or shortfall < -_MOST_SHORTFALL:
        hint = hint_at_unused_range(max(brightest(x.numpy()) for x in noisy))
        raise LocregError(
            "In smooth places the degraded images are nearly as clean as the clean ones: their "
            "damage is no noise, or is too weak. Let a critic learn how strong it is (locreg "
            "restore --damage any)." + (f" Or: {hint}" if hint else "")
        )
    return model


@dataclass(frozen=True)
class _Moments:
    """Covariance and slope of the smoothest patches, as in `NoiseModel`."""

    covariance: Tensor
    slope: float


def _moments(images: Iterable[Tensor], number: int, kind: str, clipped: bool) -> _Moments:
    """The moments of so many images; ``kind`` is what a message calls them."""
    least = max(_FEWEST_OF_IMAGE, math.ceil(_FEWEST / max(number, 1)))
    chosen = [_smoothest_patches(x, least, clipped) for x in images]
    count = sum(len(patches) for patches, _ in chosen)
    if count < _FEWEST:
        raise LocregError(
            f"The {kind} images are too few or too small to learn noise from: they hold {count} "
            f"smooth patches of {_SIDE} pixels, away from their borders and not over- or "
            f"underexposed, and {_FEWEST} are needed. Give more images, of at least "
            f"{_LEAST_SIDE} pixels in width and height (a single one: {_LEAST_SIDE_ALONE})."
        )
    patches, roughness = (torch.cat(parts) for parts in zip(*chosen, strict=True))
    means = patches.mean((1, 2, 3))
    # Choose within each group; otherwise all would have the brightness with the least noise.
    share = max(_SMOOTH_IMAGES, _FEWEST / count)
    groups = means.argsort().chunk(_BRIGHTNESSES)
    kept = torch.cat([g[roughness[g].argsort()[: math.ceil(share * len(g))]] for g in groups])
    patches, means = patches[kept], means[kept]
    centred = _without_trend(patches)
    slope = _slope(means, centred.square().mean((1, 2, 3)))
    variances = (1 + slope * (means - 0.5)).clamp_min(_LEAST_VARIANCE)
    return _Moments(_covariance(centred / variances.sqrt().view(-1, 1, 1, 1)), slope)


def _smoothest_patches(x: Tensor, least: int, clipped: bool) -> tuple[Tensor, Tensor]:
    """The smoothest patches (N, C, side, side) of an image, and their roughness (N,).

    N is at least ``least`` if the image has so many. A patch is as rough as the roughest of itself
    and its four neighbours; otherwise patches would be chosen that happen to have less noise.
    Clipping reduces noise, so patches with many clipped values are left out.
    """
    apart = _SIDE // _STEP
    inner = slice(apart, -apart)
    if min(x.shape[2:]) < _LEAST_SIDE:
        return x.new_empty((0, x.shape[1], _SIDE, _SIDE)), x.new_empty(0)
    patches = x[0].unfold(1, _SIDE, _STEP).unfold(2, _SIDE, _STEP).permute(1, 2, 0, 3, 4)
    spread = _without_trend(patches).square().mean((2, 3, 4))
    near = [spread[: -2 * apart, inner], spread[2 * apart :, inner], spread[inner, inner],
            spread[inner, : -2 * apart], spread[inner, 2 * apart :]]  # fmt: skip
    roughness = torch.stack(near).amax(0)
    if clipped:
        cut = ((patches <= 0) | (patches >= 1)).float().mean((2, 3, 4))[inner, inner]
        roughness = torch.where(cut > _MOST_CUT, torch.inf, roughness)
    count = max(round(_SMOOTHEST * roughness.numel()), least)
    values, order = roughness.flatten().sort()
    order = order[:count][values[:count].isfinite()]
    rows, columns = order // roughness.shape[1], order % roughness.shape[1]
    return patches[rows + apart, columns + apart], roughness[rows, columns]


def _without_trend(patches: Tensor) -> Tensor:
    """Patches (..., side, side) minus a quadratic fit, since skies and walls are shaded."""
    line = torch.linspace(-1, 1, _SIDE, dtype=patches.dtype)
    rows, columns = line[:, None].expand(_SIDE, _SIDE), line.expand(_SIDE, _SIDE)
    terms = [torch.ones_like(rows), rows, columns, rows * columns, rows**2, columns**2]
    basis, _ = torch.linalg.qr(torch.stack(terms, -1).flatten(0, 1))
    flat = patches.flatten(-2)
    rest: Tensor = flat - flat @ basis @ basis.T
    return rest.view(patches.shape)


def _slope(means: Tensor, variances: Tensor) -> float:
    """Slope of the line through the groups' median variances, relative to its value in middle grey.

    It is 0 if the brightnesses are too similar to measure it, or if it is below 2 standard errors.
    """
    groups = means.argsort().chunk(_BRIGHTNESSES)
    points = np.array([(means[g].mean().item(), variances[g].median().item()) for g in groups])
    brightness = points[:, 0] - 0.5
    if np.ptp(brightness) < _LEAST_RANGE:
        return 0.0
    (rise, middle), errors = np.polyfit(brightness, points[:, 1], 1, cov=True)
    if abs(rise) < 2 * errors[0, 0] ** 0.5:
        return 0.0
    return float(np.clip(rise / max(middle, 1e-12), -_STEEPEST, _STEEPEST))


def _covariance(patches: Tensor) -> Tensor:
    """Mean products (C, C, lag, lag) over patches (N, C, side, side), which count as 0 outside.

    This underestimates the covariance at long lags; in return, the spectrum has no negative
    eigenvalues.
    """
    size = 2 * _SIDE
    total = patches.new_zeros((patches.shape[1], patches.shape[1], size, size))
    for part in torch.split(patches, 256):
        spectrum = torch.fft.fft2(part, s=(size, size))
        products = torch.einsum("bchw,bdhw->cdhw", spectrum.conj(), spectrum)
        total += torch.fft.ifft2(products).real
    lags = torch.arange(1 - _SIDE, _SIDE)
    return total[:, :, lags[:, None], lags] / (_SIDE**2 * len(patches))
