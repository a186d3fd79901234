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

from locreg.errors import LocregError
from locreg.patches import split_sources
from locreg.recipes import train_from_folders
from locreg.regularizer import LocalRegularizer
from locreg.training_files import check_new_output, checkpoint_path
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
_SHORTFALL = 1.45  # of the level at which images look clean, below that which restores best
_MOST_LEFT = 0.5  # share of what makes degraded images look different, that may be left


def critic_path(output: Path) -> Path:
    """Where the critic lies that found the strength of a weight file."""
    return output.with_name(f"{output.stem}.critic.safetensors")


def learn_damage(
    output: Path,
    recipe: Recipe,
    *,
    energy: Path | str | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> Weights:
    """An energy at the strength that undoes the damage of a folder, as a weight file.

    A ridge critic learns to tell the degraded images from the clean ones. It is kept beside the
    output, for score maps. Then the strength is found (`strength_of_damage`), which needs a minute
    or two and is not resumed.

    Args:
        output: the weight file.
        recipe: of the critic (`recipe_for_damage`).
        energy: weights of a denoising energy; by default those packaged for photographs.
        resume: continue from what an interrupted run has left.
        command: what to record as the command that made the file.

    Raises:
        LocregError: as `train_from_folders`; when no strength is found.
    """
    check_new_output(output)
    channels, data = recipe.critic.channels, recipe.data
    learned = load_weights(energy or ("denoise-gray" if channels == 1 else "denoise-rgb"))
    path = critic_path(output)
    if resume and path.exists() and not checkpoint_path(path).exists():
        critic = load_weights(path)
    else:
        critic = train_from_folders(
            path, recipe, resume=resume, device=device, command=command, progress=progress
        )
    folders = []
    for paths in (recipe.clean_paths, recipe.degraded_paths):
        files, _ = split_sources(paths, held_out=0, seed=data.seed)
        crops = load_crops(files[:_IMAGES], size=_IMAGE_SIDE, channels=channels)
        folders.append([x.to(device) for x in crops])
    level = strength_of_damage(
        LocalRegularizer(learned).to(device),
        LocalRegularizer(critic).to(device),
        *folders,
        progress=progress,
    )
    weights = Weights(
        critic=learned.critic.cpu(),
        criterion={"name": "damage", "level": level, "noise": None, "steps": 1},
        training={**critic.training, "energy": learned.training},
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
    show makes their scores differ by more than the damage does, but most of that is told by the
    score of D(.; 0.3), where the damage is gone: on clean images

        log score of x = a + b log score of D(x; 0.3) + error

    is fitted, and s is such that with it the restored images have a mean error of 0, or as close
    to that as it comes.

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
        LocregError: when smoothing does not make them look clean.
    """
    bar = tqdm(desc="finding the strength", unit="image", disable=not progress)

    def log_score(x: Tensor) -> float:
        bar.update()
        return math.log(max(critic.score_map(x).mean().item(), 1e-12))

    def smoothed(x: Tensor, level: float) -> Tensor:
        return x - level * energy.grad(x, level)

    def scores_and_contents(images: Sequence[Tensor]) -> NDArray[np.float64]:
        return np.array([(log_score(x), log_score(smoothed(x, _CONTENT_LEVEL))) for x in images]).T

    chosen = degraded[:: math.ceil(len(degraded) / _RESTORED)]

    @cache
    def excess(level: float) -> float:
        """Of the restored images over what clean ones of their content score."""
        restored = [log_score(smoothed(y, level)) for y in chosen]
        return found + float(np.mean(restored)) - before

    with bar:
        scores, contents = scores_and_contents(clean)
        line = np.polyfit(contents, scores, 1)
        scores, contents = scores_and_contents(degraded)
        found = float(np.mean(scores - np.polyval(line, contents)))
        before = float(np.mean([log_score(y) for y in chosen]))
        level, _ = best_lam(
            lambda level: -(excess(level) ** 2), _FIRST_LEVEL, ratio=_LEVEL_RATIO, reach=_REACH
        )
        left = abs(excess(level))
    if left > _MOST_LEFT * found:
        raise LocregError(
            "No strength of smoothing makes the degraded images look to the critic as the clean "
            "ones do: their damage may be a blur, or they show other things than the clean ones. "
            "Give more images of both kinds, or smooth by eye (locreg denoise --sigma)."
        )
    return _SHORTFALL * level
