"""Where the time of a training goes: drawing a batch, learning from it, fitting lam.

    python benchmarks/training_speed.py PHOTOGRAPHS [--fit]

For a critic of the paper's form and for denoising energies: milliseconds to draw a batch and to
learn from it, and of an iteration of the training, which draws the next batch meanwhile. All are
medians. With --fit, a critic is trained in 300 iterations at level 0.1, and the fit of its lam is
timed.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from locreg.degradation.noise import NoiseRange, NoiseShares
from locreg.images.archives import ImageSource
from locreg.images.patches import PatchPool
from locreg.images.sources import list_images
from locreg.regularizer.multiscale import Critic
from locreg.training.build_critic import build_critic, build_denoiser_critic
from locreg.training.criteria.denoising import DenoisingCriterion
from locreg.training.criteria.wasserstein import UnpairedPatches, WassersteinCriterion
from locreg.training.loop import train
from locreg.training.options import (
    DENOISER_CRITIC,
    CriticOptions,
    DataOptions,
    DenoisingOptions,
    LoopOptions,
    TrainingOptions,
)
from locreg.training.output import TrainingRun
from locreg.training.recipes import CriticRecipe
from locreg.training.train_critic import train_critic

ONE_LEVEL = NoiseRange(low=0.1, high=0.1)


def denoising(files: Sequence[ImageSource], noise: NoiseRange | NoiseShares) -> DenoisingCriterion:
    """The denoising criterion with its usual constants, in float32."""
    return DenoisingCriterion(
        clean=PatchPool(files, size=48, channels=3, seed=0),
        noise=noise,
        batch=8,
        seed=0,
        precision="float32",
        steps=1,
        borders="mirrored",
        weaker_noise=0.05,
    )


def profile(
    name: str,
    criterion: WassersteinCriterion | DenoisingCriterion,
    critic: Critic,
    options: LoopOptions,
) -> None:
    """Print the milliseconds of an iteration and of its parts."""
    drawn, learned, ends = [], [], list[float]()
    for iteration in range(options.iterations + 1):
        begin = time.perf_counter()
        batch = criterion.draw(iteration)
        between = time.perf_counter()
        criterion.accumulate(critic, batch)
        drawn.append(between - begin)
        learned.append(time.perf_counter() - between)
    train(
        criterion,
        critic,
        options,
        progress=False,
        on_iteration=lambda _: ends.append(time.perf_counter()),
    )
    whole = [after - before for before, after in itertools.pairwise(ends)]
    parts = (drawn[1:], learned[1:], whole)
    milliseconds = [f"{1000 * median(times):.1f}" for times in parts]
    print(f"{name}: draw, learn, iteration: {', '.join(milliseconds)} ms", flush=True)


def fit(photographs: Path) -> None:
    """Print the seconds of a short training and of the fit of its lam."""
    recipe = CriticRecipe(
        clean=photographs,
        noise=ONE_LEVEL,
        data=DataOptions(held_out=0),
        training=TrainingOptions(iterations=300),
    )
    ends = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(
            output=Path(folder) / "critic.safetensors",
            on_iteration=lambda _: ends.append(time.perf_counter()),
        )
        begin = time.perf_counter()
        train_critic(recipe, run)
    print(
        f"300 iterations: {ends[-1] - begin:.0f} s; lam: {time.perf_counter() - ends[-1]:.0f} s",
        flush=True,
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    files = list_images(arguments.photographs)[:100]
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")

    pools = [PatchPool(files, size=15, channels=3, seed=seed) for seed in (1, 2)]
    patches = UnpairedPatches(pools[0], pools[1], ONE_LEVEL, seed=0)
    profile(
        "critic, 32 + 32 patches of 15x15",
        WassersteinCriterion(patches, 32, 5.0),
        build_critic(CriticOptions(), 0, "cpu", noise=ONE_LEVEL),
        TrainingOptions(iterations=100),
    )
    for name, noise in (("white noise", NoiseRange(low=0.0, high=0.5)), ("all", NoiseShares())):
        criterion = denoising(files, noise)
        critic = build_denoiser_critic(DENOISER_CRITIC, 0, "cpu")
        title = f"energy, 8 patches of 48x48, noise: {name}"
        profile(title, criterion, critic, DenoisingOptions(iterations=20))
    if arguments.fit:
        fit(arguments.photographs)


if __name__ == "__main__":
    main()
