"""Recipes: everything that a weight file is made from, and constants that work well."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from locreg.arguments import check_positive
from locreg.degradation.noise import NoiseRange, NoiseShares, check_sigma
from locreg.errors import UsageError
from locreg.images.files import as_paths, check_apart
from locreg.training.options import (
    DENOISER_CRITIC,
    RIDGE_TRAINING,
    CalibratedOptions,
    CriticOptions,
    DataOptions,
    DenoiserCriticOptions,
    DenoisingOptions,
    RefinementOptions,
    RidgeCriticOptions,
    SplitOptions,
    TrainingOptions,
)

_NOISE_ITERATIONS = 1_000  # for a denoising energy that learns the noise of one folder


@dataclass(frozen=True, kw_only=True)
class CriticRecipe:
    """Everything that the weight file of a critic is made from.

    Attributes:
        clean: clean images: folders, searched with all their subfolders, or tar files.
        degraded: degraded images: folders or tar files. They need not show the same scenes.
        noise: white Gaussian noise to add, in place of degraded images. The clean images are then
            split into two halves, and one half gets the noise (unless ``common_patches`` is set).
        critic: form and size of the critic.
        data: how images become patches.
        training: constants of the training.
    """

    clean: Path | tuple[Path, ...]
    degraded: Path | tuple[Path, ...] | None = None
    noise: NoiseRange | None = None
    critic: CriticOptions | RidgeCriticOptions = field(default_factory=CriticOptions)
    data: DataOptions = field(default_factory=DataOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def __post_init__(self) -> None:
        if (self.degraded is None) == (self.noise is None):
            raise UsageError("Give either degraded images or a noise level.")
        if self.data.common_patches and self.noise is None:
            raise UsageError("common_patches is for synthetic noise: give a noise level.")
        if self.data.calibration_sigmas and self.noise is None:
            raise UsageError("calibration_sigmas is for synthetic noise: give a noise level.")
        check_apart(self.clean_paths)
        if self.degraded is not None:
            check_apart(self.clean_paths + self.degraded_paths)

    @property
    def clean_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of clean images."""
        return as_paths(self.clean)

    @property
    def degraded_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of degraded images; with synthetic noise: of clean images."""
        return as_paths(self.clean if self.degraded is None else self.degraded)

    @property
    def validation_sigma(self) -> float | None:
        """Noise level of the validation images; None: the criterion itself is validated."""
        if self.data.validation_sigma is None and self.noise is not None:
            return self.noise.middle
        return self.data.validation_sigma


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe:
    """Everything that the weight file of a denoising energy is made from.

    Attributes:
        clean: clean images: folders, searched with all their subfolders, or tar files.
        degraded: noisy images of other scenes: folders or tar files. Their noise is learned
            (`locreg.degradation.learned_noise`), and the energy is trained on it instead of white
            noise.
        initial: weight file of a denoising energy to begin with, by default random weights. Its
            layers must be equally wide or narrower. An energy for grey images can begin with one
            for colour images.
        noise: white noise levels to train for, or shares of the kinds of noise in real pictures;
            by default `DENOISER_NOISE`.
        critic: form and size of the critic.
        data: how images become patches.
        training: constants of the training.
    """

    clean: Path | tuple[Path, ...]
    degraded: Path | tuple[Path, ...] | None = None
    initial: Path | str | None = None
    noise: NoiseRange | NoiseShares | None = None
    critic: DenoiserCriticOptions = DENOISER_CRITIC
    data: SplitOptions = field(default_factory=SplitOptions)
    training: DenoisingOptions = field(default_factory=DenoisingOptions)

    def __post_init__(self) -> None:
        if self.degraded is not None and self.noise is not None:
            raise UsageError("Give noisy images or white noise levels, not both.")
        if self.degraded is not None and self.training.steps > 1:
            raise UsageError("Learned noise is removed in one step: leave steps out.")
        if self.training.trained == "coarse" and (self.critic.scales == 1 or not self.initial):
            raise UsageError("To train coarse scales alone, give scales and initial weights.")
        step = 2 ** (self.critic.scales - 1)
        if self.training.borders == "periodic" and self.training.patch_size % step:
            raise UsageError(
                f"With {self.critic.scales} scales and periodic borders, patch_size must be a "
                f"multiple of {step}, got {self.training.patch_size}."
            )
        check_apart(self.clean_paths + self.degraded_paths)

    @property
    def clean_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of clean images."""
        return as_paths(self.clean)

    @property
    def degraded_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of noisy images; empty for white noise."""
        return () if self.degraded is None else as_paths(self.degraded)


@dataclass(frozen=True, kw_only=True)
class RefinementRecipe:
    """Everything that a refined weight file is made from.

    Attributes:
        clean: clean images: folders, searched with all their subfolders, or tar files.
        initial: weights to refine: a file, or the name of packaged weights. If they are
            noise-conditioned, they are fixed at ``sigma``, and the refined weights no longer depend
            on a noise level.
        sigma: standard deviation of the white noise to add, on the [0, 1] scale.
        lam: weight of R in the energy; by default the best one for the initial weights.
        data: how images become patches, and on what lam is fitted after the training.
        training: constants of the training.
    """

    clean: Path | tuple[Path, ...]
    initial: Path | str
    sigma: float
    lam: float | None = None
    data: CalibratedOptions = field(default_factory=CalibratedOptions)
    training: RefinementOptions = field(default_factory=RefinementOptions)

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        if self.sigma == 0:
            raise UsageError("sigma must be above 0: without noise there is nothing to restore.")
        if self.lam is not None:
            check_positive("lam", self.lam)
        check_apart(self.clean_paths)

    @property
    def clean_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of clean images."""
        return as_paths(self.clean)


def recipe_for_noise(
    clean: tuple[Path, ...],
    noisy: Path,
    channels: Literal[1, 3],
    iterations: int | None = None,
    white: float | None = None,
) -> DenoiserRecipe:
    """Recipe that learns the noise of a folder and adapts the packaged denoising energy to it.

    The training takes ten to thirty minutes.
    """
    grey = channels == 1  # denoise-gray has one scale, denoise-rgb has three
    return DenoiserRecipe(
        clean=clean,
        degraded=noisy,
        initial="denoise-gray" if grey else "denoise-rgb",
        critic=replace(DENOISER_CRITIC, channels=channels, scales=1 if grey else 3),
        data=SplitOptions(held_out=4, white=white),
        training=DenoisingOptions(
            iterations=_NOISE_ITERATIONS if iterations is None else iterations,
            learning_rate=3e-3,
            last_learning_rate=6e-5,
            validate_every=500,
            # The field of three scales is wider than a patch.
            borders="mirrored" if grey else "periodic",
            weaker_noise=0.0,  # the criterion already varies learned noise (`SUPPORTED_SHARES`)
        ),
    )


def recipe_for_damage(
    clean: tuple[Path, ...],
    degraded: Path,
    channels: Literal[1, 3],
    iterations: int | None = None,
    white: float | None = None,
) -> CriticRecipe:
    """Recipe for a ridge critic that learns any kind of damage from a folder of damaged images.

    The training takes about five minutes.
    """
    return CriticRecipe(
        clean=clean,
        degraded=degraded,
        critic=RidgeCriticOptions(channels=channels),
        data=DataOptions(held_out=4, calibration_images=0, white=white),
        training=RIDGE_TRAINING
        if iterations is None
        else replace(RIDGE_TRAINING, iterations=iterations),
    )
