"""Mean PSNR of a denoiser on a folder of photographs: figures of docs/results.md.

    python benchmarks/denoise.py FOLDER --weights alr-rgb --sigma 0.1 --csv results.csv

White Gaussian noise is added in floating point and not clipped; its seed depends only on the file
name and the noise level. Images are restored by the solver that the weights were made for, with the
calibrated lam, and measured after clipping to [0, 1]. The CSV file has one line per image. Finished
lines are not computed again, so the same command continues an interrupted run. A checksum in each
line tells weights apart.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

import locreg
from locreg.degradation.noise import add_noise
from locreg.evaluation.measurements import Measurements, Row
from locreg.evaluation.methods import denoiser_version
from locreg.evaluation.simulation import seed_of
from locreg.images.image_file import read_pixels
from locreg.images.metrics import psnr
from locreg.images.sources import list_images

KEY = ["weights", "checksum", "folder", "sigma", "given", "image"]
VALUES = ["used_sigma", "lam", "psnr", "seconds"]


def given_level(text: str) -> str:
    """Check an argument: true, auto or a factor."""
    if text not in ("true", "auto"):
        float(text)
    return text


def sigma_to_give(sigma: float, given: str) -> float | Literal["auto"]:
    """The noise level to give to the restoration."""
    if given == "auto":
        return "auto"
    return sigma if given == "true" else sigma * float(given)


def measure(path: Path, regularizer: locreg.LocalRegularizer, sigma: float, given: str) -> Row:
    """Degrade, restore and compare one image."""
    pixels = read_pixels(path, regularizer.in_channels)
    clean = torch.from_numpy(pixels)[None]
    noisy = add_noise(clean, sigma, seed_of(path.name, sigma))
    restoration = locreg.restore(
        noisy, regularizer, options=locreg.RestoreOptions(sigma=sigma_to_give(sigma, given))
    )
    return {
        "used_sigma": f"{restoration.sigma:.5f}",
        "lam": f"{restoration.lam:.6g}",
        "psnr": f"{psnr(restoration.image, clean).item():.4f}",
        "seconds": f"{restoration.seconds:.2f}",
    }


def main() -> None:
    """Measure every image that is not in the CSV file yet, then print means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--sigma", type=float, nargs="+", required=True)
    parser.add_argument(
        "--given",
        type=given_level,
        default="true",
        help="noise level to give: true, auto (estimated), or a factor of the true one",
    )
    parser.add_argument("--csv", type=Path, required=True)
    options = parser.parse_args()

    regularizer = locreg.load(options.weights)
    checksum = denoiser_version(regularizer)
    known = Measurements(options.csv, KEY, VALUES)
    for sigma in options.sigma:
        rows = []
        files = list_images(options.folder)
        for path in tqdm(files, desc=f"{options.weights} {sigma:g} {options.given}"):
            row = {
                "weights": options.weights,
                "checksum": checksum,
                "folder": options.folder.name,
                "sigma": f"{sigma:g}",
                "given": options.given,
                "image": path.name,
            }
            rows.append(known.once(row, partial(measure, path, regularizer, sigma, options.given)))
        quality, seconds = (sum(float(r[k]) for r in rows) / len(rows) for k in VALUES[2:])
        print(
            f"{options.weights} on {options.folder.name}, sigma {sigma:g} ({options.given}): "
            f"{quality:.2f} dB, mean of {len(rows)} images, {seconds:.1f} s each",
            flush=True,
        )


if __name__ == "__main__":
    main()
