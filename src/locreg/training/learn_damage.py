"""Damage of any kind, known by examples only: a critic finds how strongly to smooth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from locreg.degradation.noise import add_noise
from locreg.errors import LocregError, UsageError
from locreg.images.patches import load_crops
from locreg.images.sources import split_sources
from locreg.regularizer.array_file import check_new_output
from locreg.regularizer.criterion_record import DenoisingRecord
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.weights import Weights, load_weights, save_weights
from locreg.solvers.search import growing_root
from locreg.training.options import RidgeCriticOptions
from locreg.training.output import TrainingRun, check_made_alike
from locreg.training.recipes import CriticRecipe
from locreg.training.train_critic import train_critic

_IMAGES = 100  # number of images of each folder that are scored
_IMAGE_SIDE = 160  # side of their centre crops, in pixels
_RESTORED = 32  # number of images of each folder that are smoothed repeatedly
# Noise level and smoothing level that remove the damage and keep what an image shows.
_CONTENT_NOISE, _CONTENT_LEVEL = 0.3, 0.35
_LEVELS = tuple(0.005 * 1.4**step for step in range(13))  # smoothing levels to try, up to 0.28
_MOST_EXCESS_LEFT = 0.5  # as a share of the excess before smoothing
_REFINEMENTS = 4  # bisections of the noise level
_HIGHEST_LEVEL = 0.5  # highest noise level that the packaged denoisers are trained for
_LEAST_ERRORS = 2  # standard errors; a smaller excess may be chance
_NO_STRENGTH = (
    "No strength of smoothing makes the degraded images look like the clean ones to the critic: "
    "smoothing may not undo this kind of damage. Choose the strength by eye (locreg denoise "
    "--sigma)."
)


def critic_path(output: Path) -> Path:
    """The path of the critic that finds the smoothing strength for a weight file."""
    return output.with_name(f"{output.stem}.critic.safetensors")


def learn_damage(recipe: CriticRecipe, run: TrainingRun) -> Weights:
    """Write a weight file: a denoising energy at the strength that undoes the damage of a folder.

    A ridge critic learns to tell the degraded images from the clean ones. It is kept next to the
    output, for score maps. Then `strength_of_damage` finds the strength at which the packaged
    denoising energy undoes the damage. That takes a few minutes and cannot be resumed.

    Args:
        recipe: recipe of the critic (`locreg.recipe_for_damage`).
        run: where to write, and how to run. With ``resume``, it continues from what an interrupted
            run of the same recipe has left.

    Raises:
        UsageError: when the recipe is for another kind of critic, or has synthetic noise.
        LocregError: as `locreg.train_critic`, or when no strength is found.
    """
    if recipe.degraded is None or not isinstance(recipe.critic, RidgeCriticOptions):
        raise UsageError("Damage is learned from degraded images, by a ridge critic.")
    check_new_output(run.output)
    critic = _learned_critic(recipe, replace(run, output=critic_path(run.output)))
    denoiser = load_weights("denoise-gray" if recipe.critic.channels == 1 else "denoise-rgb")
    clean, degraded = (
        _crops(recipe, paths, run.device) for paths in (recipe.clean_paths, recipe.degraded_paths)
    )
    level = strength_of_damage(
        LocalRegularizer(denoiser).to(run.device),
        LocalRegularizer(critic).to(run.device),
        clean,
        degraded,
        seed=recipe.data.seed,
        progress=run.progress,
    )
    assert isinstance(denoiser.criterion, DenoisingRecord)  # true for both packaged denoisers
    record = replace(denoiser.criterion, name="damage", level=level, white=recipe.data.white)
    made = ("command", "locreg", "iterations", "clean", "degraded", "files", "data")
    weights = Weights(
        critic=denoiser.critic.cpu(),
        criterion=record,
        training={**{key: critic.training[key] for key in made}, "energy": denoiser.training},
    )
    save_weights(weights, run.output)
    return weights


def _learned_critic(recipe: CriticRecipe, run: TrainingRun) -> Weights:
    """The critic, trained now or by an earlier run that was interrupted after training it."""
    if run.resume and run.output.exists() and not run.checkpoint.exists():
        critic = load_weights(run.output)
        check_made_alike(run.output, critic, "wasserstein", recipe)
        return critic
    return train_critic(recipe, run)


def _crops(recipe: CriticRecipe, paths: Sequence[Path], device: torch.device | str) -> list[Tensor]:
    """Centre crops of at most `_IMAGES` images of the folders."""
    files, _ = split_sources(paths, held_out=0, seed=recipe.data.seed)
    crops = load_crops(
        files[:_IMAGES],
        size=_IMAGE_SIDE,
        channels=recipe.critic.channels,
        white=recipe.data.white,
    )
    return [x.to(device) for x in crops]


def strength_of_damage(
    denoiser: LocalRegularizer,
    critic: LocalRegularizer,
    clean: Sequence[Tensor],
    degraded: Sequence[Tensor],
    *,
    seed: int = 0,
    progress: bool = True,
) -> float:
    """The white-noise level that this smoothing removes as well as it removes the damage.

    An image is smoothed by one gradient step of the denoiser, D(y; s) = y - s grad R(y; s). The
    three steps are those of docs/method.md: `_predict_from_content`, `_find_smoothing`,
    `_find_white_noise`. If the damage is white noise, the result is about its noise level, for any
    denoiser and critic.

    Args:
        denoiser: the noise-conditioned R(x; s) that smooths.
        critic: the regularizer that scores, trained to tell degraded patches from clean ones. Its
            scores must not be negative, as those of ridge critics.
        clean: clean images x (1, C, H, W) in [0, 1].
        degraded: images y of other scenes, all damaged in the same way and equally strongly.
        seed: seed of the noise.
        progress: whether to show a progress bar.

    Raises:
        LocregError: when the critic does not find the degraded images worse than the clean ones,
            or when smoothing does not make them look clean to the critic.
    """
    bar = tqdm(desc="finding the strength", unit="score", disable=not progress)
    with bar:
        gauge = _Gauge(denoiser, critic, seed, bar)
        excess = _predict_from_content(gauge, clean, degraded)
        smoothing, left = _find_smoothing(gauge, excess, degraded)
        noise = _find_white_noise(gauge, excess, clean, smoothing, left)
    return min(noise, _HIGHEST_LEVEL)


@dataclass(frozen=True)
class _Gauge:
    """Adds noise to images, smooths them by the denoiser, and scores them by the critic."""

    denoiser: LocalRegularizer
    critic: LocalRegularizer
    seed: int
    bar: Any

    def log_scores(self, images: Iterable[Tensor]) -> NDArray[np.float64]:
        """The logarithm of the mean score of each image."""
        scores = []
        for x in images:
            scores.append(math.log(max(self.critic.score_map(x).mean().item(), 1e-12)))
            self.bar.update()
        return np.array(scores)

    def smoothed(self, images: Iterable[Tensor], level: float) -> Iterator[Tensor]:
        """D(x; level) of each image."""
        return (x - level * self.denoiser.grad(x, level) for x in images)

    def noisy(self, images: Iterable[Tensor], level: float, first: int) -> Iterator[Tensor]:
        """The images with white noise, drawn from the seeds ``first``, ``first`` + 1, ..."""
        return (add_noise(x, level, first + index) for index, x in enumerate(images))

    def contents(self, images: Sequence[Tensor]) -> NDArray[np.float64]:
        """The log score of D(x + 0.3 n; 0.35), which removes the damage with the noise n."""
        noisy = self.noisy(images, _CONTENT_NOISE, self.seed)
        return self.log_scores(self.smoothed(noisy, _CONTENT_LEVEL))


@dataclass(frozen=True)
class _Excess:
    """By how much the log scores of images exceed what their content predicts.

    Attributes:
        predicted: log score of each clean image, predicted from its content.
        clean: excess of each clean image.
        degraded: mean excess of the degraded images.
        degraded_scores: log score of each degraded image.
    """

    predicted: NDArray[np.float64]
    clean: NDArray[np.float64]
    degraded: float
    degraded_scores: NDArray[np.float64]


def _predict_from_content(
    gauge: _Gauge, clean: Sequence[Tensor], degraded: Sequence[Tensor]
) -> _Excess:
    """Step 1: predict the scores of images from what they show; the rest is their excess.

    Scores differ more by what the images show than by the damage. The line

        log score of x = a + b log score of D(x + 0.3 n; 0.35) + excess

    is fitted to the clean images and then applied to the degraded ones.

    Raises:
        LocregError: when the degraded images have no more excess than the clean ones.
    """
    clean_scores, clean_contents = gauge.log_scores(clean), gauge.contents(clean)
    line = np.polyfit(clean_contents, clean_scores, 1)
    predicted = np.asarray(np.polyval(line, clean_contents), dtype=np.float64)
    clean_excess = clean_scores - predicted
    degraded_scores = gauge.log_scores(degraded)
    excess = degraded_scores - np.polyval(line, gauge.contents(degraded))
    uncertainty = math.sqrt(clean_excess.var() / len(clean) + excess.var() / len(degraded))
    if excess.mean() <= _LEAST_ERRORS * uncertainty:
        raise LocregError(
            "The critic does not find the degraded images worse than the clean ones: give more "
            "images that show the same kind of scenes in both folders, or more iterations, and "
            "another output."
        )
    return _Excess(predicted, clean_excess, float(excess.mean()), degraded_scores)


def _find_smoothing(
    gauge: _Gauge, excess: _Excess, degraded: Sequence[Tensor]
) -> tuple[float, float]:
    """Step 2: the smoothing level s at which the mean excess of D(y; s) is closest to 0.

    At this s the restored images look clean to the critic. But a restored image is smoother than a
    clean one, so this s is too small.

    Returns s and the mean excess that is left.

    Raises:
        LocregError: when too much is left.
    """
    some = _some(degraded)
    change = excess.degraded - excess.degraded_scores[some].mean()
    excesses: dict[float, float] = {}
    for s in _LEVELS:
        excesses[s] = float(gauge.log_scores(gauge.smoothed(degraded[some], s)).mean() + change)
        if excesses[s] <= 0:
            break
    level = min(excesses, key=lambda s: abs(excesses[s]))
    if abs(excesses[level]) > _MOST_EXCESS_LEFT * excess.degraded:
        raise LocregError(_NO_STRENGTH)
    return level, excesses[level]


def _find_white_noise(
    gauge: _Gauge, excess: _Excess, clean: Sequence[Tensor], smoothing: float, left: float
) -> float:
    """Step 3: the noise level t of white noise that the same smoothing removes equally well.

    That is, D(x + t n; s) has the same mean excess as D(y; s).

    Raises:
        LocregError: when there is no such noise level.
    """
    some = _some(clean)
    goal = left + excess.clean[some].mean()

    def above_goal(t: float) -> float:
        noisy = gauge.noisy(clean[some], t, gauge.seed + len(clean))
        scores = gauge.log_scores(gauge.smoothed(noisy, smoothing))
        return float((scores - excess.predicted[some]).mean() - goal)

    noise = growing_root(above_goal, smoothing, refinements=_REFINEMENTS)
    if noise is None:
        raise LocregError(_NO_STRENGTH)
    return noise


def _some(images: Sequence[Tensor]) -> slice:
    """The images that are smoothed: at most `_RESTORED`, evenly spread."""
    return slice(None, None, math.ceil(len(images) / _RESTORED))
