"""Train the network that measures the noise level of an image.

    python benchmarks/noise_network.py OUT.safetensors --clean FOLDER [FOLDER ...] [--seconds 1500]

Most patches get noise of a random kind (`locreg.degradation.noise_kinds`), the others stay clean.
The network predicts log s around each pixel and a weight w. The loss is the negative logarithm of a
Laplace density, w |log s - log s_true| - log w, plus the error of the weighted mean over the patch.
The true level is the local root mean square of the noise, or the level itself if that hardly
varies.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from locreg.degradation.camera_noise import blur
from locreg.degradation.noise import NoiseShares
from locreg.degradation.noise_kinds import degrade, single_channel
from locreg.degradation.noise_network import FIELD, LEAST_ENERGY, STEP, USUAL_LOG_LEVEL
from locreg.images.patches import PatchPool
from locreg.images.sources import split_sources
from locreg.training.augmentation import enlarge, vary_colours

SIZE, GREY, CLEAN = 128, 0.15, 0.1
ZOOM = 3.0  # largest factor by which patches are enlarged
NEW, KEPT, BATCH = 4, 1000, 24  # patches: new in each step, kept, and in a batch
SHARES = NoiseShares(
    white=0.3, camera=0.4, poisson_gaussian=0.1, film=0.08, scanner=0.06, compression=0.06
)
LEAST = 0.002  # level below which noise counts as none
LOCAL = 6.0  # standard deviation in pixels of the window of a local level
SAME = 0.15  # relative spread of the local levels up to which they count as equal


_FILTERS, _SIDE, _WIDTH, _POOL = 48, 7, 64, 4


class NoiseNetwork(nn.Module):
    """The network of `locreg.degradation.noise_network`, as it is trained.

    It has 48 filters of 7x7 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, _FILTERS, _SIDE, stride=2, bias=False)
        features = _FILTERS + 3
        self.first = nn.Conv2d(features, _WIDTH, 3)
        self.second = nn.Conv2d(_WIDTH, _WIDTH, 3)
        self.last = nn.Conv2d(_WIDTH + features, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log s and log w (B, H', W') of images x (B, 3, H, W) in [0, 1].

        H' = (H - FIELD) // STEP + 1. s is the noise level around the middle of a window of side
        ``FIELD``, w the inverse of its expected relative error.
        """
        weight = self.filters.weight
        filtered = F.conv2d(x, weight - weight.mean((2, 3), keepdim=True), stride=2)
        energies = F.avg_pool2d(filtered.square(), _POOL)
        around = F.avg_pool2d(x[..., 2:-2, 2:-2], 3, stride=2)
        colour = F.avg_pool2d(around, _POOL)[..., : energies.shape[2], : energies.shape[3]]
        logs = 0.5 * (energies + LEAST_ENERGY).log() - USUAL_LOG_LEVEL
        features = torch.cat([logs, 4 * (colour - 0.5)], dim=1)
        z = F.silu(self.second(F.silu(self.first(features))))
        result = self.last(torch.cat([z, features[..., 2:-2, 2:-2]], dim=1))
        log_level, log_weight = result.unbind(1)
        return log_level + USUAL_LOG_LEVEL, log_weight


def examples(pool: PatchPool, iteration: int) -> list[tuple[Tensor, Tensor]]:
    """Noisy patches (3, H, W), and the logarithm of their local noise levels (H, W)."""
    random = np.random.default_rng([7, iteration])
    made = []
    scenes = enlarge(torch.from_numpy(pool.patches(NEW, iteration)), ZOOM, random)
    for x in vary_colours(scenes, random):
        grey = random.random() < GREY
        x = x.mean(0, keepdim=True).expand(3, -1, -1) if grey else x
        y, level = degrade(x, SHARES, random)
        y, level = single_channel(x, y, level) if grey else (y, level)
        y, level = (x, LEAST) if random.random() < CLEAN else (y, level)
        y = (y.clamp(0, 1) * 255).round() / 255 if random.random() < 0.5 else y
        local = blur((y - x).square().mean(0, keepdim=True), LOCAL)[0].sqrt()
        if local.std() < SAME * local.mean():
            local = torch.full_like(local, level)
        made.append((y, local.clamp_min(LEAST).log()))
    return made


def loss(network: NoiseNetwork, noisy: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and the mean absolute error of log s over whole patches."""
    log_level, log_weight = network(noisy)
    middle = FIELD // 2
    height, width = log_level.shape[1:]
    rows, columns = (middle + STEP * torch.arange(n) for n in (height, width))
    true = levels[:, rows][:, :, columns]
    log_weight = log_weight.clamp(-3, 5)
    error = (log_level - true).abs()
    local = (log_weight.exp() * error - log_weight).mean()
    shares = torch.softmax(log_weight.flatten(1), 1)
    whole = (shares * (log_level - true).flatten(1)).sum(1).abs().mean()
    return local + 3 * whole, whole


def main() -> None:
    """Train for a number of seconds, and write the average of the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--clean", type=Path, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=1500)
    parser.add_argument("--initial", type=Path, help="weights to continue from")
    arguments = parser.parse_args()
    sources, _ = split_sources(arguments.clean, held_out=12, seed=0)
    pool = PatchPool(sources, size=SIZE, channels=3, seed=1)
    torch.manual_seed(0)
    network, average = NoiseNetwork(), NoiseNetwork()
    if arguments.initial is not None:
        network.load_state_dict(load_file(arguments.initial))
    optimizer = torch.optim.Adam(network.parameters())
    start, iteration, mean = time.monotonic(), 0, 0.0
    kept, random = list[tuple[Tensor, Tensor]](), np.random.default_rng(0)
    bar = tqdm(total=round(arguments.seconds), unit="s")
    while (elapsed := time.monotonic() - start) < arguments.seconds:
        rate = 2e-3 * 0.5 * (1 + math.cos(math.pi * elapsed / arguments.seconds)) + 1e-5
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (iteration + 1) / 100)
        kept = (kept + examples(pool, iteration))[-KEPT:]
        drawn = random.choice(len(kept), min(BATCH, len(kept)), replace=False)
        value, whole = loss(network, *map(torch.stack, zip(*(kept[i] for i in drawn), strict=True)))
        optimizer.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        iteration += 1
        with torch.no_grad():
            pairs = zip(average.parameters(), network.parameters(), strict=True)
            for slow, new in pairs:
                slow.lerp_(new, max(0.005, 1 / iteration))
        mean += (whole.item() - mean) / min(iteration, 200)
        bar.n = round(elapsed)
        bar.set_postfix_str(f"{iteration} iterations, error {100 * mean:.1f}%")
        if iteration % 500 == 0:
            save_file(average.state_dict(), arguments.out)
    save_file(average.state_dict(), arguments.out)
    print(f"{arguments.out}: {iteration} iterations, error {100 * mean:.1f}%")


if __name__ == "__main__":
    main()
