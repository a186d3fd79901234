"""The noise of an observation: as the options say, or measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from locreg.arrays import Array
from locreg.degradation.estimate_noise import estimate_sigma
from locreg.degradation.measure_noise import MeasuredNoise, growing_noise, measure_noise
from locreg.degradation.noise import NoiseKind
from locreg.errors import LocregError
from locreg.restoration.options import RestoreOptions

# On 4 photographs of 3 cameras, blurred by a Gaussian of 1.5 pixels, deblurring changes the PSNR by
# -1.1, +0.6 and +1.0 dB if this is 2.5, 4 and 6; at the level of the white part alone, by -19 dB.
# (Measured before a level in doubt was lowered.)
_AS_WHITE = 5.0


_HIGHLIGHT = 2.0  # the least value of a highlight
_BRIGHT = 4.0  # noise levels above white that a pixel may have
_MOST_NOISE = 5.0  # noise levels above white that the noise of a large image may reach


def has_highlights(y: Array, level: float) -> bool:
    """Whether images have pixels so far above white that noise of this level does not explain them.

    Such as the sun in a float image.
    """
    return bool(y.max() > max(_HIGHLIGHT, 1 + _MOST_NOISE * level))


def highest_of(y: Array, level: float | None) -> float | None:
    """The value above which pixels of images y (B, C, H, W) are highlights; None: none are.

    Args:
        y: the images.
        level: of their noise, which may reach above white; None: estimated.
    """
    if y.max() <= _HIGHLIGHT:
        return None
    if level is None:
        try:
            level = max(estimate_sigma(np.minimum(image[None], 1)) for image in y)
        except LocregError:  # too small to estimate it
            level = 0.0
    return brightest_noise(level) if has_highlights(y, level) else None


def brightest_noise(level: float) -> float:
    """The value from which on a pixel above white is no noise of this level."""
    return 1 + _BRIGHT * level


def find_noise(y: Array, options: RestoreOptions, known: Array | None = None) -> MeasuredNoise:
    """The noise of images y (B, C, H, W) of the same kind, for denoising.

    What the options leave open is measured where pixels are known (H, W), by default everywhere:
    kind, level, gain, read noise. The levels of a batch are averaged.

    Raises:
        LocregError: when y is too small to measure, or its level shows that pixels are not in
            [0, 1].
    """
    if (level := options.level) is not None:
        given: NoiseKind = "white" if options.noise == "auto" else options.noise
        return MeasuredNoise(kind=given, level=level)
    if options.gain is not None and options.read_noise is not None:
        return growing_noise(y, options.gain, options.read_noise, known)
    kind = options.noise if options.gain is options.read_noise is None else "poisson-gaussian"
    found = [measure_noise(_clipped(image[None]), kind, known) for image in y]
    level = sum(noise.level for noise in found) / len(found)
    check_estimate(level)
    first = found[0]
    if first.gain is None or first.read_noise is None:
        return replace(first, level=level)
    return growing_noise(
        y,
        first.gain if options.gain is None else options.gain,
        first.read_noise if options.read_noise is None else options.read_noise,
        known,
    )


def _clipped(y: Array) -> Array:
    """An image whose highlights count as clipped, so that they are left out of a measurement."""
    if y.max() > _HIGHLIGHT and has_highlights(y, estimate_sigma(y)):
        return np.minimum(y, 1)
    return y


def with_noise(options: RestoreOptions, noise: MeasuredNoise) -> RestoreOptions:
    """The options with this noise, so that `find_noise` need not measure it again."""
    if noise.gain is None:
        return replace(options, noise=noise.kind, sigma=noise.level)
    return replace(options, noise=noise.kind, gain=noise.gain, read_noise=noise.read_noise)


def noise_of_level(y: Array, sigma: float, known: Array | None = None) -> MeasuredNoise:
    """Noise of a given level in an image y (1, C, H, W); its kind is found where it is known.

    In an image too small to find it, the noise counts as white.
    """
    try:
        found = measure_noise(_clipped(y), known=known)
    except LocregError:
        return MeasuredNoise(kind="white", level=sigma)
    return MeasuredNoise(kind="white" if found.kind == "white" else "camera", level=sigma)


def level_for_inversion(y: Array, known: Array | None = None) -> float:
    """The noise level of an image y (1, C, H, W) for a data term that takes noise for white.

    Noise that is alike in neighbouring pixels counts `_AS_WHITE` times: it is that much stronger at
    low frequencies than white noise of its level, and would else be amplified as if it were scene.

    Args:
        y: the image.
        known: (H, W), True where a pixel is known; by default everywhere.

    Raises:
        LocregError: when the image is too small, or too little of it is known.
    """
    noise = measure_noise(_clipped(y), known=known)
    return noise.level * (_AS_WHITE if noise.kind == "camera" else 1.0)


def check_estimate(level: float) -> None:
    """Check an estimated noise level.

    Raises:
        LocregError: when it is above 1, so that the pixels cannot be in [0, 1].
    """
    if level > 1:
        raise LocregError(
            f"The noise is estimated at {level:.3g}, but pixels are expected in [0, 1]: give the "
            "pixel value that counts as 1 (--white), or give sigma."
        )
