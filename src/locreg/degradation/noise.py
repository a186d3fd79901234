"""Noise levels, standard deviations on the [0, 1] scale, and white Gaussian noise.

Heavy libraries are imported where they are used, since the options of the commands need this file.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

from locreg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


# white: independent between pixels; camera: correlated, coloured or compressed, as in photographs;
# poisson-gaussian: its variance grows in proportion to brightness, as on a sensor or microscope.
NoiseKind = Literal["white", "camera", "poisson-gaussian"]

LEAST_NOISE = 0.004  # one step of an 8-bit image: weaker noise hardly counts

# With an operator, sigma is raised to at least this, about half that step: at sigma = 0 the
# regularizer would have no weight, even where the data leave the image undetermined.
LEAST_SIGMA = 0.002

# The least and the largest supported noise level, as shares of the level that weights were trained
# for. Training on learned noise varies its strength in this range.
SUPPORTED_SHARES = (0.7, 1.3)


@dataclass(frozen=True, kw_only=True)
class NoiseRange:
    """White Gaussian noise with a standard deviation in [low, high] on the [0, 1] scale.

    Raises:
        UsageError: when a level is not in [0, 1], low is above high, or high is 0.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_sigma(self.low)
        check_sigma(self.high)
        if self.high == 0:
            raise UsageError("A noise level of 0 means no noise: give a level above 0.")
        if self.low > self.high:
            raise UsageError(f"Noise levels must satisfy low <= high, got {self.low}:{self.high}.")

    @property
    def one_level(self) -> bool:
        """Whether the range is a single noise level."""
        return self.low == self.high

    @property
    def middle(self) -> float:
        """The noise level halfway between low and high."""
        return (self.low + self.high) / 2

    @classmethod
    def parse(cls, text: str) -> NoiseRange:
        """The range of a text ``S`` (one noise level) or ``LO:HI``.

        Raises:
            UsageError: when the text has another form, or the range is not valid.
        """
        low, separator, high = text.partition(":")
        try:
            return cls(low=float(low), high=float(high if separator else low))
        except ValueError:
            raise UsageError(
                f"Noise must be S or LO:HI, such as 0.1 or 0.05:0.3, got {text!r}."
            ) from None

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


@dataclass(frozen=True, kw_only=True)
class NoiseShares:
    """How often training draws each kind of noise in real pictures: shares that add up to 1.

    `locreg.degradation.noise_kinds` describes the kinds.

    Raises:
        UsageError: when a share is negative, or the sum is not 1.
    """

    white: float = 0.25
    camera: float = 0.55
    poisson_gaussian: float = 0.06
    film: float = 0.06
    scanner: float = 0.04
    compression: float = 0.04

    def __post_init__(self) -> None:
        shares = [getattr(self, field.name) for field in fields(self)]
        if min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise UsageError(f"Shares must be at least 0 and add up to 1, got {shares}.")

    def __str__(self) -> str:
        return ", ".join(f"{name} {share:g}" for name, share in asdict(self).items())


def check_sigma(sigma: float) -> None:
    """Check a noise level.

    Raises:
        UsageError: when sigma is negative, not finite, or above 1.
    """
    if not sigma >= 0:
        raise UsageError(f"A noise level must be at least 0, got {sigma:g}.")
    if sigma > 1:
        raise UsageError(
            f"Noise level {sigma:g} is above 1: levels are standard deviations on the [0, 1] scale"
            + (f"; if you mean {sigma:g}/255, give {sigma / 255:.4g}." if sigma <= 255 else ".")
        )


def add_noise_in_range(
    patches: NDArray[np.float32], noise: NoiseRange, random: np.random.Generator
) -> NDArray[np.float32]:
    """Patches (B, C, h, w) plus white Gaussian noise, not clipped; each patch has its own level."""
    import numpy as np

    levels = random.uniform(noise.low, noise.high, (len(patches), 1, 1, 1)).astype(np.float32)
    return patches + levels * random.standard_normal(patches.shape, dtype=np.float32)


def standard_normal(shape: Sequence[int], random: np.random.Generator) -> Tensor:
    """White Gaussian noise of standard deviation 1 in float32, on the CPU."""
    import numpy as np
    import torch

    return torch.from_numpy(random.standard_normal(tuple(shape), dtype=np.float32))


def add_noise(x: Tensor, sigma: float, seed: int) -> Tensor:
    """x plus white Gaussian noise of standard deviation sigma, not clipped."""
    import torch

    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return x + sigma * noise.to(x.device)
