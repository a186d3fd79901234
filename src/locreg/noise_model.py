"""Noise as it is in a folder of photographs, learned from clean and noisy ones of other scenes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from locreg.errors import LocregError
from locreg.images import hint_at_unused_range
from locreg.options import LEAST_NOISE

_SIDE = 48  # of the patches that noise is looked for in, in pixels
_STEP = 24  # between them
_LEAST_SIDE = 3 * _SIDE  # of an image: a patch and its neighbours on both sides
_SMOOTHEST = 0.02  # share of an image's patches that are looked at
_FEWEST_OF_IMAGE = 8  # of them, even where this is a larger share
_SMOOTH_IMAGES = 0.2  # share of these that are taken: not every image has smooth places
_FEWEST = 16  # of them in all: a single image needs four by four
_LEAST_SIDE_ALONE = _LEAST_SIDE + 3 * _STEP
_MOST_SHORTFALL = 0.5  # share of a spectrum that may be below 0 by errors of measurement
_MOST_CUT = 0.05  # share of a patch's values that may be cut off at 0 or 1
_BRIGHTNESSES = 5  # groups of patches
_LEAST_RANGE = 0.1  # of brightnesses, from which a slope can be told
_LEAST_VARIANCE = 0.05  # of the variance in middle grey, what is left at least in other places
_STEEPEST = 1.9  # slope with which the darkest places have this least variance
_STEPS_OF_TORUS = 128  # at least twice the side of a patch


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Gaussian noise n(z) = g(x(z)) m(z) of an image x, with m stationary.

        E m_c(z) m_d(z + lag) = covariance[c, d, lag],    g(x)^2 = 1 + slope (x - 1/2)

    Attributes:
        covariance: (C, C, 2 reach + 1, 2 reach + 1), lag 0 in the middle; 0 beyond.
        slope: how the variance grows with brightness; 0 where it does not.
        clipped: whether values end at 0 and 1, as in files of 8 or 16 bits.
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
        """Standard deviation in middle grey, over all channels."""
        variances = self.covariance[:, :, self.reach, self.reach].diagonal()
        return float(variances.mean().clamp_min(0).sqrt())

    def degrade(self, x: Tensor, seed: int, strength: Tensor | float = 1.0) -> Tensor:
        """Images x (B, C, H, W) with noise of this model, times ``strength`` (B, 1, 1, 1)."""
        variance = (1 + self.slope * (x - 0.5)).clamp_min(_LEAST_VARIANCE)
        degraded = x + strength * variance.sqrt() * self._stationary(x, seed)
        return torch.clamp(degraded, 0, 1) if self.clipped else degraded

    def _stationary(self, x: Tensor, seed: int) -> Tensor:
        """m, of the shape of x: white noise on a larger torus that is given the spectrum of m."""
        height, width = (_torus(length + self.reach) for length in x.shape[-2:])
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn((*x.shape[:2], height, width), generator=generator, dtype=x.dtype)
        transform = torch.fft.rfft2(white.to(x.device))
        root = _root_of_spectrum(self, height, width).to(transform)
        spectrum = torch.einsum("cdhw,bdhw->bchw", root, transform)
        noise: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
        return noise[:, :, : x.shape[-2], : x.shape[-1]]


def _torus(length: int) -> int:
    """A common length, so that images of many sizes share a spectrum."""
    return -(-length // _STEPS_OF_TORUS) * _STEPS_OF_TORUS


@lru_cache(maxsize=8)
def _root_of_spectrum(model: NoiseModel, height: int, width: int) -> Tensor:
    """(C, C, H, W // 2 + 1): the roots of the spectrum's matrices, without negative eigenvalues."""
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
    """The noise with which the clean images look, in smooth places, as the noisy ones do.

    The covariance and the variance at each brightness of the smoothest patches are those of the
    noise, but for what is left of the scene, and for the choice of patches. Clean images with such
    noise show how large both errors are; they are taken off (the method of simulated moments,
    McFadden 1989).

    Args:
        clean: images (1, C, H, W).
        noisy: images of other scenes, with noise of the same strength in all of them.
        seed: of the simulated noise.

    Raises:
        LocregError: when there are too few patches, or no noise is found.
    """
    clipped = all(bool(((x >= 0) & (x <= 1)).all()) for x in noisy)
    found = _moments(noisy, len(noisy), "noisy", clipped)
    first = NoiseModel(found.covariance, found.slope, clipped)
    copies = (first.degrade(x, seed + index) for index, x in enumerate(clean))
    simulated = _moments(copies, len(clean), "clean", clipped)
    slope = float(np.clip(2 * found.slope - simulated.slope, -_STEEPEST, _STEEPEST))
    model = NoiseModel(2 * found.covariance - simulated.covariance, slope, clipped)
    values, _ = _spectrum(model, _STEPS_OF_TORUS, _STEPS_OF_TORUS)
    shortfall = values.clamp_max(0).sum() / values.clamp_min(0).sum()
    if model.level < LEAST_NOISE or shortfall < -_MOST_SHORTFALL:
        hint = hint_at_unused_range(max(float(x.max()) for x in noisy))
        raise LocregError(
            "In smooth places the degraded images are nearly as clean as the clean ones: their "
            "damage is no noise, or hardly any. Let a critic learn how strong it is (locreg "
            "restore --damage any)." + (f" Or: {hint}" if hint else "")
        )
    return model


@dataclass(frozen=True)
class _Moments:
    """Covariance and slope of the smoothest patches, as in `NoiseModel`."""

    covariance: Tensor
    slope: float


def _moments(images: Iterable[Tensor], number: int, kind: str, clipped: bool) -> _Moments:
    least = max(_FEWEST_OF_IMAGE, math.ceil(_FEWEST / max(number, 1)))
    chosen = [_smoothest_patches(x, least, clipped) for x in images]
    count = sum(len(patches) for patches, _ in chosen)
    if count < _FEWEST:
        raise LocregError(
            f"The {kind} images are too few or too small to learn noise from: they hold {count} "
            f"smooth patches of {_SIDE} pixels, away from their borders and not over- or "
            f"underexposed, and {_FEWEST} are needed. Give more of them, of at least "
            f"{_LEAST_SIDE} pixels in width and height (a single one: {_LEAST_SIDE_ALONE})."
        )
    patches, roughness = (torch.cat(parts) for parts in zip(*chosen, strict=True))
    means = patches.mean((1, 2, 3))
    # From each brightness its own, since otherwise those of the brightness with the least noise.
    share = max(_SMOOTH_IMAGES, _FEWEST / count)
    groups = means.argsort().chunk(_BRIGHTNESSES)
    kept = torch.cat([g[roughness[g].argsort()[: math.ceil(share * len(g))]] for g in groups])
    patches, means = patches[kept], means[kept]
    centred = _without_trend(patches)
    slope = _slope(means, centred.square().mean((1, 2, 3)))
    variances = (1 + slope * (means - 0.5)).clamp_min(_LEAST_VARIANCE)
    return _Moments(_covariance(centred / variances.sqrt().view(-1, 1, 1, 1)), slope)


def _smoothest_patches(x: Tensor, least: int, clipped: bool) -> tuple[Tensor, Tensor]:
    """The patches (N, C, side, side) of an image that are smoothest, and how rough they are (N,).

    At least so many, where the image has them. Their neighbours count too, since otherwise those
    would be chosen that happen to have less noise. Where values are cut off there is less noise:
    such patches are left out.
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
    """Patches (..., side, side) without their quadratic part: skies and walls are shaded."""
    line = torch.linspace(-1, 1, _SIDE, dtype=patches.dtype)
    rows, columns = line[:, None].expand(_SIDE, _SIDE), line.expand(_SIDE, _SIDE)
    terms = [torch.ones_like(rows), rows, columns, rows * columns, rows**2, columns**2]
    basis, _ = torch.linalg.qr(torch.stack(terms, -1).flatten(0, 1))
    flat = patches.flatten(-2)
    rest: Tensor = flat - flat @ basis @ basis.T
    return rest.view(patches.shape)


def _slope(means: Tensor, variances: Tensor) -> float:
    """Of the line through the median variances of groups of patches, over its middle value.

    0 where the patches are of too few brightnesses to tell, or it may well be chance.
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
    """Mean products (C, C, lag, lag) over patches (N, C, side, side), 0 taken beyond a patch.

    This makes long lags smaller than they are; in return its spectrum has no negative eigenvalues.
    """
    size = 2 * _SIDE
    total = patches.new_zeros((patches.shape[1], patches.shape[1], size, size))
    for part in torch.split(patches, 256):
        spectrum = torch.fft.fft2(part, s=(size, size))
        products = torch.einsum("bchw,bdhw->cdhw", spectrum.conj(), spectrum)
        total += torch.fft.ifft2(products).real
    lags = torch.arange(1 - _SIDE, _SIDE)
    return total[:, :, lags[:, None], lags] / (_SIDE**2 * len(patches))
