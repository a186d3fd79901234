"""What a wrong guess of the antialiasing costs in upscaling: a table of docs/results.md.

    python benchmarks/antialiasing.py DATA

Four 96x96 crops of bsds500 are shrunk to half their size in several ways, without noise, and
enlarged again: by bicubic interpolation, and by `locreg upscale` with Gaussians of several widths.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import locreg
from locreg.degradation.deepinv_operators import downsampling
from locreg.images.image_file import read_pixels
from locreg.images.metrics import psnr
from locreg.images.sources import list_images

FACTOR = 2
WIDTHS = (0.25, 0.35, 0.5)


def pillow(mode: Image.Resampling) -> Callable[[Tensor], Tensor]:
    """A function that shrinks images with Pillow, as 8-bit images."""

    def smaller(x: Tensor) -> Tensor:
        samples = (x[0].permute(1, 2, 0) * 255).round().byte().numpy()
        size = (samples.shape[1] // FACTOR, samples.shape[0] // FACTOR)
        small = np.asarray(Image.fromarray(samples).resize(size, mode), dtype=np.float32)
        return torch.from_numpy(small).permute(2, 0, 1)[None] / 255

    return smaller


def gaussian(x: Tensor) -> Tensor:
    """Shrink exactly as `locreg upscale` assumes, with an antialiasing of 0.5 pixels."""
    small: Tensor = downsampling(FACTOR, 0.5, (3, *x.shape[-2:]), x.device).A(x)
    return small


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean of 2x2 pixels": lambda x: F.avg_pool2d(x, FACTOR),
    "Lanczos (Pillow)": pillow(Image.Resampling.LANCZOS),
    "bicubic (Pillow)": pillow(Image.Resampling.BICUBIC),
    "Gaussian of 0.5 pixels": gaussian,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    options = parser.parse_args()

    regularizer = locreg.load("denoise-rgb")
    files = list_images(options.data / "bsds500")[5:200:50]
    crops = [torch.from_numpy(read_pixels(f, 3)[None, :, 100:196, 100:196].copy()) for f in files]
    widths = " | ".join(f"{width:g}" for width in WIDTHS)
    print(f"| the small image | bicubic | {widths} |\n| --- | --- |{' --- |' * len(WIDTHS)}")
    for name, smaller in WAYS.items():
        qualities = []
        for clean in crops:
            y = (smaller(clean) * 255).round() / 255
            enlarged = [F.interpolate(y, scale_factor=FACTOR, mode="bicubic")]
            enlarged += [
                locreg.upscale(y, regularizer, FACTOR, antialiasing=width).image for width in WIDTHS
            ]
            qualities.append([psnr(image, clean).item() for image in enlarged])
        print(f"| {name} | {' | '.join(f'{mean:.2f}' for mean in np.mean(qualities, axis=0))} |")


if __name__ == "__main__":
    main()
