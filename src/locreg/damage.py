"""Damage that need not be noise, known by examples only: a critic tells how strongly to smooth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
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
from locreg.training_options import Recipe
from locreg.validation import best_lam, load_crops
from locreg.weights import Weights, load_weights, save_weights

_IMAGES = 100  # of each folder, that are scored
_IMAGE_SIDE = 160  # of their centres, in pixels
_RESTORED = 32  # of the degraded ones, that are restored again and again
_CONTENT_LEVEL = 0.3  # that leaves of an image what it shows, and no damage
_FIRST_LEVEL = 0.04
_LEVEL_RATIO = 1.3
_REACH = 8  # steps of this ratio: 0.005 to 0.33
_BEST_OVER_CLEAN_LOOKING = 1.45  # the best level over that at which images look clean
_HIGHEST_LEVEL = 0.5  # that the packaged energies serve
_MOST_EXCESS_LEFT = 0.5  # as a share of what there was
_LEAST_ERRORS = 2  # standard errors, from which on damage is no chance


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
    if recipe.degraded is None or recipe.critic.filters is None:
        raise UsageError("Damage is learned from degraded images, by a ridge critic (filters).")
    check_new_output(output)
    path, sources = critic_path(output), (*recipe.clean_paths, *recipe.degraded_paths)
    if resume and path.exists() and not checkpoint_path(path).exists():
        critic = load_weights(path)
        check_made_alike(path, critic, "wasserstein", recipe.training, sources)
    else:
        critic = train_from_folders(
            path, recipe, resume=resume, device=device, command=command, progress=progress
        )
    channels = recipe.critic.channels
    energy = load_weights("denoise-gray" if channels == 1 else "denoise-rgb")
    folders = []
    for paths in (recipe.clean_paths, recipe.degraded_paths):
        files, _ = split_sources(paths, held_out=0, seed=recipe.data.seed)
        crops = load_crops(files[:_IMAGES], size=_IMAGE_SIDE, channels=channels)
        folders.append([x.to(device) for x in crops])
    level = strength_of_damage(
        LocalRegularizer(energy).to(device),
        LocalRegularizer(critic).to(device),
        *folders,
        progress=progress,
    )
    made = ("command", "locreg", "iterations", "clean", "degraded", "files")
    weights = Weights(
        critic=energy.critic.cpu(),
        criterion={**energy.criterion, "name": "damage", "level": level},
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
    progress: bool = True,
) -> float:
    """The noise level at which an energy removes the damage, by how clean the images then look.

    The restored image is D(y; s) = y - s grad R(y; s), one gradient step of the energy. What images
    show makes their scores differ by more than the damage does, but most of that is predicted by
    the score of D(.; 0.3), where the damage is gone: on clean images

        log score of x = a + b log score of D(x; 0.3) + error

    is fitted, and s is such that with this a and b the restored images have a mean error of 0, or
    as close to that as it comes.

    A restored image is smoother than a clean one, so that this s is too small. 1.45 times as large
    it is returned: on photographs of bsds500 with white noise of 0.05 and 0.1 the best s was that
    much larger; after JPEG of quality 10 it was larger by 1.9, at hardly better a result.

    Args:
        energy: noise-conditioned R(x; s).
        critic: trained to tell the degraded patches from clean ones, of scores that are not
            negative (a ridge critic).
        clean: images x (1, C, H, W).
        degraded: images y of other scenes, damaged in the same way and strength.
        progress: show it.

    Raises:
        LocregError: when the critic does not find the degraded images worse than the clean ones,
            or smoothing does not make them look clean.
    """
    bar = tqdm(desc="finding the strength", unit="score", disable=not progress)

    def log_score(x: Tensor) -> float:
        bar.update()
        return math.log(max(critic.score_map(x).mean().item(), 1e-12))

    def smoothed(x: Tensor, level: float) -> Tensor:
        return x - level * energy.grad(x, level)

    def scores_and_contents(images: Sequence[Tensor]) -> NDArray[np.float64]:
        return np.array([(log_score(x), log_score(smoothed(x, _CONTENT_LEVEL))) for x in images]).T

    with bar:
        scores, contents = scores_and_contents(clean)
        line = np.polyfit(contents, scores, 1)
        of_clean = scores - np.polyval(line, contents)
        scores, contents = scores_and_contents(degraded)
        errors = scores - np.polyval(line, contents)
        uncertainty = math.sqrt(of_clean.var() / len(clean) + errors.var() / len(degraded))
        if errors.mean() <= _LEAST_ERRORS * uncertainty:
            raise LocregError(
                "The critic does not find the degraded images worse than the clean ones: give more "
                "of both that show the same kind of scenes, or train longer."
            )
        chosen = slice(None, None, math.ceil(len(degraded) / _RESTORED))
        change = errors.mean() - scores[chosen].mean()

        @cache
        def excess(level: float) -> float:
            restored = [log_score(smoothed(y, level)) for y in degraded[chosen]]
            return float(np.mean(restored) + change)

        level, _ = best_lam(
            lambda level: -(excess(level) ** 2), _FIRST_LEVEL, ratio=_LEVEL_RATIO, reach=_REACH
        )
        left = abs(excess(level))
    if left > _MOST_EXCESS_LEFT * errors.mean():
        raise LocregError(
            "No strength of smoothing makes the degraded images look to the critic as the clean "
            "ones do: their damage may be of another kind. Choose the strength by eye (locreg "
            "denoise --sigma)."
        )
    return min(_BEST_OVER_CLEAN_LOOKING * level, _HIGHEST_LEVEL)
