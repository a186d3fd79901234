"""The folder that the paper's tables and figures grow in: data, trained weights, pictures."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from locreg import paper
from locreg.epll import fit_mixture, save_mixture
from locreg.errors import LocregError
from locreg.files import make_folder, write_atomically
from locreg.images import ImageSource, list_images, list_sources
from locreg.options import NoiseRange
from locreg.patches import PatchPool, split_sources
from locreg.pictures import encode
from locreg.recipes import train_from_folders
from locreg.training_files import can_resume
from locreg.training_options import (
    RIDGE_TRAINING,
    CriticOptions,
    DataOptions,
    Recipe,
    RidgeCriticOptions,
    TrainingOptions,
)

TRAINING, BENCHMARK = "bsds500", "cbsd68"
_LISTING = 685894639  # of the photographs that the packaged critics were trained on


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of the paper's work is done.

    Attributes:
        warning: said on every figure and table; empty for the whole work.
        iterations, validations, widths: of the trainings.
        filters, ridge_iterations, ridge_patch: of the ridge critics.
        packaged: take the packaged critic for the noise range [0.05, 0.3], which was trained with
            the same constants but for 30,000 iterations, instead of training it again.
        calibration_images, calibration_size: for lam.
        table1_images: number of validation images.
        table2_images: number of images of the benchmark; None is all 68.
        crop: side of the centre crops; None takes whole images.
        figure_crop: side of the squares that figures 4 and 5 show.
        figure_patches: number of patches of figure 3.
        mixture_components, mixture_patches, mixture_iterations: of EPLL.
        circle_iterations: of figure 1.
    """

    warning: str = ""
    iterations: int = 15_000
    validations: int = 3
    widths: tuple[int, ...] = CriticOptions().widths
    filters: int = 96
    ridge_iterations: int = 1_500
    ridge_patch: int = 60
    packaged: bool = True
    calibration_images: int = 8
    calibration_size: int = 128
    table1_images: int = paper.TABLE1_IMAGES
    table2_images: int | None = None
    crop: int | None = None
    figure_crop: int = 200
    figure_patches: int = 20_000
    mixture_components: int = 200
    mixture_patches: int = 200_000
    mixture_iterations: int = 40
    circle_iterations: int = 1000


QUICK = Scale(
    warning="Quick run: small networks, few iterations, crops of few images.",
    iterations=300,
    validations=1,
    widths=(16,) * 6,
    filters=8,
    ridge_iterations=60,
    ridge_patch=24,
    packaged=False,
    calibration_images=1,
    calibration_size=48,
    table1_images=2,
    table2_images=2,
    crop=96,
    figure_crop=96,
    figure_patches=2_000,
    mixture_components=10,
    mixture_patches=20_000,
    mixture_iterations=5,
)


def machine() -> dict[str, Any]:
    """What the times were taken on."""
    return {"cores": os.cpu_count(), "torch": str(torch.__version__)}


@dataclass(frozen=True)
class Reproduction:
    """A folder that the tables and figures grow in.

    Attributes:
        data: holds the folders bsds500, to train on, and cbsd68, to test on.
        out: where everything is written; what lies there already is not made again.
        scale: how much is done.
        processes: of the evaluations.
        say: told what begins.
    """

    data: Path
    out: Path
    scale: Scale = Scale()
    processes: int = 1
    say: Callable[[str], None] = print
    # The seconds of its parts, in order; the log may hold those of other processes too.
    _spent: list[float] = field(default_factory=list, init=False, repr=False, compare=False)

    def check_data(self) -> None:
        """Refuse folders that are missing, or of which one holds images of the other.

        Raises:
            LocregError: when it is so.
        """
        if not (self.data / TRAINING).is_dir():
            raise LocregError(
                f"{self.data} must hold the folders {TRAINING} (photographs to train on) and "
                f"{BENCHMARK} (those of BSD68, in colour)."
            )
        tested = {path.stem for path in self.benchmark()}
        both = sorted(tested & {path.stem for path in self._training()})
        if both:
            raise LocregError(
                f"{len(both)} images lie in both {TRAINING} and {BENCHMARK}, such as {both[0]}: "
                f"leave those to test on out of {TRAINING} (they are in the val folder of BSDS500)."
            )

    def benchmark(self) -> list[Path]:
        """The images to test on; none where the folder is missing."""
        folder = self.data / BENCHMARK
        return list_images(folder) if folder.is_dir() else []

    @cached_property
    def validation(self) -> list[ImageSource]:
        """The held-out images of every recipe, on which the best of its iterates is chosen."""
        _, held_out = split_sources(
            [self.data / TRAINING], held_out=DataOptions().held_out, seed=DataOptions().seed
        )
        return held_out

    def critic(self, noise: NoiseRange) -> str:
        """Weights for this noise of the training, trained if they are missing: a name or a path."""
        if self.scale.packaged and not noise.one_level and self._listing() == _LISTING:
            return "alr-rgb"  # the same images are held out of it
        return self._trained("alr", noise, self._recipe(noise))

    def ridge(self, noise: NoiseRange) -> str:
        """Weights of a ridge critic for this noise, trained if they are missing."""
        return self._trained("ridge", noise, self._ridge_recipe(noise))

    def _trained(self, kind: str, noise: NoiseRange, recipe: Recipe) -> str:
        path = self.out / "weights" / f"{kind}-{str(noise).replace(':', '-')}.safetensors"
        unfinished = can_resume(path)
        if path.exists() and not unfinished:
            return str(path)
        make_folder(path.parent)
        self.say(f"training {path.stem}")
        with self.timed(path.stem):
            train_from_folders(path, recipe, resume=unfinished)
        return str(path)

    def _listing(self) -> int:
        """Checksum of the names of the training images, which decide what is held out."""
        names = [path.relative_to(self.data / TRAINING).as_posix() for path in self._training()]
        return zlib.crc32("\n".join(names).encode())

    def _training(self) -> list[Path]:
        return list_images(self.data / TRAINING)

    def _recipe(self, noise: NoiseRange) -> Recipe:
        """That of the packaged critics for a range of levels, but for the number of iterations.

        For one level the paper's penalty, and common patches: little noise is hard to tell from
        other scenes.
        """
        scale = self.scale
        return Recipe(
            clean=self.data / TRAINING,
            noise=noise,
            critic=CriticOptions(widths=scale.widths),
            data=DataOptions(
                common_patches=noise.one_level,
                validation_sigma=0.1,
                validation_size=96 if scale.crop is None else 32,
                calibration_images=scale.calibration_images,
                calibration_size=scale.calibration_size,
            ),
            training=TrainingOptions(
                iterations=scale.iterations,
                validate_every=max(scale.iterations // scale.validations, 1),
                checkpoint_every=max(min(scale.iterations // 4, 1000), 1),
                weight_average=0.999 if scale.iterations > 5_000 else 0.9,
                penalty=5.0 if noise.one_level else 0.1,
            ),
        )

    def _ridge_recipe(self, noise: NoiseRange) -> Recipe:
        """Of ridge critics (docs/weights.md): unpaired patches of 60x60 pixels, a few minutes."""
        scale = self.scale
        return Recipe(
            clean=self.data / TRAINING,
            noise=noise,
            critic=RidgeCriticOptions(filters=scale.filters),
            data=DataOptions(
                validation_sigma=0.1,
                validation_size=96 if scale.crop is None else 32,
                calibration_images=max(scale.calibration_images // 2, 1),
                calibration_size=min(scale.calibration_size, 96),
            ),
            training=replace(
                RIDGE_TRAINING,
                iterations=scale.ridge_iterations,
                patch_size=scale.ridge_patch,
                validate_every=scale.ridge_iterations,
                checkpoint_every=250,
            ),
        )

    def mixture(self) -> Path:
        """The mixture of patches for EPLL, fitted if it is missing."""
        path = self.out / "weights" / "epll-rgb.safetensors"
        if not path.exists():
            make_folder(path.parent)
            self.say("fitting the mixture of EPLL")
            pool = PatchPool(
                list_sources([self.data / TRAINING]), size=8, channels=3, seed=DataOptions().seed
            )
            with self.timed(path.stem):
                fitted = fit_mixture(
                    pool,
                    components=self.scale.mixture_components,
                    patches=self.scale.mixture_patches,
                    iterations=self.scale.mixture_iterations,
                )
            save_mixture(fitted, path)
        return path

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Write to out/log.jsonl how long a part took, without the parts within it.

        A part that is interrupted is logged too, and once more when it goes on.
        """
        begin, parts_before, finished = time.perf_counter(), len(self._spent), False
        try:
            yield
            finished = True
        finally:
            seconds = time.perf_counter() - begin - sum(self._spent[parts_before:])
            self._spent.append(seconds)
            record = {"part": part, "seconds": round(seconds, 1), "finished": finished}
            record |= {"processes": self.processes, **machine()}
            with (self.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")

    def logged(self) -> list[dict[str, Any]]:
        """A record of every part that ran so far, of repeated ones too."""
        log = self.out / "log.jsonl"
        # A line that a killed run cut off is left out.
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def draw(self, name: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
        """Draw a figure to out/NAME.png; returns the markdown that shows it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        if self.scale.warning:
            figure.suptitle(self.scale.warning, fontsize=9, color="crimson")
        write_atomically(self.out / f"{name}.png", encode(figure, resolution=110))
        return f"![{name}]({name}.png)"
