"""Noise that grows with brightness made white: the generalised Anscombe transform.

Mäkitalo, Foi, *Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian
noise*, IEEE Transactions on Image Processing 22 (1), 2013.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from locreg.arrays import Array

_LEAST_LENGTH = 1e-6  # of the range of transformed values, in units of the noise


@dataclass(frozen=True)
class Stabilisation:
    """The transform f and its inverse, scaled so that the values of an image fill [0, 1].

        f(y) = 2 / gain sqrt(gain y + 3/8 gain^2 + read_noise^2)

    If y has the variance gain x + read_noise^2 at brightness x, f(y) has about the variance 1.

    Attributes:
        gain: variance per unit of brightness; above 0.
        read_noise: standard deviation in the dark.
        low, high: values of f that become 0 and 1.
    """

    gain: float
    read_noise: float
    low: float
    high: float

    @classmethod
    def of(cls, y: Array, gain: float, read_noise: float) -> Stabilisation:
        """The transform whose results fill [0, 1] for the image y."""
        low, high = (float(_transformed(v, gain, read_noise)) for v in (y.min(), y.max()))
        return cls(gain, read_noise, low, max(high, low + _LEAST_LENGTH))

    @property
    def level(self) -> float:
        """The noise level of transformed images."""
        return 1 / (self.high - self.low)

    def forward(self, y: Array) -> Array:
        """The transformed image, of the shape of y."""
        z = _transformed(y, self.gain, self.read_noise)
        scaled: Array = (z - self.low) / (self.high - self.low)
        return scaled.astype(y.dtype)

    def inverse(self, z: Array) -> Array:
        """The image x whose noisy versions have the transformed mean z: the unbiased inverse.

        The closed form of the exact unbiased inverse in the paper, eq. (10):

            x / gain = D^2/4 + sqrt(3/2)/(4 D) - 11/(8 D^2) + 5 sqrt(3/2)/(8 D^3) - 1/8 - r^2

        with D the unscaled z, at least f(0), and r = read_noise / gain.
        """
        ratio, root = self.read_noise / self.gain, math.sqrt(1.5)
        d = z.astype(float) * (self.high - self.low) + self.low
        d = np.maximum(d, 2 * math.sqrt(3 / 8 + ratio**2))
        x = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8 - ratio**2
        unclipped: Array = self.gain * x
        return np.maximum(unclipped, 0).astype(z.dtype)


def _transformed(y: Array, gain: float, read_noise: float) -> Array:
    """f(y) in float64; where its argument is negative it counts as 0."""
    argument = gain * np.asarray(y, float) + 3 / 8 * gain**2 + read_noise**2
    transformed: Array = 2 / gain * np.sqrt(np.maximum(argument, 0))
    return transformed
