"""Every table and figure of the paper, made again: train what is missing, run, draw, compare."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from locreg import paper, paper_figures
from locreg.circle import train_potential
from locreg.epll import fit_mixture, save_mixture
from locreg.errors import LocregError
from locreg.evaluation import evaluate
from locreg.evaluation_options import EvaluationOptions
from locreg.files import make_folder, write_atomically
from locreg.images import ImageSource, list_sources, read_samples, to_channels, to_unit_range
from locreg.kernels import read_kernel
from locreg.methods import EPLL, LOCREG, find_method, how_to_install
from locreg.options import NoiseRange
from locreg.paper_tables import compare_table1, compare_table2
from locreg.patches import PatchPool, split_sources
from locreg.problems import Photograph, Problem, deblurring, denoising
from locreg.recipes import checkpoint_path, train_from_folders
from locreg.regularizer import load
from locreg.training_options import CriticOptions, DataOptions, Recipe, TrainingOptions
from locreg.validation import add_noise, psnr

TRAINING, BENCHMARK = "bsds500", "cbsd68"
_FIGURE4_IMAGE = "119082.png"
_FIGURE5_IMAGE = "101087.png"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of the paper's work is done.

    Attributes:
        warning: said on every figure and table; empty for the whole work.
        iterations, widths: of the trainings.
        packaged: take the packaged critic for the noise range [0.05, 0.3], which was trained with
            the same constants, instead of training it again.
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
    widths: tuple[int, ...] = CriticOptions().widths
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
    iterations=600,
    widths=(16,) * 6,
    packaged=False,
    calibration_images=1,
    calibration_size=64,
    table1_images=2,
    table2_images=2,
    crop=96,
    figure_crop=96,
    figure_patches=2_000,
    mixture_components=10,
    mixture_patches=20_000,
    mixture_iterations=5,
)


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

    @cached_property
    def validation(self) -> list[ImageSource]:
        """The images of bsds500 that no training sees: the held-out ones of every recipe."""
        _, held_out = split_sources(
            [self.data / TRAINING], held_out=DataOptions().held_out, seed=DataOptions().seed
        )
        return held_out

    def critic(self, noise: NoiseRange) -> str:
        """Weights for this noise of the training, trained if they are missing: a name or a path."""
        if self.scale.packaged and noise.low < noise.high:
            return "alr-rgb"
        path = self.out / "weights" / f"alr-{str(noise).replace(':', '-')}.safetensors"
        unfinished = checkpoint_path(path).exists()
        if path.exists() and not unfinished:
            return str(path)
        make_folder(path.parent)
        self.say(f"training the critic for noise in {noise}")
        train_from_folders(path, self._recipe(noise), resume=unfinished)
        return str(path)

    def _recipe(self, noise: NoiseRange) -> Recipe:
        """That of the packaged critics."""
        scale = self.scale
        return Recipe(
            clean=self.data / TRAINING,
            noise=noise,
            critic=CriticOptions(widths=scale.widths),
            data=DataOptions(
                validation_sigma=0.1,
                validation_size=96 if scale.crop is None else 32,
                calibration_images=scale.calibration_images,
                calibration_size=scale.calibration_size,
            ),
            training=TrainingOptions(
                iterations=scale.iterations,
                validate_every=max(scale.iterations // 3, 1),
                weight_average=0.999 if scale.iterations > 5_000 else 0.9,
                penalty=0.1,
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
            fitted = fit_mixture(
                pool,
                components=self.scale.mixture_components,
                patches=self.scale.mixture_patches,
                iterations=self.scale.mixture_iterations,
            )
            save_mixture(fitted, path)
        return path

    def draw(self, name: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
        """Draw a figure to out/NAME.png; returns the markdown that shows it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        if self.scale.warning:
            figure.suptitle(self.scale.warning, fontsize=9, color="crimson")
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=110)
        write_atomically(self.out / f"{name}.png", content.getvalue())
        return f"![{name}]({name}.png)"


def figure1(run: Reproduction) -> str:
    """The potential learned around a circle."""
    potential = train_potential(run.scale.circle_iterations)
    return run.draw("fig1", (6.4, 5.4), lambda f: paper_figures.draw_circle(f, potential))


def figure2(run: Reproduction) -> str:
    """Clean and noisy patches with their scores."""
    sigma = paper.FIGURE_NOISE.low
    regularizer = load(run.critic(paper.FIGURE_NOISE))
    clean = _patches(run, regularizer.critic.receptive_field, 16)
    rows = {}
    for name, patches in (("clean", clean[:8]), ("noisy", add_noise(clean[8:], sigma, seed=0))):
        rows[name] = (patches, regularizer.critic(patches)[:, 0, 0, 0])
    return run.draw("fig2", (9, 3), lambda f: paper_figures.draw_patches(f, rows))


def figure3(run: Reproduction) -> str:
    """The distribution of scores by noise level, and whether their means rise with it."""
    regularizer = load(run.critic(paper.FIGURE_NOISE))
    clean = _patches(run, regularizer.critic.receptive_field, run.scale.figure_patches)
    scores = {
        sigma: regularizer.critic(add_noise(clean, sigma, seed=0))[:, 0, 0, 0].numpy()
        for sigma in paper.FIGURE3_SIGMAS
    }
    picture = run.draw("fig3", (6.4, 5.6), lambda f: paper_figures.draw_distributions(f, scores))
    means = [float(values.mean()) for values in scores.values()]
    rises = "yes" if means == sorted(means) else "NO"
    listed = ", ".join(f"{m:.3f} at {s:g}" for s, m in zip(scores, means, strict=True))
    return f"{picture}\n\nMean score: {listed}. It rises with the noise level: {rises}."


def table1(run: Reproduction) -> str:
    """PSNR of critics trained on one noise level, on images of another."""
    names = tuple(
        str(path.relative_to(run.data / TRAINING))
        for path in run.validation[: run.scale.table1_images]
        if isinstance(path, Path)
    )
    methods = [LOCREG + run.critic(noise) for noise in paper.TRAINING_NOISE]
    found = evaluate(
        EvaluationOptions(
            test=run.data / TRAINING,
            names=names,
            sigmas=paper.TABLE1_SIGMAS,
            methods=tuple(methods),
            channels=3,
            crop=run.scale.crop,
        ),
        run.out / "table1.csv",
        processes=run.processes,
    )
    _check(found.failures)
    images = ", ".join(Path(name).stem for name in names)
    return f"{compare_table1(found.rows, methods)}\n\nImages of BSDS500, held out: {images}."


def table2(run: Reproduction) -> str:
    """PSNR and LPIPS of ALR, EPLL and BM3D."""
    folder = run.data / BENCHMARK
    names = sorted(path.name for path in folder.glob("*.png"))[: run.scale.table2_images]
    if not names:
        raise LocregError(f"{folder} holds no images: table 2 and figure 4 are made of them.")
    methods = _table2_methods(run)
    found = evaluate(
        EvaluationOptions(
            test=folder,
            names=tuple(names),
            sigmas=paper.TABLE2_SIGMAS,
            methods=tuple(methods.values()),
            channels=3,
            crop=run.scale.crop,
        ),
        run.out / "table2.csv",
        processes=run.processes,
    )
    _check(found.failures)
    return compare_table2(found.rows, methods, found.versions)


def figure4(run: Reproduction) -> str:
    """A noisy image, denoised by the three methods of table 2."""
    problem = denoising(_photograph(run, _FIGURE4_IMAGE), paper.FIGURE4_SIGMA)
    images = [("clean", problem.clean), (_titled("noisy", problem.y, problem), problem.y)]
    for name, method in _table2_methods(run).items():
        image = find_method(method).restore(problem).image
        images.append((_titled(name, image, problem), image))
    return run.draw("fig4", (3 * len(images), 3.3), lambda f: paper_figures.draw_images(f, images))


def figure5(run: Reproduction) -> str:
    """A blurred and noisy image, deblurred."""
    kernel = read_kernel(paper.FIGURE5_KERNEL)
    problem = deblurring(_photograph(run, _FIGURE5_IMAGE), paper.FIGURE5_SIGMA, kernel)
    alr = find_method(LOCREG + run.critic(paper.TRAINING_NOISE[-1])).restore(problem).image
    images = [
        ("clean", problem.clean),
        (_titled("blurred", problem.y, problem), problem.y),
        (_titled("ALR", alr, problem), alr),
    ]
    return run.draw("fig5", (9, 3.3), lambda f: paper_figures.draw_images(f, images))


SECTIONS: dict[str, tuple[str, Callable[[Reproduction], str]]] = {
    "fig1": ("Figure 1: the idea in two dimensions", figure1),
    "fig2": ("Figure 2: scores of patches", figure2),
    "fig3": ("Figure 3: scores by noise level", figure3),
    "table1": ("Table 1: critics on noise that they were not trained on", table1),
    "table2": ("Table 2: beside EPLL and BM3D", table2),
    "fig4": ("Figure 4: denoising", figure4),
    "fig5": ("Figure 5: deblurring", figure5),
}


def reproduce(run: Reproduction, names: list[str]) -> Path:
    """Make these sections, and the page out/results.md of all that were made so far.

    Raises:
        LocregError: when the data are missing, or something cannot be computed.
    """
    if not (run.data / TRAINING).is_dir():
        raise LocregError(
            f"{run.data} must hold the folders {TRAINING} (photographs to train on) and "
            f"{BENCHMARK} (those of BSD68, in colour)."
        )
    make_folder(run.out)
    for name in names:
        title, make = SECTIONS[name]
        run.say(title)
        begin = time.perf_counter()
        text = make(run)
        record = {"section": name, "seconds": round(time.perf_counter() - begin), **_machine()}
        with (run.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        write_atomically(run.out / f"{name}.md", f"## {title}\n\n{text}\n".encode())
    return _write_page(run)


def _write_page(run: Reproduction) -> Path:
    parts = [run.out / f"{name}.md" for name in SECTIONS]
    log = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    hours = sum(record["seconds"] for record in log) / 3600
    machine = _machine()
    head = (
        "# The paper's tables and figures\n\n"
        "Prost, Houdard, Almansa, Papadakis, *Learning local regularization for variational image "
        "restoration*, SSVM 2021, made again by `locreg reproduce`. "
        f"It took {hours:.1f} hours so far, on {machine['cores']} cores with PyTorch "
        f"{machine['torch']}; the times of the parts are in `log.jsonl`.\n"
    )
    warning = f"\n**{run.scale.warning}**\n" if run.scale.warning else ""
    texts = [part.read_text() for part in parts if part.exists()]
    page = run.out / "results.md"
    write_atomically(page, "\n".join([head + warning, *texts]).encode())
    return page


def _machine() -> dict[str, Any]:
    return {"cores": torch.get_num_threads(), "torch": str(torch.__version__)}


def _table2_methods(run: Reproduction) -> dict[str, str]:
    """The paper's names and ours, without what is not installed; denoise-rgb besides."""
    methods = {
        "ALR": LOCREG + run.critic(paper.TRAINING_NOISE[-1]),
        "EPLL": f"{EPLL}{run.mixture()}",
        "BM3D": "bm3d",
        "denoise-rgb": f"{LOCREG}denoise-rgb",
    }
    hint = how_to_install("bm3d")
    if hint is not None:
        run.say(f"BM3D is left out: {hint}.")
        del methods["BM3D"]
    return methods


def _patches(run: Reproduction, size: int, count: int) -> Tensor:
    """Clean patches (count, 3, size, size) of the held-out images."""
    pool = PatchPool(run.validation, size=size, channels=3, seed=0)
    return torch.from_numpy(np.ascontiguousarray(pool.patches(count, 0)))


def _photograph(run: Reproduction, name: str) -> Photograph:
    """The centre of an image of the benchmark."""
    path = run.data / BENCHMARK / name
    pixels = to_unit_range(to_channels(read_samples(path), 3))
    side = run.scale.figure_crop
    top, left = (max(n - side, 0) // 2 for n in pixels.shape[1:])
    square = pixels[:, top : top + side, left : left + side].copy()
    return Photograph(torch.from_numpy(square)[None], name)


def _titled(name: str, image: Tensor, problem: Problem) -> str:
    return f"{name}, {psnr(image, problem.clean).item():.2f} dB"


def _check(failures: list[str]) -> None:
    if failures:
        raise LocregError(f"{len(failures)} cells failed; the first: {failures[0]}")
