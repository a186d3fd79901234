"""PSNR on real noise with ground truth: the table "Real photographs" of docs/results.md.

    python benchmarks/real.py FOLDER --csv real.csv [--methods locreg bm3d]

FOLDER holds ``noisy/`` and ``clean/`` with the same file names. Each method is measured at several
settings: locreg at strengths around 1, the default, and bm3d (colour or grey) at several noise
levels. The printed means are those of the input, of the default, and of the best setting of each
image. Finished rows are not computed again.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import locreg
from locreg.evaluation.measurements import Measurements, Row
from locreg.evaluation.methods import denoiser_version
from locreg.images.image_file import read_pixels
from locreg.images.metrics import psnr
from locreg.images.sources import list_images
from locreg.restoration.defaults import default_weights

KEY = ["folder", "image", "method", "version", "setting"]
VALUES = ["input", "psnr", "found", "seconds"]
SETTINGS = {
    "locreg": (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0),  # strengths
    "bm3d": (13, 18, 24, 32),  # noise levels of 255
}


def by_locreg(y: torch.Tensor, strength: float) -> tuple[torch.Tensor, str]:
    """The default restoration at a strength, and what it found."""
    weights = default_weights(locreg.RestoreOptions(), grey=y.shape[1] == 1)
    options = locreg.RestoreOptions(strength=strength)
    restored = locreg.restore(y, locreg.load(weights), options=options)
    assert restored.noise is not None
    return restored.image, f"{restored.noise.kind} {restored.noise.level:.4f}"


def by_bm3d(y: torch.Tensor, level: float) -> tuple[torch.Tensor, str]:
    """bm3d told a noise level of 255."""
    import bm3d

    pixels = y[0].permute(1, 2, 0).double().numpy()
    grey = pixels.shape[2] == 1
    method = bm3d.bm3d if grey else bm3d.bm3d_rgb
    result = method(pixels[..., 0] if grey else pixels, level / 255)
    result = np.atleast_3d(result).transpose(2, 0, 1)[None]
    return torch.from_numpy(result.astype(np.float32)), ""


METHODS = {"locreg": by_locreg, "bm3d": by_bm3d}


def version(method: str) -> str:
    """What tells versions of a method apart."""
    if method == "bm3d":
        from importlib.metadata import version as installed

        return installed("bm3d")
    return denoiser_version(locreg.load("denoise-rgb"))


def measure(noisy: Path, clean: Path, method: str, setting: float) -> Row:
    """Restore one image at one setting."""
    y, x = (torch.from_numpy(read_pixels(path, channels(noisy)))[None] for path in (noisy, clean))
    start = time.perf_counter()
    restored, found = METHODS[method](y, setting)
    seconds = time.perf_counter() - start
    return {
        "input": f"{psnr(y, x).item():.4f}",
        "psnr": f"{psnr(restored, x).item():.4f}",
        "found": found,
        "seconds": f"{seconds:.2f}",
    }


def channels(path: Path) -> int:
    """1 for a grey file, 3 for a colour file."""
    from locreg.images.image_file import read_image

    return len(read_image(path).pixels)


def main() -> None:
    """Measure what is not in the CSV file yet, then print means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["locreg"])
    options = parser.parse_args()
    known = Measurements(options.csv, KEY, VALUES)
    files = list_images(options.folder / "noisy")
    for method in options.methods:
        of_method = version(method)
        inputs, defaults, best, seconds = [], [], [], []
        for path in tqdm(files, desc=f"{method} {options.folder.name}"):
            rows = {}
            for setting in SETTINGS[method]:
                key = {
                    "folder": options.folder.name,
                    "image": path.name,
                    "method": method,
                    "version": of_method,
                    "setting": f"{setting:g}",
                }
                clean = options.folder / "clean" / path.name
                rows[setting] = known.once(key, partial(measure, path, clean, method, setting))
            inputs.append(float(rows[SETTINGS[method][0]]["input"]))
            best.append(max(float(row["psnr"]) for row in rows.values()))
            if 1.0 in rows:
                defaults.append(float(rows[1.0]["psnr"]))
            seconds += [float(row["seconds"]) for row in rows.values()]
        by_default = f"default {np.mean(defaults):.2f}, " if defaults else ""
        print(
            f"{method} on {options.folder.name}, {len(files)} images: input {np.mean(inputs):.2f}, "
            f"{by_default}best setting of each image {np.mean(best):.2f} dB, "
            f"{np.median(seconds):.1f} s each",
            flush=True,
        )


if __name__ == "__main__":
    main()
