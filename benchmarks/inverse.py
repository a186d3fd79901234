"""Deblurring, inpainting, upscaling and tomography beside TV and Wiener.

    python benchmarks/inverse.py DATA --tasks motion inpaint --methods tv alr-rgb --csv results.csv

DATA holds the folders cbsd68, kodak24 and levin09. Every method sees the same observation, whose
noise is not clipped; PSNR is that of the result clipped to [0, 1]. TV and Wiener get the lam of
each image that is best in view of the ground truth; a weight file gets none of that: its lam and
everything else is what `locreg deblur`, `inpaint` and `upscale` do, told the kernel and sigma.
One line of the CSV is one image; a finished line is not computed again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

import locreg
from locreg import tasks
from locreg.baselines import total_variation, wiener
from locreg.images import list_images, read_samples, to_channels, to_unit_range
from locreg.kernels import gaussian_kernel
from locreg.objective import LinearOperator
from locreg.operators import blur_circular, downsampling, inpainting
from locreg.restoration import Lam
from locreg.validation import best_lam, psnr
from measurements import Measurements, Row, parameter_checksum, seed_of

KEY = ["version", "task", "sigma", "method", "checksum", "image"]
VALUES = ["lam", "psnr", "seconds"]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Photograph:
    """A test image (1, C, H, W), where it comes from, and its place in its folder."""

    clean: Tensor
    path: Path
    index: int


@dataclass(frozen=True)
class Problem:
    """An observation y = A x + noise of a known image x, and where solvers start."""

    clean: Tensor
    operator: LinearOperator
    y: Tensor
    start: Tensor
    restore: Callable[[locreg.LocalRegularizer, Lam], locreg.Restoration]
    kernel: NDArray[np.float32] | None = None


def observe(test: Photograph, operator: LinearOperator, sigma: float) -> Tensor:
    """A x plus noise from a seed that depends on name and level alone."""
    exact = operator.A(test.clean)
    generator = torch.Generator().manual_seed(seed_of(test.path.name, sigma))
    return exact + sigma * torch.randn(exact.shape, generator=generator)


def deblurring(test: Photograph, kernel: NDArray[np.float32], sigma: float) -> Problem:
    """Circular blur with a known kernel."""
    operator = blur_circular(kernel, test.clean.shape[1:], CPU)
    y = observe(test, operator, sigma)

    def restore(regularizer: locreg.LocalRegularizer, lam: Lam = None) -> locreg.Restoration:
        return tasks.deblur(y, regularizer, kernel, border="circular", sigma=sigma, lam=lam)

    return Problem(test.clean, operator, y, y, restore, kernel)


def gaussian(test: Photograph, sigma: float) -> Problem:
    """Figure 5 of the paper: 7x7, standard deviation 3."""
    return deblurring(test, gaussian_kernel(7, 3.0), sigma)


def motion(test: Photograph, sigma: float) -> Problem:
    """The 8 kernels of Levin et al. 2009, three images each."""
    kernel = np.load(test.path.parents[1] / "levin09" / f"{test.index // 3 % 8 + 1}.npy")
    return deblurring(test, kernel, sigma)


def inpaint(test: Photograph, sigma: float) -> Problem:
    """Half of the pixels missing at random."""
    generator = torch.Generator().manual_seed(seed_of(test.path.name))
    known = torch.rand(test.clean.shape[-2:], generator=generator) < 0.5
    operator = inpainting(known, test.clean.shape[1:], CPU)
    y = observe(test, operator, sigma) * known

    def restore(regularizer: locreg.LocalRegularizer, lam: Lam = None) -> locreg.Restoration:
        return tasks.inpaint(y, regularizer, known, sigma=sigma, lam=lam)

    return Problem(test.clean, operator, y, tasks.fill(y, known), restore)


def upscale(test: Photograph, sigma: float) -> Problem:
    """Half the size, with Gaussian antialiasing."""
    operator = downsampling(2, test.clean.shape[1:], CPU)
    y = observe(test, operator, sigma)
    start = F.interpolate(y, size=test.clean.shape[-2:], mode="bicubic", align_corners=False)

    def restore(regularizer: locreg.LocalRegularizer, lam: Lam = None) -> locreg.Restoration:
        return tasks.upscale(y, regularizer, 2, sigma=sigma, lam=lam)

    return Problem(test.clean, operator, y, start, restore)


def tomography(test: Photograph, sigma: float) -> Problem:
    """Parallel beams from 60 angles, the operator of norm 1; starts at the pseudoinverse."""
    from deepinv.physics import Tomography

    operator = Tomography(angles=60, img_width=test.clean.shape[-1], normalize=True)
    y = observe(test, operator, sigma)
    start = operator.A_dagger(y)

    def restore(regularizer: locreg.LocalRegularizer, lam: Lam = None) -> locreg.Restoration:
        return locreg.restore(y, regularizer, operator, sigma=sigma, lam=lam, start=start)

    return Problem(test.clean, operator, y, start, restore)


# Task: folder, number of channels, noise levels, degradation.
TASKS: dict[str, tuple[str, int, list[float], Callable[[Photograph, float], Problem]]] = {
    "gaussian": ("cbsd68", 3, [0.03], gaussian),
    "motion": ("kodak24", 3, [0.01, 0.03], motion),
    "inpaint": ("kodak24", 3, [0.02], inpaint),
    "upscale": ("kodak24", 3, [0.01], upscale),
    "tomography": ("phantom", 1, [0.01], tomography),
}


# Where the search for the best lam of the classical methods begins.
FIRST_LAM: dict[str, Callable[[float], float]] = {
    "tv": lambda sigma: 0.3 * sigma**1.3,
    "wiener": lambda sigma: 30 * sigma**2,
}
# Raised whenever what is measured changes, so that older lines do not count.
VERSION = "1"


def phantom() -> Tensor:
    """The middle of the Shepp-Logan phantom that scikit-image ships, 256 pixels wide."""
    pixels = torch.from_numpy(skimage.data.shepp_logan_phantom().astype(np.float32))[None, None]
    return F.interpolate(pixels, size=(256, 256), mode="area")


def classical(method: str, problem: Problem, lam: float) -> Tensor:
    """What a classical method restores with this weight of its prior."""
    if method == "tv":
        return total_variation(problem.y, problem.operator, lam, problem.start)
    assert problem.kernel is not None  # main asks for Wiener only where there is one
    return wiener(problem.y, problem.kernel, lam)


def measure(
    method: str, problem: Problem, sigma: float, regularizer: locreg.LocalRegularizer | None
) -> Row:
    """Restore and compare one image; a search for the best lam is not timed."""
    lam: float | None = None
    if method in FIRST_LAM:

        def quality(lam: float) -> float:
            return psnr(classical(method, problem, lam), problem.clean).item()

        lam, _ = best_lam(quality, FIRST_LAM[method](sigma), ratio=1.5)
    begin = time.perf_counter()
    if regularizer is not None:
        found = problem.restore(regularizer, None)
        image, lam = found.image, found.lam
    else:
        image = problem.start if lam is None else classical(method, problem, lam)
    return {
        "lam": "" if lam is None else f"{lam:.4g}",
        "psnr": f"{psnr(image, problem.clean).item():.4f}",
        "seconds": f"{time.perf_counter() - begin:.2f}",
    }


def photographs(data: Path, folder: str, channels: int) -> list[Photograph]:
    """The test images of a task."""
    if folder == "phantom":
        return [Photograph(phantom(), Path("shepp-logan"), 0)]
    found = []
    for index, path in enumerate(list_images(data / folder)):
        pixels = to_unit_range(to_channels(read_samples(path), channels))
        found.append(Photograph(torch.from_numpy(pixels)[None], path, index))
    return found


def main() -> None:
    """Measure what is not in the file yet, then print means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", required=True, help="start tv wiener, or weights")
    parser.add_argument("--csv", type=Path, required=True)
    options = parser.parse_args()

    known = Measurements(options.csv, KEY, VALUES)
    regularizers = {m: locreg.load(m) for m in options.methods if m not in ("start", *FIRST_LAM)}
    checksums = {m: parameter_checksum(regularizer) for m, regularizer in regularizers.items()}
    for task in options.tasks:
        folder, channels, sigmas, degrade = TASKS[task]
        for sigma in sigmas:
            rows: dict[str, list[Row]] = {}
            for test in tqdm(photographs(options.data, folder, channels), f"{task} {sigma:g}"):
                problem = degrade(test, sigma)
                for method in options.methods:
                    if method == "wiener" and problem.kernel is None:
                        continue
                    row = {
                        "version": VERSION,
                        "task": task,
                        "sigma": f"{sigma:g}",
                        "method": method,
                        "checksum": checksums.get(method, ""),
                        "image": test.path.name,
                    }
                    found = known.find(row)
                    if found is None:
                        found = known.add(
                            row | measure(method, problem, sigma, regularizers.get(method))
                        )
                    rows.setdefault(method, []).append(found)
            for method, lines in rows.items():
                mean = sum(float(line["psnr"]) for line in lines) / len(lines)
                print(f"{task}, sigma {sigma:g}, {method}: {mean:.2f} dB, {len(lines)} images")


if __name__ == "__main__":
    main()
