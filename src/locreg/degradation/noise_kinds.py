"""The kinds of noise in real pictures, drawn at random for training.

White noise, noise of cameras (`locreg.degradation.camera_noise`), noise that grows with brightness
as on sensors and microscopes, film grain, the noise and streaks of scanners, and compression.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from locreg.degradation.camera_noise import (
    add_camera_noise,
    blur,
    compress,
    draw_camera,
    uniform_or_zero,
)
from locreg.degradation.noise import NoiseShares, standard_normal

_LEAST_WHITE, _MOST_WHITE = 1e-4, 0.5  # levels of white noise
_LEAST_LEVEL = 0.002  # half a step of an 8-bit image, below which noise hardly counts


def degrade(
    x: Tensor, shares: NoiseShares, random: np.random.Generator, weaker: float = 0.0
) -> tuple[Tensor, float]:
    """A noisy version of a clean image x (3, H, W) in [0, 1], and its noise level.

    The noise level is the standard deviation of white noise, or the root mean square of any other.

    Args:
        x: the clean image.
        shares: how often each kind is drawn.
        random: source of all random numbers.
        weaker: probability that white noise is weaker, by a random factor, than its noise level.
    """
    parts = asdict(shares)
    kind = str(random.choice(list(parts), p=list(parts.values())))
    y, level = _KINDS[kind](x, random)
    if kind == "white" and random.random() < weaker:
        y = x + random.random() * (y - x)
    return y, level


def single_channel(x: Tensor, y: Tensor, level: float) -> tuple[Tensor, float]:
    """The noisy version y of a grey image x with the noise of its first channel in all channels.

    Returns y and its noise level, both as for `degrade`.
    """
    grey = y[:1].expand_as(y)
    ratio = (y[:1] - x[:1]).square().mean() / (y - x).square().mean().clamp_min(1e-12)
    return grey, level * float(ratio.clamp(0.25, 4).sqrt())


def _measured(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """y and its noise level: the root mean square of y - x, at least `_LEAST_LEVEL`."""
    level = math.sqrt(float((y - x).square().mean()))
    return y, max(level, _LEAST_LEVEL)


def _white(x: Tensor, random: np.random.Generator) -> tuple[Tensor, float]:
    level = max(_MOST_WHITE * random.random() ** 2, _LEAST_WHITE)  # small levels are frequent
    return x + level * standard_normal(x.shape, random), level


def _camera(x: Tensor, random: np.random.Generator) -> tuple[Tensor, float]:
    return _measured(x, add_camera_noise(x, draw_camera(random), random))


def _poisson_gaussian(x: Tensor, random: np.random.Generator) -> tuple[Tensor, float]:
    gain = math.exp(random.uniform(math.log(2e-4), math.log(0.1)))
    read_noise = 0.1 * random.random() ** 2
    counts = torch.from_numpy(random.poisson(x.numpy() / gain).astype(np.float32))
    y = gain * counts + read_noise * standard_normal(x.shape, random)
    return _measured(x, y.clamp(0, 1) if random.random() < 0.5 else y)


def _film(x: Tensor, random: np.random.Generator) -> tuple[Tensor, float]:
    """Grain of about a pixel, the same in all channels or not, strongest in the middle tones."""
    grain = blur(standard_normal(x.shape, random), random.uniform(0.4, 1.6))
    common = random.random()
    grain = common * grain.mean(0, keepdim=True) * math.sqrt(len(x)) + (1 - common) * grain
    shape = 0.3 + 0.7 * 4 * x * (1 - x)
    level = math.exp(random.uniform(math.log(0.01), math.log(0.12)))
    y = (x + level * shape * grain / grain.std()).clamp(0, 1)
    if random.random() < 0.5:
        y = compress(y, int(random.integers(70, 100)), bool(random.integers(2)), random)
    return _measured(x, y)


def _scanner(x: Tensor, random: np.random.Generator) -> tuple[Tensor, float]:
    """Smoothed noise that is stronger in the dark, and streaks along one direction."""
    level = math.exp(random.uniform(math.log(0.004), math.log(0.06)))
    noise = blur(standard_normal(x.shape, random), uniform_or_zero(random, 0.7, 0.3, 0.9)) * (
        1.2 - x
    )
    streaks = standard_normal((len(x), x.shape[1], 1), random)
    streaks = 0.3 * random.random() * streaks
    if random.random() < 0.5:
        streaks = standard_normal((len(x), 1, x.shape[2]), random) * (0.3 * random.random())
    y = (x + level * (noise / noise.std() + streaks)).clamp(0, 1)
    return _measured(x, (y * 255).round() / 255)


def _compression(x: Tensor, random: np.random.Generator) -> tuple[Tensor, float]:
    quality = int(random.integers(15, 96))
    return _measured(x, compress(x, quality, bool(random.integers(2)), random))


_KINDS: dict[str, Callable[[Tensor, np.random.Generator], tuple[Tensor, float]]] = {
    "white": _white,
    "camera": _camera,
    "poisson_gaussian": _poisson_gaussian,
    "film": _film,
    "scanner": _scanner,
    "compression": _compression,
}
