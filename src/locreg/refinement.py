"""From trained weights and clean photographs to refined weights: the bilevel criterion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from locreg.bilevel import BilevelCriterion
from locreg.calibration import calibrate_white_noise
from locreg.critic import PatchCritic
from locreg.errors import LocregError
from locreg.images import ImageSource, list_sources
from locreg.objective import Objective
from locreg.options import LBFGSOptions
from locreg.patches import PatchPool, split_sources
from locreg.quasi_newton import lbfgs
from locreg.refinement_options import RefinementRecipe
from locreg.regularizer import LocalRegularizer
from locreg.training_files import (
    check_outputs,
    checkpoint_path,
    folder_names,
    listing,
    train_to_file,
)
from locreg.validation import (
    add_noise,
    best_lam,
    denoised_psnr,
    first_lam,
    load_crops,
)
from locreg.weights import Weights, load_weights, save_weights

_LAM_IMAGES = 6  # training images that the initial lam is fitted on


def refine_from_folder(
    output: Path,
    recipe: RefinementRecipe,
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> Weights:
    """Refine an energy until its minimisers are close to the clean images; write its weight file.

    The energy is 1/2 |x - y|^2 + lam R(x) at one noise level and one lam, and its minimisers, found
    by L-BFGS, are what is trained and validated. What this needs beyond the initial weights are
    clean images alone. In the end lam is fitted anew, for the solver that restores by default, at
    this noise level and a quarter beside it.

    Args:
        output: the weight file; its log is written beside it, and until the end a checkpoint.
        recipe: initial weights, folders, noise level and constants.
        resume: continue from the checkpoint of an interrupted run of the same recipe.
        command: what to record as the command that made the file.

    Raises:
        LocregError: when weights, folders or checkpoint cannot be used, or the output cannot be
            written.
    """
    check_outputs(output, resume)
    initial = load_weights(recipe.initial)
    critic = _initial_critic(recipe, initial)
    channels, options, data = critic.in_channels, recipe.training, recipe.data
    clean, held_out = split_sources(recipe.clean_paths, held_out=data.held_out, seed=data.seed)
    minimisation = LBFGSOptions(steps=options.solver_steps, tolerance=options.solver_tolerance)

    def crops(files: list[ImageSource], size: int) -> list[Tensor]:
        found = load_crops(files, size=size, channels=channels, white=data.white)
        return [x.to(device) for x in found]

    critic.to(device)
    lam = recipe.lam
    if lam is None:
        images = crops(clean[:_LAM_IMAGES], data.validation_size)
        lam = _fitted_lam(critic, images, recipe.sigma, data.seed, minimisation)
    validate = None
    if held_out:
        images = crops(held_out, data.validation_size)
        validate = MinimiserValidation(images, recipe.sigma, lam, data.seed, minimisation)
    pool = PatchPool(
        clean,
        size=options.patch_size,
        channels=channels,
        seed=data.seed,
        augment=data.augment,
        white=data.white,
    )
    weights = train_to_file(
        output,
        BilevelCriterion(
            clean=pool,
            sigma=recipe.sigma,
            lam=lam,
            batch=options.batch,
            seed=data.seed,
            minimisation=minimisation,
            conjugate_gradients=options.conjugate_gradients,
        ),
        critic,
        options,
        learned={"name": "bilevel", "sigma": recipe.sigma, "lam": lam},
        sources={
            "clean": f"{folder_names(recipe.clean_paths)}, {len(clean)} images",
            "files": listing(list_sources(recipe.clean_paths)),
            "sigma": recipe.sigma,
            "lam": lam,
            "data": asdict(data),
            "initial": {"criterion": initial.criterion, "training": initial.training},
        },
        findings={"initial_quality": validate(critic)[0] if validate else None},
        validate=validate,
        resume=resume,
        command=command,
        progress=progress,
    )
    if data.calibration_images:
        images = crops(clean[: data.calibration_images], data.calibration_size)
        weights = _calibrated(weights, images, recipe, progress)
        save_weights(weights, output)
    checkpoint_path(output).unlink(missing_ok=True)
    return weights


@dataclass(frozen=True)
class MinimiserValidation:
    """Quality of a critic: PSNR of the minimisers for held-out images with white noise.

    Attributes:
        images: clean images (1, C, H, W).
        sigma: level of the noise.
        lam: weight of R.
        seed: of the noise.
        minimisation: options of the solver.
    """

    images: Sequence[Tensor]
    sigma: float
    lam: float
    seed: int
    minimisation: LBFGSOptions

    def __call__(self, critic: PatchCritic) -> tuple[float, dict[str, float]]:
        """Mean PSNR in dB."""
        regularizer = LocalRegularizer(critic)
        quality = denoised_psnr(
            lambda y: lbfgs(Objective(y, regularizer, self.lam), y, self.minimisation).image,
            lambda x, seed: add_noise(x, self.sigma, seed),
            self.images,
            seed=self.seed,
        )
        return quality, {}


def _initial_critic(recipe: RefinementRecipe, initial: Weights) -> PatchCritic:
    """The critic to begin with; it knows which of its weights are to be trained."""
    if initial.critic.piecewise_linear:
        raise LocregError(
            f"{recipe.initial} is piecewise linear: its derivatives do not tell how its minimisers "
            "move. Refine a ridge critic (locreg train-ridge), or one with a smooth activation."
        )
    regularizer = LocalRegularizer(initial)
    critic = initial.critic
    if regularizer.depends_on_level:
        critic = regularizer.at(recipe.sigma).critic
    critic.requires_grad_(recipe.training.parameters == "all")
    critic.weights[-1].requires_grad_()
    return critic


def _fitted_lam(
    critic: PatchCritic,
    images: Sequence[Tensor],
    sigma: float,
    seed: int,
    minimisation: LBFGSOptions,
) -> float:
    """The lam of the best minimisers, to three digits: a resumed run must find the same."""
    first = first_lam(LocalRegularizer(critic), images, sigma, seed)
    lam, _ = best_lam(
        lambda lam: MinimiserValidation(images, sigma, lam, seed, minimisation)(critic)[0], first
    )
    return float(f"{lam:.3g}")


def _calibrated(
    weights: Weights, images: Sequence[Tensor], recipe: RefinementRecipe, progress: bool
) -> Weights:
    """With lam as a function of the noise level, around the one that was trained."""
    sigma = recipe.sigma
    regularizer = LocalRegularizer(weights.critic.to(images[0].device))
    calibration = calibrate_white_noise(
        regularizer,
        images,
        degraded_sigmas=(sigma, sigma),
        seed=recipe.data.seed,
        sigmas=(sigma / 1.25, sigma, 1.25 * sigma),
        progress=progress,
    )
    return replace(weights, critic=weights.critic.cpu(), calibration=calibration)
