"""Colours and scale of training patches, changed at random."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # ITU-R BT.601
_CHANGED = 0.6  # share of the patches whose colours are changed
_SATURATION = (0.3, 2.2)  # factors of the distance to grey
_WHITE_BALANCE, _EXPOSURE = 0.08, 0.2  # standard deviations of the logarithms of the gains


def enlarge(patches: Tensor, most: float, random: np.random.Generator) -> Tensor:
    """Patches (B, C, H, W) in [0, 1] whose middle is enlarged by a random factor in [1, most]."""
    return torch.stack([_enlarge(x, random.uniform(1, most)) for x in patches])


def _enlarge(x: Tensor, factor: float) -> Tensor:
    height, width = x.shape[1:]
    rows, columns = (max(round(n / factor), 1) for n in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    part = x[None, :, top : top + rows, left : left + columns]
    return F.interpolate(part, size=(height, width), mode="bicubic")[0].clamp(0, 1)


def vary_colours(patches: Tensor, random: np.random.Generator) -> Tensor:
    """Patches (B, 3, H, W) in [0, 1] with other colours: a random change for six in ten of them.

    Channels are swapped; saturation, white balance and exposure are moved. Photographs of few
    cameras and scenes then teach strong colours as well.
    """
    return torch.stack([_vary(x, random) if random.random() < _CHANGED else x for x in patches])


def _vary(x: Tensor, random: np.random.Generator) -> Tensor:
    x = x[torch.from_numpy(random.permutation(3))]
    luma = (_LUMA * x).sum(0, keepdim=True)
    x = luma + math.exp(random.uniform(*np.log(_SATURATION))) * (x - luma)
    gains = np.exp(random.normal(0, _EXPOSURE) + random.normal(0, _WHITE_BALANCE, (3, 1, 1)))
    return (x * torch.from_numpy(gains.astype(np.float32))).clamp(0, 1)
