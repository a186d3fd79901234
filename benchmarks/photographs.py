"""Make the free training photographs, and the held-back ones with strong colours.

    python benchmarks/photographs.py OUT

The photographs and drawings of ``photographs.csv`` come from packages of Debian 12 and from
scikit-image. A checksum of each file is compared with that list. Each image is shrunk 2 to 4 times,
so that nothing of its own noise and compression is left. ``OUT/training`` gets tiles of at most
512x512 pixels, ``OUT/strong-colours`` the middle 256x256 pixels of each held-back photograph.

It needs a Debian system with ``apt-get`` and ``dpkg-deb``, and 400 MB of disk.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import subprocess
from pathlib import Path

import numpy as np
import pyvips
import skimage

from locreg.images.image_file import write_image
from locreg.images.patches import centre

LIST = Path(__file__).with_name("photographs.csv")
LONG_SIDE = 1280  # to which large images are shrunk, in pixels
TILE = 512  # largest side of a training tile, in pixels
SMALL = 720  # small images with a side up to this, in pixels, are not shrunk


def unpacked(package: str, folder: Path) -> Path:
    """The folder with the files of a Debian package, which is downloaded if it is not there."""
    target = folder / package
    if not target.is_dir():
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "--extract", archive, target], check=True)
    return target


def original(row: dict[str, str], folder: Path) -> Path:
    """The file of one row of the list.

    Raises:
        SystemExit: when its checksum differs from that of the list.
    """
    if row["package"] == "scikit-image":
        path = Path(skimage.__file__).parent.parent / row["file"]
    else:
        path = unpacked(row["package"], folder) / row["file"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
        raise SystemExit(f"{path} is not the file of the list: its checksum differs.")
    return path


def shrunk(path: Path) -> np.ndarray:
    """An image (3, H, W) in [0, 1], shrunk 2 to 4 times unless it is small already."""
    image = pyvips.Image.new_from_file(str(path)).colourspace("srgb")
    image = image.flatten() if image.hasalpha() else image
    longest = max(image.width, image.height)
    factor = 1.0 if longest <= SMALL else min(max(longest / LONG_SIDE, 2.0), 4.0)
    pixels: np.ndarray = image.resize(1 / factor, kernel="lanczos3").numpy()
    return pixels.transpose(2, 0, 1).astype(np.float32) / 255


def tiles(pixels: np.ndarray) -> list[np.ndarray]:
    """Cut an image (C, H, W) into the fewest tiles of equal size, with sides up to `TILE`."""
    rows, columns = (math.ceil(n / TILE) for n in pixels.shape[1:])
    return [
        tile
        for band in np.array_split(pixels, rows, axis=1)
        for tile in np.array_split(band, columns, axis=2)
    ]


def main() -> None:
    """Make both folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    for name in ("packages", "training", "strong-colours"):
        (out / name).mkdir(parents=True, exist_ok=True)
    with LIST.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for number, row in enumerate(rows):
        pixels = shrunk(original(row, out / "packages"))
        if row["role"] == "training":
            parts, folder = tiles(pixels), out / "training"
        else:
            parts, folder = [centre(pixels, 256)], out / "strong-colours"
        for part_number, part in enumerate(parts):
            target = folder / f"{number:02d}-{part_number}.png"
            write_image(target, part)
    print(f"{len(rows)} images: see {out}/training and {out}/strong-colours")


if __name__ == "__main__":
    main()
