"""Mean PSNR of a denoiser on a whole folder of photographs: the figures of docs/results.md.

    python benchmarks/denoise.py FOLDER --weights alr-rgb --sigma 0.1 --csv results.csv

White Gaussian noise is added in floating point and not clipped, from a seed that depends on the
file's name and the level alone. Images are restored with the paper's solver at the stored lam and
measured after clipping to [0, 1]. One line of the CSV is one image; a finished line is not computed
again, so that an interrupted run resumes; a checksum of the weights keeps other weights apart.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from pathlib import Path

import torch
from tqdm import tqdm

import locreg
from locreg.images import list_images, read_samples, to_channels, to_unit_range
from locreg.validation import add_noise, psnr

COLUMNS = [
    "weights",
    "checksum",
    "folder",
    "sigma",
    "given",
    "image",
    "used_sigma",
    "lam",
    "psnr",
    "seconds",
]


def key(row: dict[str, str]) -> tuple[str, ...]:
    """What makes two lines the same measurement."""
    return tuple(row[name] for name in COLUMNS[:6])


def finished(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
    """The measurements that are in the file already."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {key(row): row for row in csv.DictReader(file)}


def parameter_checksum(regularizer: locreg.LocalRegularizer) -> int:
    """Tells critics apart, and the lam that is stored with them."""
    checksum = zlib.crc32(repr(regularizer.calibration).encode())
    for parameter in regularizer.critic.parameters():
        checksum = zlib.crc32(parameter.numpy().tobytes(), checksum)
    return checksum


def measure(path: Path, regularizer: locreg.LocalRegularizer, sigma: float, given: str) -> dict:
    """Degrade, restore and compare one image."""
    pixels = to_unit_range(to_channels(read_samples(path), regularizer.in_channels))
    clean = torch.from_numpy(pixels)[None]
    noisy = add_noise(clean, sigma, zlib.crc32(f"{path.name} {sigma:g}".encode()))
    found = locreg.restore(noisy, regularizer, sigma="auto" if given == "auto" else sigma)
    return {
        "used_sigma": f"{found.sigma:.5f}",
        "lam": f"{found.lam:.6g}",
        "psnr": f"{psnr(found.image, clean).item():.4f}",
        "seconds": f"{found.seconds:.2f}",
    }


def main() -> None:
    """Measure every image that is not in the file yet, then print means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--sigma", type=float, nargs="+", required=True)
    parser.add_argument("--given", choices=["true", "auto"], default="true")
    parser.add_argument("--csv", type=Path, required=True)
    options = parser.parse_args()

    regularizer = locreg.load(options.weights)
    checksum = f"{parameter_checksum(regularizer):08x}"
    files = list_images(options.folder)
    for sigma in options.sigma:
        known = finished(options.csv)
        values = []
        for path in tqdm(files, desc=f"{options.weights} {sigma:g} {options.given}"):
            row = {
                "weights": options.weights,
                "checksum": checksum,
                "folder": options.folder.name,
                "sigma": f"{sigma:g}",
                "given": options.given,
                "image": path.name,
            }
            if key(row) not in known:
                row |= measure(path, regularizer, sigma, options.given)
                new = not options.csv.exists()
                with options.csv.open("a", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    if new:
                        writer.writeheader()
                    writer.writerow(row)
            else:
                row = known[key(row)]
            values.append((float(row["psnr"]), float(row["seconds"])))
        mean = sum(value for value, _ in values) / len(values)
        seconds = sum(second for _, second in values) / len(values)
        print(
            f"{options.weights} on {options.folder.name}, sigma {sigma:g} ({options.given}): "
            f"{mean:.2f} dB, mean of {len(values)} images, {seconds:.1f} s each",
            flush=True,
        )


if __name__ == "__main__":
    main()
