"""Deblurring, inpainting, upscaling and tomography, compared with TV and Wiener.

    python benchmarks/inverse.py DATA --tasks motion inpaint --methods tv locreg:alr-rgb --csv FILE

DATA holds the folders cbsd68, kodak24 and levin09. Every method gets the same observation, whose
noise is not clipped; PSNR is measured after clipping the result to [0, 1]. For TV and Wiener, the
lam of each image is the best one, chosen with the ground truth. Weights get only the operator and
sigma, and everything else, lam included, is as in `locreg deblur`, `inpaint` and `upscale`. The CSV
file has one line per image; finished lines are not computed again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from tqdm import tqdm

from locreg.degradation.kernels import gaussian_kernel
from locreg.evaluation import simulation
from locreg.evaluation.measurements import Measurements, Row
from locreg.evaluation.methods import Method, find_method
from locreg.evaluation.simulation import Photograph, Problem
from locreg.evaluation.tables import in_words, numbers, paired_difference
from locreg.images.image_file import read_pixels
from locreg.images.metrics import psnr
from locreg.images.sources import list_images

KEY = ["task", "sigma", "method", "version", "image"]
VALUES = ["lam", "psnr", "seconds"]


@dataclass(frozen=True)
class Test:
    """A test image, its file and its index in its folder."""

    photograph: Photograph
    path: Path
    index: int


def gaussian(test: Test, sigma: float) -> Problem:
    """Figure 5 of the paper: 7x7, standard deviation 3."""
    return simulation.deblurring(test.photograph, sigma, gaussian_kernel(7, 3.0))


def motion(test: Test, sigma: float) -> Problem:
    """The 8 motion blurs of Levin et al. (2009), three images each."""
    kernel = np.load(test.path.parents[1] / "levin09" / f"{test.index // 3 % 8 + 1}.npy")
    return simulation.deblurring(test.photograph, sigma, kernel)


def inpaint(test: Test, sigma: float) -> Problem:
    """Half of the pixels missing at random."""
    return simulation.inpainting_at_random(test.photograph, sigma, 0.5)


def upscale(test: Test, sigma: float) -> Problem:
    """Images of half the size, with Gaussian antialiasing."""
    return simulation.upscaling(test.photograph, sigma, 2)


def tomography(test: Test, sigma: float) -> Problem:
    """Parallel beams from 60 angles."""
    return simulation.tomography(test.photograph, sigma, 60)


# Task: folder, number of channels, noise levels, degradation.
TASKS: dict[str, tuple[str, int, list[float], Callable[[Test, float], Problem]]] = {
    "gaussian": ("cbsd68", 3, [0.03], gaussian),
    "motion": ("kodak24", 3, [0.01, 0.03], motion),
    "inpaint": ("kodak24", 3, [0.02], inpaint),
    "upscale": ("kodak24", 3, [0.01], upscale),
    "tomography": ("phantom", 1, [0.01], tomography),
}


def phantom() -> torch.Tensor:
    """The middle of the Shepp-Logan phantom that scikit-image ships, 256 pixels wide."""
    pixels = torch.from_numpy(skimage.data.shepp_logan_phantom().astype(np.float32))[None, None]
    return F.interpolate(pixels, size=(256, 256), mode="area")


def tests(data: Path, folder: str, channels: int) -> list[Test]:
    """The test images of a task."""
    if folder == "phantom":
        return [Test(Photograph(phantom(), "shepp-logan"), Path("shepp-logan"), 0)]
    images = []
    for index, path in enumerate(list_images(data / folder)):
        pixels = read_pixels(path, channels)
        images.append(Test(Photograph(torch.from_numpy(pixels)[None], path.name), path, index))
    return images


def measure(method: Method, problem: Problem) -> Row:
    """Restore and compare one image."""
    begin = time.perf_counter()
    restored = method.restore(problem)
    return {
        "lam": "" if restored.lam is None else f"{restored.lam:.4g}",
        "psnr": f"{psnr(restored.image, problem.clean).item():.4f}",
        "seconds": f"{time.perf_counter() - begin:.2f}",
    }


def table(rows: dict[str, list[Row]]) -> str:
    """Means over the images, and the paired difference to TV with its 95% confidence interval."""
    lines = [
        "| method | images | PSNR | to TV | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, own in rows.items():
        gain = None if name == "tv" else paired_difference(own, rows.get("tv", []))
        psnrs, seconds = (numbers(own, column).mean() for column in ("psnr", "seconds"))
        lines.append(f"| {name} | {len(own)} | {psnrs:.2f} | {in_words(gain)} | {seconds:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is not in the CSV file yet, then print one table per task and noise level."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--methods", nargs="+", required=True, help="noisy tv wiener locreg:WEIGHTS"
    )
    parser.add_argument("--csv", type=Path, required=True)
    options = parser.parse_args()

    known = Measurements(options.csv, KEY, VALUES)
    methods = [find_method(name, "deblur") for name in options.methods]
    for task in options.tasks:
        folder, channels, sigmas, degrade = TASKS[task]
        for sigma in sigmas:
            rows: dict[str, list[Row]] = {}
            for test in tqdm(tests(options.data, folder, channels), f"{task} {sigma:g}"):
                problem = degrade(test, sigma)
                for method in methods:
                    if method.name == "wiener" and problem.kernel is None:
                        continue
                    row = {
                        "task": task,
                        "sigma": f"{sigma:g}",
                        "method": method.name,
                        "version": method.version,
                        "image": test.path.name,
                    }
                    line = known.once(row, partial(measure, method, problem))
                    rows.setdefault(method.name, []).append(line)
            print(f"\n{task}, sigma {sigma:g}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
