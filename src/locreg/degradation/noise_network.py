"""A small network that measures the noise level around each place of an image.

Unlike the statistics of `locreg.degradation.estimate_noise`, it knows noise that is correlated,
coloured or compressed, because it was trained on such noise (`locreg.degradation.noise_kinds`). It
gives each measurement a weight: in textures the level is uncertain, and such places count little.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

_FILTERS, _SIDE, _WIDTH = 48, 7, 64
_POOL = 4  # side of the squares over which energies are averaged, in steps of 2 pixels
_LEAST_ENERGY = 1e-8  # below the energy of rounding to 8 bits
_USUAL_LOG_LEVEL = -3.5


class NoiseNetwork(nn.Module):
    """log s and log w on a grid of 8x8 pixels.

    The energy of noise behind a linear filter is proportional to s^2, whatever its spectrum. So the
    network takes the logarithms of the mean energies behind 48 learned filters of 7x7 pixels, and
    the mean colour; two layers of 3x3 compare neighbouring places.
    """

    step = 2 * _POOL
    field = _SIDE + 2 * (_POOL - 1) + 4 * step

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, _FILTERS, _SIDE, stride=2, bias=False)
        features = _FILTERS + 3
        self.first = nn.Conv2d(features, _WIDTH, 3)
        self.second = nn.Conv2d(_WIDTH, _WIDTH, 3)
        self.last = nn.Conv2d(_WIDTH + features, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log s and log w (B, H', W') of images x (B, 3, H, W) in [0, 1].

        H' = (H - field) // step + 1. s is the noise level around the middle of a window of side
        ``field``, w the inverse of its expected relative error.
        """
        weight = self.filters.weight
        filtered = F.conv2d(x, weight - weight.mean((2, 3), keepdim=True), stride=2)
        energies = F.avg_pool2d(filtered.square(), _POOL)
        around = F.avg_pool2d(x[..., 2:-2, 2:-2], 3, stride=2)
        colour = F.avg_pool2d(around, _POOL)[..., : energies.shape[2], : energies.shape[3]]
        logs = 0.5 * (energies + _LEAST_ENERGY).log() - _USUAL_LOG_LEVEL
        features = torch.cat([logs, 4 * (colour - 0.5)], dim=1)
        z = F.silu(self.second(F.silu(self.first(features))))
        result = self.last(torch.cat([z, features[..., 2:-2, 2:-2]], dim=1))
        log_level, log_weight = result.unbind(1)
        return log_level + _USUAL_LOG_LEVEL, log_weight


@lru_cache(maxsize=1)
def noise_network() -> NoiseNetwork:
    """The network that comes with locreg."""
    network = NoiseNetwork()
    with as_file(files("locreg.degradation") / "noise-network.safetensors") as path:
        network.load_state_dict(load_file(path))
    return network.requires_grad_(False).eval()
