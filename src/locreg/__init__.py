"""Learned local regularization for image restoration.

``locreg.load`` reads a regularizer, ``locreg.restore`` restores an image with it. Names are handed
on lazily, so that importing locreg does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locreg.calibration import estimate_sigma
    from locreg.critic import Layer, PatchCritic, standard_layers
    from locreg.errors import LocregError, UsageError
    from locreg.objective import Objective
    from locreg.options import (
        AdamOptions,
        AnnealingOptions,
        GradientDescentOptions,
        GradientStepOptions,
        LBFGSOptions,
        NoiseRange,
        ProximalGradientOptions,
    )
    from locreg.recipes import train_denoiser_from_folder, train_from_folders
    from locreg.refinement import refine_from_folder
    from locreg.refinement_options import RefinementOptions, RefinementRecipe
    from locreg.regularizer import LocalRegularizer, load
    from locreg.restoration import Restoration, restore
    from locreg.solvers import Solution, Status, adam, gradient_descent
    from locreg.tasks import deblur, inpaint, upscale
    from locreg.training_options import (
        RIDGE_DATA,
        RIDGE_TRAINING,
        CalibratedOptions,
        CriticOptions,
        DataOptions,
        DenoiserRecipe,
        DenoisingOptions,
        Recipe,
        RidgeCriticOptions,
        SplitOptions,
        TrainingOptions,
    )
    from locreg.weights import Weights, load_weights, save_weights

from locreg.version import __version__ as __version__

_HOMES = {
    "calibration": ("estimate_sigma",),
    "critic": ("Layer", "PatchCritic", "standard_layers"),
    "errors": ("LocregError", "UsageError"),
    "objective": ("Objective",),
    "options": (
        "AdamOptions",
        "AnnealingOptions",
        "GradientDescentOptions",
        "GradientStepOptions",
        "LBFGSOptions",
        "NoiseRange",
        "ProximalGradientOptions",
    ),
    "recipes": ("train_denoiser_from_folder", "train_from_folders"),
    "refinement": ("refine_from_folder",),
    "refinement_options": ("RefinementOptions", "RefinementRecipe"),
    "regularizer": ("LocalRegularizer", "load"),
    "restoration": ("Restoration", "restore"),
    "solvers": ("Solution", "Status", "adam", "gradient_descent"),
    "tasks": ("deblur", "inpaint", "upscale"),
    "training_options": (
        "RIDGE_DATA",
        "RIDGE_TRAINING",
        "CalibratedOptions",
        "CriticOptions",
        "DataOptions",
        "DenoiserRecipe",
        "DenoisingOptions",
        "Recipe",
        "RidgeCriticOptions",
        "SplitOptions",
        "TrainingOptions",
    ),
    "weights": ("Weights", "load_weights", "save_weights"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "RIDGE_DATA",
    "RIDGE_TRAINING",
    "AdamOptions",
    "AnnealingOptions",
    "CalibratedOptions",
    "CriticOptions",
    "DataOptions",
    "DenoiserRecipe",
    "DenoisingOptions",
    "GradientDescentOptions",
    "GradientStepOptions",
    "LBFGSOptions",
    "Layer",
    "LocalRegularizer",
    "LocregError",
    "NoiseRange",
    "Objective",
    "PatchCritic",
    "ProximalGradientOptions",
    "Recipe",
    "RefinementOptions",
    "RefinementRecipe",
    "Restoration",
    "RidgeCriticOptions",
    "Solution",
    "SplitOptions",
    "Status",
    "TrainingOptions",
    "UsageError",
    "Weights",
    "adam",
    "deblur",
    "estimate_sigma",
    "gradient_descent",
    "inpaint",
    "load",
    "load_weights",
    "refine_from_folder",
    "restore",
    "save_weights",
    "standard_layers",
    "train_denoiser_from_folder",
    "train_from_folders",
    "upscale",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'locreg' has no attribute {name!r}")
    return getattr(import_module(f"locreg.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
