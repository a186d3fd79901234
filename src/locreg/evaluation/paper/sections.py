"""Make every table and figure of the paper, and compare them with the printed numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from locreg.degradation.kernels import read_kernel
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError
from locreg.evaluation.evaluate import evaluate
from locreg.evaluation.methods import EPLL, LOCREG, find_method, how_to_install, label
from locreg.evaluation.options import EvaluationOptions
from locreg.evaluation.paper import figures, printed
from locreg.evaluation.paper.circle import train_potential
from locreg.evaluation.paper.run import BENCHMARK, TRAINING, Reproduction
from locreg.evaluation.paper.tables import compare_table1, compare_table2
from locreg.evaluation.simulation import Photograph, Problem, deblurring, denoising
from locreg.images.files import make_folder, write_atomically
from locreg.images.image_file import read_pixels
from locreg.images.metrics import psnr
from locreg.images.patches import PatchPool, centre
from locreg.regularizer.local_regularizer import load

_FIGURE4_IMAGE = "119082.png"
_FIGURE5_IMAGE = "101087.png"


def figure1(run: Reproduction) -> str:
    """A critic of points around a circle."""
    critic = train_potential(run.scale.circle_iterations)
    return run.draw("fig1", (6.4, 5.4), lambda f: figures.draw_circle(f, critic))


def figure2(run: Reproduction) -> str:
    """Clean and noisy patches with their scores."""
    sigma = printed.FIGURE_NOISE.low
    regularizer = load(run.critic(printed.FIGURE_NOISE))
    clean = _patches(run, regularizer.critic.receptive_field, 16)
    rows = {}
    for name, patches in (("clean", clean[:8]), ("noisy", add_noise(clean[8:], sigma, seed=0))):
        rows[name] = (patches, regularizer.critic(patches)[:, 0, 0, 0])
    return run.draw("fig2", (9, 3), lambda f: figures.draw_patches(f, rows))


def figure3(run: Reproduction) -> str:
    """The distribution of scores at each noise level, and whether the mean score rises with it."""
    regularizer = load(run.critic(printed.FIGURE_NOISE))
    clean = _patches(run, regularizer.critic.receptive_field, run.scale.figure_patches)
    scores = {
        sigma: regularizer.critic(add_noise(clean, sigma, seed=0))[:, 0, 0, 0].numpy()
        for sigma in printed.FIGURE3_SIGMAS
    }
    picture = run.draw("fig3", (6.4, 5.6), lambda f: figures.draw_distributions(f, scores))
    means = [float(values.mean()) for values in scores.values()]
    rises = "yes" if means == sorted(means) else "NO"
    listed = ", ".join(f"{m:.3f} at {s:g}" for s, m in zip(scores, means, strict=True))
    return f"{picture}\n\nMean score: {listed}. It rises with the noise level: {rises}."


def table1(run: Reproduction) -> str:
    """PSNR of critics trained at one noise level, on images with another."""
    names = tuple(
        str(path.relative_to(run.data / TRAINING))
        for path in run.validation[: run.scale.table1_images]
        if isinstance(path, Path)
    )
    kinds = {
        "The critics of the paper": [run.critic(noise) for noise in printed.TRAINING_NOISE],
        "Ridge critics, trained by the same criterion": [
            run.ridge(noise) for noise in printed.TRAINING_NOISE
        ],
    }
    methods = [LOCREG + path for paths in kinds.values() for path in paths]
    evaluation = evaluate(
        EvaluationOptions(
            test=run.data / TRAINING,
            names=names,
            sigmas=printed.TABLE1_SIGMAS,
            methods=tuple(methods),
            channels=3,
            crop=run.scale.crop,
        ),
        run.out / "table1.csv",
        processes=run.processes,
    )
    _check(evaluation.failures)
    tables = [
        f"**{kind}**\n\n{compare_table1(evaluation.rows, [label(LOCREG + path) for path in paths])}"
        for kind, paths in kinds.items()
    ]
    images = ", ".join(Path(name).stem for name in names)
    tables.append(
        "PSNR in dB: ours (the paper's, the difference). The paper does not name its images. Ours "
        f"are images of BSDS500 that are held out of every training: {images}. The training of the "
        "paper's critics keeps the iterate that is best on crops of all held-out images "
        f"({len(run.validation)}), which include these."
    )
    return "\n\n".join(tables)


def table2(run: Reproduction) -> str:
    """PSNR and LPIPS of ALR (the paper's critic), EPLL, BM3D and denoise-rgb."""
    folder = run.data / BENCHMARK
    files = run.benchmark()[: run.scale.table2_images]
    if not files:
        raise LocregError(f"{folder} does not exist: table 2 and figures 4 and 5 need it.")
    names = [path.relative_to(folder).as_posix() for path in files]
    methods = _table2_methods(run)
    evaluation = evaluate(
        EvaluationOptions(
            test=folder,
            names=tuple(names),
            sigmas=printed.TABLE2_SIGMAS,
            methods=tuple(methods.values()),
            channels=3,
            crop=run.scale.crop,
        ),
        run.out / "table2.csv",
        processes=run.processes,
    )
    _check(evaluation.failures)
    labels = {name: label(method) for name, method in methods.items()}
    return compare_table2(evaluation.rows, labels, evaluation.versions)


def figure4(run: Reproduction) -> str:
    """A noisy image, denoised by the methods of table 2."""
    problem = denoising(_photograph(run, _FIGURE4_IMAGE), printed.FIGURE4_SIGMA)
    images = [("clean", problem.clean), (_titled("noisy", problem.y, problem), problem.y)]
    for name, method in _table2_methods(run).items():
        image = find_method(method, "denoise").restore(problem).image
        images.append((_titled(name, image, problem), image))
    return run.draw("fig4", (3 * len(images), 3.3), lambda f: figures.draw_images(f, images))


def figure5(run: Reproduction) -> str:
    """A blurred and noisy image, deblurred."""
    kernel = read_kernel(printed.FIGURE5_KERNEL)
    problem = deblurring(_photograph(run, _FIGURE5_IMAGE), printed.FIGURE5_SIGMA, kernel)
    critic = LOCREG + run.critic(printed.TRAINING_NOISE[-1])
    alr = find_method(critic, "deblur").restore(problem).image
    images = [
        ("clean", problem.clean),
        (_titled("blurred", problem.y, problem), problem.y),
        (_titled("ALR", alr, problem), alr),
    ]
    return run.draw("fig5", (9, 3.3), lambda f: figures.draw_images(f, images))


SECTIONS: dict[str, tuple[str, Callable[[Reproduction], str]]] = {
    "fig1": ("Figure 1: the idea in two dimensions", figure1),
    "fig2": ("Figure 2: scores of patches", figure2),
    "fig3": ("Figure 3: scores by noise level", figure3),
    "table1": ("Table 1: critics on noise that they were not trained on", table1),
    "table2": ("Table 2: compared with EPLL and BM3D", table2),
    "fig4": ("Figure 4: denoising", figure4),
    "fig5": ("Figure 5: deblurring", figure5),
}


def reproduce(run: Reproduction, names: list[str]) -> Path:
    """Make these sections, and the page out/results.md with all sections made so far.

    Raises:
        LocregError: when data are missing, or something cannot be computed.
    """
    run.check_data()
    make_folder(run.out)
    for name in names:
        title, make = SECTIONS[name]
        run.say(title)
        with run.timed(name):
            text = make(run)
        write_atomically(run.out / f"{name}.md", f"## {title}\n\n{text}\n".encode())
    return _write_page(run)


def _write_page(run: Reproduction) -> Path:
    parts = [run.out / f"{name}.md" for name in SECTIONS]
    log = run.logged()
    hours = sum(record["seconds"] for record in log) / 3600
    cores = " or ".join(str(n) for n in sorted({record["cores"] for record in log}))
    versions = " and ".join(sorted({record["torch"] for record in log}))
    head = (
        "# The paper's tables and figures\n\n"
        "Prost, Houdard, Almansa, Papadakis, *Learning local regularization for variational image "
        "restoration*, SSVM 2021, made again by `locreg reproduce`. "
        f"Everything below took {hours:.1f} hours on {cores} cores with PyTorch {versions}; parts "
        "that ran more than once count each time. `log.jsonl` has the times of the parts.\n"
    )
    warning = f"\n**{run.scale.warning}**\n" if run.scale.warning else ""
    texts = [part.read_text() for part in parts if part.exists()]
    page = run.out / "results.md"
    write_atomically(page, "\n".join([head + warning, *texts]).encode())
    return page


def _table2_methods(run: Reproduction) -> dict[str, str]:
    """Our method for each method of the paper, unless it is not installed, and denoise-rgb."""
    methods = {
        "ALR": LOCREG + run.critic(printed.TRAINING_NOISE[-1]),
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
    """The centre crop of an image of the benchmark."""
    pixels = read_pixels(run.data / BENCHMARK / name, 3)
    square = centre(pixels, run.scale.figure_crop).copy()
    return Photograph(torch.from_numpy(square)[None], name)


def _titled(name: str, image: Tensor, problem: Problem) -> str:
    return f"{name}, {psnr(image, problem.clean).item():.2f} dB"


def _check(failures: list[str]) -> None:
    if failures:
        raise LocregError(f"{len(failures)} cells failed; the first: {failures[0]}")
