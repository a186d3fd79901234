"""Does a GPU compute what the processor does, and how fast? For machines that have one.

    python benchmarks/gpu.py PHOTOGRAPHS

For each packaged energy: the gradient on the GPU beside that on the processor. Then two trainings
of a denoising energy on the photographs, one on each device, on the same patches and noise, whose
losses are compared. The exit status is 1 if they differ, or without a GPU.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from locreg.degradation.noise import NoiseRange
from locreg.images.sources import list_images
from locreg.regularizer.local_regularizer import load
from locreg.regularizer.packaged import packaged_names
from locreg.training.build_critic import build_denoiser_critic
from locreg.training.loop import train
from locreg.training.options import DENOISER_CRITIC, DenoisingOptions
from training_speed import denoising

SIZE, LEVEL, TURNS = (1024, 1024), 0.1, 5
ITERATIONS = 50
MOST = 1e-4  # largest difference of gradients, relative to their largest value
MOST_OF_LOSS = 0.02  # of losses: a GPU rounds the convolutions of a training to 10 bits


def gradients(name: str) -> bool:
    """Compare the gradients of packaged weights; returns whether they agree."""
    results, seconds = [], []
    for device in ("cpu", "cuda"):
        regularizer = load(name).to(device)
        channels = regularizer.in_channels
        x = torch.rand((1, channels, *SIZE), generator=torch.Generator().manual_seed(0)).to(device)
        at_level = regularizer.at(LEVEL) if regularizer.noise_conditioned else regularizer
        times = []
        for _ in range(TURNS):
            begin = time.perf_counter()
            gradient = at_level.value_and_grad(x)[1].cpu()  # the copy waits for the GPU
            times.append(time.perf_counter() - begin)
        results.append(gradient)
        seconds.append(median(times[1:]))
    difference = ((results[1] - results[0]).abs().max() / results[0].abs().max()).item()
    print(
        f"{name}: {seconds[0]:.3f} s on the processor, {seconds[1]:.4f} s on the GPU, "
        f"largest difference {difference:.1e}",
        flush=True,
    )
    return difference <= MOST


def trained(photographs: list[Path], device: str) -> float:
    """The loss after a few iterations on a device."""
    criterion = denoising(photographs, NoiseRange(low=0.0, high=0.5))
    critic = build_denoiser_critic(DENOISER_CRITIC, 0, device)
    begin = time.perf_counter()
    result = train(criterion, critic, DenoisingOptions(iterations=ITERATIONS), progress=False)
    seconds = (time.perf_counter() - begin) / ITERATIONS
    loss = criterion.accumulate(result.critic, criterion.draw(ITERATIONS)).item()
    print(f"training on {device}: loss {loss:.5f}, {seconds:.3f} s an iteration", flush=True)
    return loss


def main() -> None:
    """Compare both devices."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path)
    photographs = list_images(parser.parse_args().photographs)
    if not torch.cuda.is_available():
        raise SystemExit("This machine has no CUDA GPU that PyTorch can use.")
    print(torch.cuda.get_device_name(), torch.__version__)
    agree = [gradients(name) for name in packaged_names()]
    expected, loss = (trained(photographs, device) for device in ("cpu", "cuda"))
    alike = abs(loss - expected) <= MOST_OF_LOSS * expected
    raise SystemExit(0 if all(agree) and alike else 1)


if __name__ == "__main__":
    main()
