"""Damage that need not be noise, known by examples only: a critic tells how strongly to smooth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from locreg.errors import LocregError, UsageError
from locreg.patches import split_sources
from locreg.recipes import train_from_folders
from locreg.regularizer import LocalRegularizer
from locreg.training_files import check_made_alike, check_new_output, checkpoint_path
from locreg.training_options import Recipe, RidgeCriticOptions
from locreg.validation import add_noise, growing_root, load_crops
from locreg.weights import Weights, load_weights, save_weights

_IMAGES = 100  # of each folder, that are scored
_IMAGE_SIDE = 160  # of their centres, in pixels
_RESTORED = 32  # of each folder, that are smoothed again and again
_CONTENT_NOISE, _CONTENT_LEVEL = 0.3, 0.35  # that leave of an image what it shows, no damage
_LEVELS = tuple(0.005 * 1.4**step for step in range(13))  # up to 0.28
_MOST_EXCESS_LEFT = 0.5  # as a share of what there was
_REFINEMENTS = 4
_HIGHEST_LEVEL = 0.5  # that the packaged energies serve
_LEAST_ERRORS = 2  # standard errors, from which on damage is no chance
_NO_STRENGTH = (
    "No strength of smoothing makes the degraded images look to the critic as the clean ones do: "
    "their damage may be of another kind. Choose the strength by eye (locreg denoise --sigma)."
)


def critic_path(output: Path) -> Path:
    """Where the critic lies that found the strength of a weight file."""
    return output.with_name(f"{output.stem}.critic.safetensors")


def learn_damage(
    output: Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> Weights:
    """An energy at the strength that undoes the damage of a folder, as a weight file.

    A ridge critic learns to tell the degraded images from the clean ones. It is kept beside the
    output, for score maps. Then the strength is found at which the packaged energy for photographs
    undoes the damage (`strength_of_damage`). That takes a few minutes and is not resumed.

    Args:
        output: the weight file.
        recipe: of the critic (`recipe_for_damage`).
        resume: continue from what an interrupted run of the same recipe has left.
        command: what to record as the command that made the files.

    Raises:
        UsageError: when the recipe is that of another critic, or has synthetic noise.
        LocregError: as `train_from_folders`; when no strength is found.
    """
    if recipe.degraded is None or not isinstance(recipe.critic, RidgeCriticOptions):
        raise UsageError("Damage is learned from degraded images, by a ridge critic.")
    check_new_output(output)
    path = critic_path(output)
    if resume and path.exists() and not checkpoint_path(path).exists():
        critic = load_weights(path)
        check_made_alike(path, critic, "wasserstein", recipe)
    else:
        critic = train_from_folders(
            path, recipe, resume=resume, device=device, command=command, progress=progress
        )
    channels = recipe.critic.channels
    energy = load_weights("denoise-gray" if channels == 1 else "denoise-rgb")
    folders = []
    for paths in (recipe.clean_paths, recipe.degraded_paths):
        files, _ = split_sources(paths, held_out=0, seed=recipe.data.seed)
        some, white = files[:_IMAGES], recipe.data.white
        crops = load_crops(some, size=_IMAGE_SIDE, channels=channels, white=white)
        folders.append([x.to(device) for x in crops])
    level = strength_of_damage(
        LocalRegularizer(energy).to(device),
        LocalRegularizer(critic).to(device),
        *folders,
        seed=recipe.data.seed,
        progress=progress,
    )
    made = ("command", "locreg", "iterations", "clean", "degraded", "files", "data")
    weights = Weights(
        critic=energy.critic.cpu(),
        criterion={
            **energy.criterion,
            "name": "damage",
            "level": level,
            "white": recipe.data.white,
        },
        training={**{key: critic.training[key] for key in made}, "energy": energy.training},
    )
    save_weights(weights, output)
    return weights


def strength_of_damage(
    energy: LocalRegularizer,
    critic: LocalRegularizer,
    clean: Sequence[Tensor],
    degraded: Sequence[Tensor],
    *,
    seed: int = 0,
    progress: bool = True,
) -> float:
    """The level of white noise of which the same smoothing leaves as much as of the damage.

    An image is smoothed by one gradient step of the energy, D(y; s) = y - s grad R(y; s). What
    images show makes their scores differ by more than the damage does, but most of that is
    predicted by the score of D(y + 0.3 n; 0.35), where the damage went with the noise n. On clean
    images

        log score of x = a + b log score of D(x + 0.3 n; 0.35) + error

    is fitted. First s is found at which the smoothed images D(y; s) have a mean error of 0, or as
    close to that as it comes. These look clean, but a restored image is smoother than a clean one,
    so that this s is too small. Then t is found at which clean images with white noise,
    D(x + t n; s), have the same mean error. For white noise t is about its level, whatever the
    energy and the critic.

    Args:
        energy: noise-conditioned R(x; s).
        critic: trained to tell the degraded patches from clean ones, of scores that are not
            negative (a ridge critic).
        clean: images x (1, C, H, W).
        degraded: images y of other scenes, damaged in the same way and strength.
        seed: of the noise.
        progress: show it.

    Raises:
        LocregError: when the critic does not find the degraded images worse than the clean ones,
            or smoothing does not make them look clean.
    """
    bar = tqdm(desc="finding the strength", unit="score", disable=not progress)

    def log_scores(images: Iterable[Tensor]) -> NDArray[np.float64]:
        found = []
        for x in images:
            found.append(math.log(max(critic.score_map(x).mean().item(), 1e-12)))
            bar.update()
        return np.array(found)

    def smoothed(images: Iterable[Tensor], level: float) -> Iterator[Tensor]:
        return (x - level * energy.grad(x, level) for x in images)

    def noisy(images: Iterable[Tensor], level: float, first: int) -> Iterator[Tensor]:
        return (add_noise(x, level, first + index) for index, x in enumerate(images))

    def contents(images: Sequence[Tensor]) -> NDArray[np.float64]:
        return log_scores(smoothed(noisy(images, _CONTENT_NOISE, seed), _CONTENT_LEVEL))

    with bar:
        of_clean, contents_of_clean = log_scores(clean), contents(clean)
        line = np.polyfit(contents_of_clean, of_clean, 1)
        predicted = np.polyval(line, contents_of_clean)
        clean_errors = of_clean - predicted
        of_degraded = log_scores(degraded)
        errors = of_degraded - np.polyval(line, contents(degraded))
        uncertainty = math.sqrt(clean_errors.var() / len(clean) + errors.var() / len(degraded))
        if errors.mean() <= _LEAST_ERRORS * uncertainty:
            raise LocregError(
                "The critic does not find the degraded images worse than the clean ones: give more "
                "of both that show the same kind of scenes, or more iterations, and another output."
            )
        some = slice(None, None, math.ceil(len(degraded) / _RESTORED))
        change = errors.mean() - of_degraded[some].mean()

        excesses: dict[float, float] = {}
        for s in _LEVELS:
            excesses[s] = float(log_scores(smoothed(degraded[some], s)).mean() + change)
            if excesses[s] <= 0:
                break
        level = min(excesses, key=lambda s: abs(excesses[s]))
        left = excesses[level]
        if abs(left) > _MOST_EXCESS_LEFT * errors.mean():
            raise LocregError(_NO_STRENGTH)
        some = slice(None, None, math.ceil(len(clean) / _RESTORED))
        left += clean_errors[some].mean()

        def excess(t: float) -> float:
            scores = log_scores(smoothed(noisy(clean[some], t, seed + len(clean)), level))
            return float((scores - predicted[some]).mean() - left)

        noise = growing_root(excess, level, refinements=_REFINEMENTS)
    if noise is None:
        raise LocregError(_NO_STRENGTH)
    return min(noise, _HIGHEST_LEVEL)
