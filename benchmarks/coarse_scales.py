"""Add coarse scales to a denoising energy of colour images, as those of denoise-rgb were trained.

    python benchmarks/coarse_scales.py OUT.safetensors --clean FOLDER [FOLDER ...] [--seconds 3000]

The critic of the image itself keeps its weights. `locreg train-denoiser --scales 3 --trained coarse
--borders periodic` does the same at half the speed: here the gradient of the finest scale, which
does not change, is computed once for each noisy patch, and each patch returns in about two steps,
moved at random.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from locreg.images.patches import PatchPool
from locreg.images.sources import list_sources
from locreg.regularizer.multiscale import Critic, begin_with, critic_from_description, sum_at_scale
from locreg.regularizer.weights import Weights, load_weights, save_weights
from locreg.training.augmentation import enlarge, vary_colours
from locreg.training.build_critic import build_denoiser_critic
from locreg.training.optimizers import CriticOptimizer
from locreg.training.options import DenoiserCriticOptions

SIZE, BATCH, NEW, KEPT = 112, 4, 2, 256  # patches: side, in a batch, new in each step, kept
ZOOM = 1.7  # half of the batches are enlarged up to this factor
LOW, HIGH = 0.005, 0.5  # noise levels
WEAKER = 0.05  # share of the patches whose noise is weaker than the given level
WARMUP, CONSTANT, LAST = 100, 0.15, 0.015  # of the learning rate: steps; shares of time and height

Example = tuple[Tensor, Tensor, Tensor]  # y, (x_0 - x) / s after the finest scale, and s


def examples(pool: PatchPool, critic: Critic, step: int, seed: int, power: float) -> list[Example]:
    """Noisy patches, and the errors that the finest scale leaves in them."""
    random = np.random.default_rng([seed, step])
    clean = torch.from_numpy(pool.patches(NEW, step))
    if random.random() < 0.5:
        clean = enlarge(clean, ZOOM, random)
    clean = vary_colours(clean, random)
    level = LOW + (HIGH - LOW) * random.random(NEW) ** power
    sigma = torch.from_numpy(level.astype(np.float32))
    share = np.where(random.random(NEW) < WEAKER, random.random(NEW), 1)
    drawn = random.standard_normal(clean.shape) * share[:, None, None, None]
    noise = torch.from_numpy(drawn.astype(np.float32))
    noisy = clean + sigma.view(-1, 1, 1, 1) * noise
    error = noise - gradient(critic, noisy, sigma, coarse=False)
    return list(zip(noisy, error, sigma, strict=True))


def gradient(critic: Critic, y: Tensor, sigma: Tensor, *, coarse: bool) -> Tensor:
    """The gradient at periodic images y of the coarse scales, to be trained, or of the finest."""
    z = y.detach().requires_grad_()
    scales = range(1, len(critic.scales)) if coarse else range(1)
    value = torch.stack([sum_at_scale(critic, k, z, sigma, "periodic") for k in scales]).sum()
    return torch.autograd.grad(value, z, create_graph=coarse)[0]


def drawn_batch(kept: list[Example], random: np.random.Generator) -> list[Tensor]:
    """Some of the examples, each moved in a circle."""
    batch = []
    for index in random.integers(len(kept), size=BATCH):
        noisy, error, sigma = kept[int(index)]
        rows, columns = (int(n) for n in random.integers(SIZE, size=2))
        moved = [torch.roll(x, (rows, columns), (1, 2)) for x in (noisy, error)]
        batch.append((*moved, sigma))
    return [torch.stack(parts) for parts in zip(*batch, strict=True)]


def main() -> None:
    """Train for a number of seconds, and write the average of the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--clean", type=Path, nargs="+", required=True)
    parser.add_argument("--initial", default="denoise-rgb", help="energy to continue from")
    parser.add_argument("--seconds", type=float, default=3000)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--power", type=float, default=2, help="the higher, the less strong noise")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    initial = load_weights(options.initial)
    critic = build_denoiser_critic(DenoiserCriticOptions(scales=3), 0, "cpu")
    begin_with(critic, initial.critic)
    critic.scales[0].requires_grad_(False)
    average = critic_from_description(critic.describe())
    average.requires_grad_(False).load_state_dict(critic.state_dict())
    files = list_sources(options.clean)
    pool = PatchPool(files, size=SIZE, channels=3, seed=7, capacity=720)
    optimizer = CriticOptimizer(critic, "muon")
    kept, step, random = list[Example](), 0, np.random.default_rng(options.seed)
    start, ratio = time.monotonic(), 0.0
    bar = tqdm(total=round(options.seconds), unit="s")
    while (spent := (time.monotonic() - start) / options.seconds) < 1:
        kept = (kept + examples(pool, critic, step, options.seed, options.power))[-KEPT:]
        noisy, error, sigma = drawn_batch(kept, random)
        left = error - gradient(critic, noisy, sigma, coarse=True)
        loss = (sigma * left.square().flatten(1).mean(1)).sum() / sigma.sum()
        critic.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
        fall = LAST ** max(0.0, (spent - CONSTANT) / (1 - CONSTANT))
        optimizer.step(options.learning_rate * min(1, (step + 1) / WARMUP) * fall)
        step += 1
        with torch.no_grad():
            pairs = zip(average.parameters(), critic.parameters(), strict=True)
            for slow, new in pairs:
                slow.lerp_(new, max(0.002, 9 / (step + 9)))
            now = (error.square().mean() / left.square().mean()).log10().item()
        ratio += (10 * now - ratio) / min(step, 400)
        bar.n = round(spent * options.seconds)
        bar.set_postfix_str(f"{step} steps, {ratio:.3f} dB above the finest scale alone")
        if step % 200 == 0:
            write(options, initial, average, step)
    write(options, initial, average, step)
    print(f"{options.out}: {step} steps, {ratio:.3f} dB above the finest scale alone")


def write(options: argparse.Namespace, initial: Weights, critic: Critic, steps: int) -> None:
    """Write the weight file, with a record of how it was made."""
    record = {
        "command": shlex.join(["benchmarks/coarse_scales.py", *sys.argv[1:]]),
        "noise": f"{LOW:g}:{HIGH:g}",
        "learning_rate": options.learning_rate,
        "iterations_done": steps,
        "clean": " + ".join(folder.name for folder in options.clean),
        "initial": initial.training,
    }
    weights = replace(initial, critic=critic, training=record)
    save_weights(weights, options.out)


if __name__ == "__main__":
    main()
