"""A small network that measures the noise level around each pixel of an image.

Unlike statistics of smooth places (`locreg.degradation.estimate_noise`), it knows noise that is
correlated, coloured or compressed, because it was trained on such noise
(`locreg.degradation.noise_kinds`). It gives each measurement a weight: in textures the level is
uncertain, and such places count little.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

WIDTH, DEPTH = 32, 5
_NAME = "noise-network.safetensors"


class NoiseNetwork(nn.Module):
    """log s and log w for every second pixel of an image in [0, 1], colour only.

    A convolution of 6x6 pixels in steps of 2, then residual layers of 3x3, none of them padded: the
    network sees 30 pixels.
    """

    field, stride = 6 + 4 * (DEPTH + 1), 2

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, WIDTH, 6, stride=2)
        self.hidden = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3) for _ in range(DEPTH))
        self.last = nn.Conv2d(WIDTH, 2, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log s and log w (B, H', W') of images x (B, 3, H, W), H' = (H - field) // 2 + 1.

        s is the noise level of the pixels in the middle of a window, w the inverse of its expected
        relative error.
        """
        z = F.silu(self.first((x - 0.5) * 4))
        for layer in self.hidden:
            z = z[..., 1:-1, 1:-1] + F.silu(layer(z))
        log_level, log_weight = self.last(z).unbind(1)
        return log_level - 3.5, log_weight


@lru_cache(maxsize=1)
def noise_network() -> NoiseNetwork:
    """The packaged network."""
    network = NoiseNetwork()
    with as_file(files("locreg") / "packaged" / _NAME) as path:
        network.load_state_dict(load_file(path))
    return network.requires_grad_(False).eval()
