"""Unknown degradations: learned from two unpaired folders, then undone.

    python benchmarks/unknown.py DATA OUT --kinds correlated jpeg --csv FILE

DATA holds bsds500 and cbsd68. One half of bsds500 stays clean, the other half is degraded, and both
become folders in OUT. From these two folders, without pairs, the benchmark learns what
`locreg restore` learns: the noise (method noise), or a critic and how strongly to smooth (method
any). Then it restores the photographs of cbsd68, degraded in the same way. The results are compared
with the degraded images, and with bm3d at the best white-noise level for each kind of degradation,
chosen with the ground truth on the centres of every eighth photograph.

    correlated   white noise filtered by outer([1, 2, 1], [1, 2, 1]), of level 0.1
    jpeg         JPEG files of quality 10
    dark         Poisson noise of 40 electrons at white, read-out noise of 2 electrons
    stripes      every line shifted by noise of level 0.08, as in a scanner; white noise of 0.02
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyvips
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

import locreg
from locreg.evaluation.baselines import bm3d_by_its_authors
from locreg.evaluation.measurements import Measurements
from locreg.evaluation.methods import parameter_checksum
from locreg.evaluation.simulation import seed_of
from locreg.images.image_file import ImageFile, read_image, write_image
from locreg.images.metrics import psnr
from locreg.images.patches import centre
from locreg.images.samples import to_unit_range
from locreg.images.sources import list_images
from locreg.solvers.search import best_lam
from locreg.training.learn_damage import critic_path, learn_damage
from locreg.training.output import TrainingRun
from locreg.training.recipes import recipe_for_damage, recipe_for_noise
from locreg.training.train_denoiser import train_denoiser

KEY = ["kind", "method", "version", "image"]
VALUES = ["sigma", "psnr", "seconds"]
METHODS = ["degraded", "noise", "any", "bm3d"]
Pixels = NDArray[np.float32]


def correlated(x: Pixels, random: np.random.Generator) -> Pixels:
    """Add noise of level 0.1 that is similar in neighbouring pixels."""
    line = np.array([1, 2, 1], dtype=np.float32)
    kernel = torch.from_numpy(np.outer(line, line) / np.linalg.norm(np.outer(line, line)))
    shape = (len(x), 1, x.shape[1] + 2, x.shape[2] + 2)
    white = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
    noise: Pixels = F.conv2d(white, kernel[None, None])[:, 0].numpy()
    return x + np.float32(0.1) * noise


def jpeg(x: Pixels, _: np.random.Generator) -> Pixels:
    """Compress as JPEG of quality 10."""
    samples = np.rint(255 * x.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)
    image = pyvips.Image.new_from_array(np.ascontiguousarray(samples))
    content = image.copy(interpretation="srgb").jpegsave_buffer(Q=10)
    compressed = pyvips.Image.new_from_buffer(content, "").numpy()
    return np.ascontiguousarray(to_unit_range(compressed.transpose(2, 0, 1)))


def dark(x: Pixels, random: np.random.Generator) -> Pixels:
    """Imitate a photograph in little light, brightened."""
    electrons = random.poisson(40 * x.clip(0, 1)) + 2 * random.standard_normal(x.shape)
    return (electrons / 40).astype(np.float32)


def stripes(x: Pixels, random: np.random.Generator) -> Pixels:
    """Shift the brightness of every line, as in a scanner, and add white noise."""
    lines: Pixels = random.standard_normal((len(x), x.shape[1], 1), dtype=np.float32)
    white: Pixels = random.standard_normal(x.shape, dtype=np.float32)
    degraded: Pixels = x + np.float32(0.08) * lines + np.float32(0.02) * white
    return degraded


KINDS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "correlated": correlated,
    "jpeg": jpeg,
    "dark": dark,
    "stripes": stripes,
}


def make_folders(data: Path, out: Path, kind: str) -> tuple[Path, Path]:
    """Write a folder of clean images and one of degraded images of other scenes, unclipped."""
    clean, degraded = out / "clean", out / kind
    for index, path in enumerate(tqdm(list_images(data / "bsds500"), f"folders for {kind}")):
        target = (degraded if index % 2 else clean) / f"{path.stem}.tif"
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = read_image(path).pixels
        if index % 2:
            random = np.random.default_rng(seed_of(path.name))
            pixels = KINDS[kind](pixels, random)
        # Float files keep values below 0 and above 1.
        write_image(target, pixels, ImageFile(pixels, None, "float32"))
    return clean, degraded


def trained(data: Path, out: Path, kind: str, damage: str) -> locreg.LocalRegularizer:
    """Load the weights for a degradation; train them first if they are missing."""
    path = out / f"{kind}-{damage}.safetensors"
    unfinished = TrainingRun(output=path).is_interrupted()
    if path.exists() and not unfinished:
        return locreg.load(path)
    clean, degraded = make_folders(data, out, kind)
    if damage == "noise":
        recipe = recipe_for_noise((clean,), degraded, 3)
        train_denoiser(recipe, TrainingRun(output=path, resume=unfinished))
    else:
        critic = critic_path(path)
        started = TrainingRun(output=critic).is_interrupted() or critic.exists()
        learn_damage(
            recipe_for_damage((clean,), degraded, 3), TrainingRun(output=path, resume=started)
        )
    return locreg.load(path)


def best_level(kind: str, paths: list[Path]) -> float:
    """The white-noise level at which bm3d restores a kind of degradation best."""
    pairs = [observed(kind, path, 192) for path in paths[::8]]

    def quality(sigma: float) -> float:
        return float(
            np.mean([psnr(bm3d_by_its_authors(y, sigma), clean).item() for clean, y in pairs])
        )

    return best_lam(quality, 0.1, reach=12)[0]


def observed(kind: str, path: Path, size: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph (1, 3, H, W) and its degraded version; or the centres of this size of both."""
    clean = read_image(path).pixels
    y = KINDS[kind](clean, np.random.default_rng(seed_of(path.name)))
    if size is not None:
        clean, y = centre(clean, size).copy(), centre(y, size).copy()
    return torch.from_numpy(clean)[None], torch.from_numpy(y)[None]


def main() -> None:
    """Train what is missing, measure what is not in the CSV file yet, then print means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument(
        "--pictures", type=int, default=2, help="restored images to write for each kind"
    )
    options = parser.parse_args()

    known = Measurements(options.csv, KEY, VALUES)
    for kind in options.kinds:
        weights = {
            method: trained(options.data, options.out, kind, method)
            for method in options.methods
            if method in ("noise", "any")
        }
        version = {method: parameter_checksum(model) for method, model in weights.items()}
        paths = list_images(options.data / "cbsd68")
        level = cache(partial(best_level, kind, paths))
        rows = {method: list[float]() for method in options.methods}
        for index, path in enumerate(tqdm(paths, kind)):
            clean, y = observed(kind, path)
            for method in options.methods:
                row = {
                    "kind": kind,
                    "method": method,
                    "version": version.get(method, ""),
                    "image": path.name,
                }
                line = known.find(row)
                if line is None:
                    sigma = level() if method == "bm3d" else None
                    begin, image = time.perf_counter(), y
                    if method in weights:
                        image = locreg.restore(y, weights[method]).image
                    if sigma is not None:
                        image = bm3d_by_its_authors(y, sigma)
                    seconds = time.perf_counter() - begin
                    quality = psnr(image, clean).item()
                    values = {"psnr": f"{quality:.4f}", "seconds": f"{seconds:.2f}"}
                    values["sigma"] = "" if sigma is None else f"{sigma:g}"
                    line = known.add(row | values)
                    if index < options.pictures:
                        target = options.out / f"{kind}-{path.stem}-{method}.png"
                        write_image(target, image[0].numpy())
                rows[method].append(float(line["psnr"]))
        for method, qualities in rows.items():
            print(f"{kind}, {method}: {np.mean(qualities):.2f} dB, {len(qualities)} images")


if __name__ == "__main__":
    main()
