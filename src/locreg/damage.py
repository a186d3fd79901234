"""Damage that need not be noise, known by examples only: a critic tells how strongly to smooth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from locreg.errors import LocregError
from locreg.images import centre
from locreg.patches import split_sources
from locreg.recipes import train_from_folders
from locreg.regularizer import LocalRegularizer
from locreg.training_files import check_new_output, checkpoint_path
from locreg.training_options import Recipe
from locreg.validation import best_lam, load_crops
from locreg.weights import Weights, load_weights, save_weights

_IMAGES = 200  # of each folder, that are scored
_IMAGE_SIDE = 320  # of their centres, in pixels
_RESTORED = 32  # of the degraded images, that are restored again and again
_RESTORED_SIDE = 160
_FIRST_LEVEL = 0.04
_LEVEL_RATIO = 1.3
_REACH = 8  # steps of this ratio: 0.005 to 0.33
_SHORTFALL = 1.25  # of the level at which images look clean, below that which restores best
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
        criterion={**learned.criterion, "name": "damage", "level": level, "noise": None},
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

    The restored image is y - s grad R(y; s), one gradient step of the energy; s is such that

        mean score of restored y / mean score of y = mean score of clean x / mean score of y,

    or as close to this as it comes. The right side is taken over all images, since what they show
    makes their scores differ by more than the damage does. On the left this cancels out, so that
    fewer and smaller crops will do.

    A restored image is smoother than a clean one, so that this s is too small: on photographs of
    bsds500 that no critic had seen the best one was 1.25 times as large, for white noise of 0.05
    and of 0.1 and for JPEG of quality 10. This much larger it is returned.

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
    goal = _mean_score(critic, clean) / _mean_score(critic, degraded)
    chosen = degraded[:: max(1, len(degraded) // _RESTORED)][:_RESTORED]
    crops = [centre(y, _RESTORED_SIDE) for y in chosen]
    before = _mean_score(critic, crops)

    bar = tqdm(desc="finding the strength", unit="try", disable=not progress)

    def distance(level: float) -> float:
        bar.update()
        after = _mean_score(critic, [y - level * energy.grad(y, level) for y in crops])
        return after / before - goal

    with bar:
        level, _ = best_lam(
            lambda level: -(distance(level) ** 2), _FIRST_LEVEL, ratio=_LEVEL_RATIO, reach=_REACH
        )
        left = abs(distance(level))
    if left > _MOST_LEFT * (1 - goal):
        raise LocregError(
            "No strength of smoothing makes the degraded images look to the critic as the clean "
            "ones do: their damage may be a blur, or they show other things than the clean ones."
        )
    return _SHORTFALL * level


def _mean_score(critic: LocalRegularizer, images: Sequence[Tensor]) -> float:
    return float(np.mean([critic.score_map(x).mean().item() for x in images]))
