"""Distances between two images."""

from __future__ import annotations

from torch import Tensor


def psnr(x: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, -10 log10 mean (x - reference)^2, per image: (B,).

    x (B, ...) is clipped to [0, 1] first. The result is float64.
    """
    error = (x.clamp(0, 1) - reference).flatten(1).double().square().mean(1)
    return -10 * error.log10()
