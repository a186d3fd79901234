"""The output folder of a reproduction: training of weights, figures, and a log of times."""

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

from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError
from locreg.evaluation.epll import fit_mixture, save_mixture
from locreg.evaluation.paper import printed
from locreg.images.archives import ImageSource
from locreg.images.files import make_folder, write_atomically
from locreg.images.patches import PatchPool
from locreg.images.sources import list_images, list_sources, split_sources
from locreg.report.pictures import encode
from locreg.training.calibration import SIGMAS
from locreg.training.options import (
    RIDGE_TRAINING,
    CriticOptions,
    DataOptions,
    RidgeCriticOptions,
    TrainingOptions,
)
from locreg.training.output import TrainingRun
from locreg.training.recipes import CriticRecipe
from locreg.training.train_critic import train_critic

TRAINING, BENCHMARK = "bsds500", "cbsd68"
_LISTING = 685894639  # checksum of the names of the packaged critics' training photographs


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of the paper's work to do.

    Attributes:
        warning: shown on the page and on every figure; empty for the full reproduction.
        iterations, validations, widths: number of iterations and of validations, and widths, of the
            paper's critics.
        filters, ridge_iterations, ridge_patch: number of filters, number of iterations and patch
            size in pixels of the ridge critics.
        packaged: whether to use the packaged critic for the noise range [0.05, 0.3] instead of
            training one. It was trained with the same constants, but for 30,000 iterations.
        calibration_images, calibration_size: number of images that lam is fitted on, and the side
            of their crops in pixels.
        table1_images: number of held-out images that table 1 is measured on.
        table2_images: number of benchmark images that table 2 is measured on; None: all 68.
        crop: side of the centre crops to measure on, in pixels; None: whole images.
        figure_crop: side of the centre crops in figures 4 and 5, in pixels.
        figure_patches: number of patches in figure 3.
        mixture_components, mixture_patches, mixture_iterations: see
            `locreg.evaluation.epll.fit_mixture`.
        circle_iterations: number of iterations of the critic in figure 1.
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
    table1_images: int = printed.TABLE1_IMAGES
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
    """The machine that times are measured on."""
    return {"cores": os.cpu_count(), "torch": str(torch.__version__)}


@dataclass(frozen=True)
class Reproduction:
    """A reproduction of the paper, and the folder with its tables and figures.

    Attributes:
        data: folder with the folders bsds500, to train on, and cbsd68, to test on.
        out: output folder; weights and measurements that it already has are not made again.
        scale: how much to do.
        processes: number of processes that evaluate.
        say: called with a sentence about each part when it begins.
    """

    data: Path
    out: Path
    scale: Scale = Scale()
    processes: int = 1
    say: Callable[[str], None] = print
    # Seconds of the parts that this object timed, in order; the log may also hold those of others.
    _spent: list[float] = field(default_factory=list, init=False, repr=False, compare=False)

    def check_data(self) -> None:
        """Check that the training images exist, and that none of them is a benchmark image.

        Raises:
            LocregError: when there is no folder of training images, or an image is in both folders.
        """
        if not (self.data / TRAINING).is_dir():
            raise LocregError(
                f"{self.data} must hold the folders {TRAINING} (photographs to train on) and "
                f"{BENCHMARK} (the colour images of BSD68)."
            )
        tested = {path.stem for path in self.benchmark()}
        both = sorted(tested & {path.stem for path in self._training()})
        if both:
            raise LocregError(
                f"{len(both)} images are in both {TRAINING} and {BENCHMARK}, such as {both[0]}: "
                f"remove the test images from {TRAINING} (they are in the val folder of BSDS500)."
            )

    def benchmark(self) -> list[Path]:
        """The images to test on; empty if the folder is missing."""
        folder = self.data / BENCHMARK
        return list_images(folder) if folder.is_dir() else []

    @cached_property
    def validation(self) -> list[ImageSource]:
        """The held-out images of all trainings; each training keeps the iterate best on them."""
        _, held_out = split_sources(
            [self.data / TRAINING], held_out=DataOptions().held_out, seed=DataOptions().seed
        )
        return held_out

    def critic(self, noise: NoiseRange) -> str:
        """Weights of the paper's critic for this noise, trained if missing: a name or a path."""
        if self.scale.packaged and not noise.one_level and self._listing() == _LISTING:
            return "alr-rgb"  # it has the same held-out images
        return self._trained("alr", noise, self._recipe(noise))

    def ridge(self, noise: NoiseRange) -> str:
        """Path of the weights of a ridge critic for this noise, trained if missing."""
        return self._trained("ridge", noise, self._ridge_recipe(noise))

    def _trained(self, kind: str, noise: NoiseRange, recipe: CriticRecipe) -> str:
        path = self.out / "weights" / f"{kind}-{str(noise).replace(':', '-')}.safetensors"
        run = TrainingRun(output=path)
        interrupted = run.is_interrupted()
        if path.exists() and not interrupted:
            return str(path)
        make_folder(path.parent)
        self.say(f"training {path.stem}")
        with self.timed(path.stem):
            train_critic(recipe, replace(run, resume=interrupted))
        return str(path)

    def _listing(self) -> int:
        """Checksum of the names of the training images, which determine the held-out ones."""
        names = [path.relative_to(self.data / TRAINING).as_posix() for path in self._training()]
        return zlib.crc32("\n".join(names).encode())

    def _training(self) -> list[Path]:
        return list_images(self.data / TRAINING)

    def _recipe(self, noise: NoiseRange) -> CriticRecipe:
        """Recipe of the paper's critic.

        For a noise range it is the recipe of the packaged critics, with fewer iterations. A single
        noise level takes the paper's penalty, and common patches: with patches of other images,
        weak noise is hard to learn.
        """
        scale = self.scale
        return CriticRecipe(
            clean=self.data / TRAINING,
            noise=noise,
            critic=CriticOptions(widths=scale.widths),
            data=DataOptions(
                common_patches=noise.one_level,
                validation_sigma=0.1,
                validation_size=96 if scale.crop is None else 32,
                calibration_images=scale.calibration_images,
                calibration_size=scale.calibration_size,
                calibration_sigmas=SIGMAS,  # Table 1 restores at levels of other trainings, too
            ),
            training=TrainingOptions(
                iterations=scale.iterations,
                validate_every=max(scale.iterations // scale.validations, 1),
                checkpoint_every=max(min(scale.iterations // 4, 1000), 1),
                weight_average=0.999 if scale.iterations > 5_000 else 0.9,
                penalty=5.0 if noise.one_level else 0.1,
            ),
        )

    def _ridge_recipe(self, noise: NoiseRange) -> CriticRecipe:
        """Recipe of a ridge critic (docs/weights.md): unpaired patches, a few minutes."""
        scale = self.scale
        return CriticRecipe(
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
        """Path of the mixture of patches for EPLL, fitted if missing."""
        path = self.out / "weights" / "epll-rgb.safetensors"
        if not path.exists():
            make_folder(path.parent)
            self.say("fitting the mixture of EPLL")
            pool = PatchPool(
                list_sources([self.data / TRAINING]), size=8, channels=3, seed=DataOptions().seed
            )
            with self.timed(path.stem):
                mixture = fit_mixture(
                    pool,
                    components=self.scale.mixture_components,
                    patches=self.scale.mixture_patches,
                    iterations=self.scale.mixture_iterations,
                )
            save_mixture(mixture, path)
        return path

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Write to out/log.jsonl how long a part took, not counting the timed parts within it.

        An interrupted part is logged as well, and again when it is continued.
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
        """One record for each run of a part, including repeated runs."""
        log = self.out / "log.jsonl"
        # A last line that was cut off when the run was killed is left out.
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def draw(self, name: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
        """Draw a figure and write it to out/NAME.png; returns the markdown that shows it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        if self.scale.warning:
            figure.suptitle(self.scale.warning, fontsize=9, color="crimson")
        write_atomically(self.out / f"{name}.png", encode(figure, resolution=110))
        return f"![{name}]({name}.png)"
