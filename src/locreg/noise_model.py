"""Noise as it is in a folder of photographs, learned from clean and noisy ones of other scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from locreg.errors import LocregError

_SIDE = 48  # of the patches that noise is looked for in, in pixels
_STEP = 24  # between them
_SMOOTHEST = 0.02  # share of the patches that are looked at
_FEWEST = 40  # of them, even where this is a larger share
_LEAST_VARIANCE = 0.05  # of the variance in middle grey, what is left at least in other places
_STEEPEST = 1.9  # slope with which the darkest places have this least variance
_LEAST_LEVEL = 0.004  # one step of an 8-bit image


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
        height, width = (length + self.reach for length in x.shape[-2:])
        height, width = (max(length, 2 * self.reach + 1) for length in (height, width))
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn((*x.shape[:2], height, width), generator=generator, dtype=x.dtype)
        root = _root_of_spectrum(self, height, width).to(x.device)
        spectrum = torch.einsum("cdhw,bdhw->bchw", root, torch.fft.rfft2(white.to(x.device)))
        noise: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
        return noise[:, :, : x.shape[-2], : x.shape[-1]]


@lru_cache(maxsize=8)
def _root_of_spectrum(model: NoiseModel, height: int, width: int) -> Tensor:
    """(C, C, H, W // 2 + 1): the roots of the spectrum's matrices, without negative eigenvalues."""
    reach = model.reach
    padding = (0, width - 2 * reach - 1, 0, height - 2 * reach - 1)
    covariance = torch.nn.functional.pad(model.covariance.double(), padding)
    covariance = covariance.roll((-reach, -reach), (2, 3))
    # E M_c conj(M_d) is the transform of E m_c(z) m_d(z - lag).
    spectrum = torch.fft.rfft2(covariance).conj().permute(2, 3, 0, 1)
    values, vectors = torch.linalg.eigh(spectrum)
    roots: Tensor = vectors * values.clamp_min(0).sqrt()[..., None, :] @ vectors.mH
    return roots.permute(2, 3, 0, 1).to(torch.complex64)


def learn_noise(clean: Sequence[Tensor], noisy: Sequence[Tensor], *, seed: int = 0) -> NoiseModel:
    """The noise with which the clean images look, in smooth places, as the noisy ones do.

    The covariance and the variance at each brightness of the smoothest patches are those of the
    noise, but for what is left of the scene, and for the choice of patches. Clean images with such
    noise show how large both errors are; they are taken off (the method of simulated moments,
    McFadden 1989).

    Args:
        clean: images (1, C, H, W).
        noisy: noisy images of other scenes.
        seed: of the simulated noise.

    Raises:
        LocregError: when there are too few patches, or no noise is found.
    """
    found = _moments(noisy)
    clipped = all(bool(((x >= 0) & (x <= 1)).all()) for x in noisy)
    first = NoiseModel(found.covariance, found.slope, clipped)
    simulated = _moments([first.degrade(x, seed + index) for index, x in enumerate(clean)])
    slope = float(np.clip(2 * found.slope - simulated.slope, -_STEEPEST, _STEEPEST))
    model = NoiseModel(2 * found.covariance - simulated.covariance, slope, clipped)
    if model.level < _LEAST_LEVEL:
        raise LocregError(
            "In smooth places the degraded images are as clean as the clean ones: their damage is "
            "no noise. Train a critic on the two folders (locreg train)."
        )
    return model


@dataclass(frozen=True)
class _Moments:
    """Covariance and slope of the smoothest patches, as in `NoiseModel`."""

    covariance: Tensor
    slope: float


def _moments(images: Sequence[Tensor]) -> _Moments:
    patches = _smoothest_patches(images)
    means = patches.mean((1, 2, 3))
    centred = patches - patches.mean((2, 3), keepdim=True)
    slope = _slope(means, centred.square().mean((1, 2, 3)))
    variances = (1 + slope * (means - 0.5)).clamp_min(_LEAST_VARIANCE)
    return _Moments(_covariance(centred / variances.sqrt().view(-1, 1, 1, 1)), slope)


def _smoothest_patches(images: Sequence[Tensor]) -> Tensor:
    """Patches (N, C, side, side) that are smooth, and whose neighbours are.

    The neighbours count too, since otherwise those would be chosen that happen to have less noise.
    """
    apart = _SIDE // _STEP
    found, roughness = [], []
    for x in images:
        patches = x[0].unfold(1, _SIDE, _STEP).unfold(2, _SIDE, _STEP).permute(1, 2, 0, 3, 4)
        if min(patches.shape[:2]) <= 2 * apart:
            continue
        spread = patches.var((3, 4)).mean(2)
        inner = slice(apart, -apart)
        near = [spread[: -2 * apart, inner], spread[2 * apart :, inner], spread[inner, inner],
                spread[inner, : -2 * apart], spread[inner, 2 * apart :]]  # fmt: skip
        roughness.append(torch.stack(near).amax(0).flatten())
        found.append(patches[inner, inner].flatten(0, 1))
    count = sum(len(part) for part in roughness)
    if count < 2 * _FEWEST:
        raise LocregError(
            f"The images are too few or too small to learn their noise: they hold {count} patches "
            f"of {_SIDE} pixels away from their borders, and {2 * _FEWEST} are needed."
        )
    chosen = torch.cat(roughness).argsort()[: max(round(_SMOOTHEST * count), _FEWEST)].tolist()
    every = [patch for part in found for patch in part]
    return torch.stack([every[index] for index in chosen])


def _slope(means: Tensor, variances: Tensor) -> float:
    """Of the line through the median variances of five groups of patches, over its middle value."""
    groups = means.argsort().chunk(5)
    points = np.array([(means[g].mean().item(), variances[g].median().item()) for g in groups])
    rise, middle = np.polyfit(points[:, 0] - 0.5, points[:, 1], 1)
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
