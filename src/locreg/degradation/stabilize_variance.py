"""Noise that grows with brightness made white: the generalised Anscombe transform.

Mäkitalo, Foi, *Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian
noise*, IEEE Transactions on Image Processing 22 (1), 2013.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

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
    def of(cls, y: Tensor, gain: float, read_noise: float) -> Stabilisation:
        """The transform whose results fill [0, 1] for the image y."""
        low, high = (_transformed(v, gain, read_noise).item() for v in y.aminmax())
        return cls(gain, read_noise, low, max(high, low + _LEAST_LENGTH))

    @property
    def level(self) -> float:
        """The noise level of transformed images."""
        return 1 / (self.high - self.low)

    def forward(self, y: Tensor) -> Tensor:
        """The transformed image, of the shape of y."""
        z = _transformed(y, self.gain, self.read_noise)
        return ((z - self.low) / (self.high - self.low)).to(y.dtype)

    def inverse(self, z: Tensor) -> Tensor:
        """The image x whose noisy versions have the transformed mean z: the unbiased inverse.

        The closed form of the exact unbiased inverse in the paper, eq. (10):

            x / gain = D^2/4 + sqrt(3/2)/(4 D) - 11/(8 D^2) + 5 sqrt(3/2)/(8 D^3) - 1/8 - r^2

        with D the unscaled z, at least f(0), and r = read_noise / gain.
        """
        ratio, root = self.read_noise / self.gain, math.sqrt(1.5)
        d = z.double() * (self.high - self.low) + self.low
        d = d.clamp_min(2 * math.sqrt(3 / 8 + ratio**2))
        x = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8 - ratio**2
        return (self.gain * x).clamp_min(0).to(z.dtype)


def _transformed(y: Tensor, gain: float, read_noise: float) -> Tensor:
    """f(y) in float64; where its argument is negative it counts as 0."""
    argument = gain * y.double() + 3 / 8 * gain**2 + read_noise**2
    return 2 / gain * argument.clamp_min(0).sqrt()
