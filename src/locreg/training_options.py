"""Options of training, as frozen dataclasses: the same in Python and on the command line.

Nothing heavy is imported here, so that the command line can show its help at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from locreg.errors import UsageError
from locreg.options import (
    NoiseRange,
    check_at_least,
    check_choice,
    check_positive,
    check_sigma,
)

PenaltyForm = Literal["two-sided", "one-sided", "squared"]
Borders = Literal["mirrored", "real"]
OptimizerName = Literal["adam", "muon"]
TrainingPrecision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What every training takes.

    Attributes:
        iterations: K, number of steps of the optimizer.
        batch: m, number of patches in a step; of the Wasserstein criterion, of each kind.
        learning_rate: of the first iteration.
        last_learning_rate: of the last one; in between it decays exponentially.
        weight_average: decay per iteration of an exponential average of the weights (at first their
            plain mean), which is then what is validated and kept; 0 keeps the weights themselves,
            as the paper does.
        validate_every: iterations between two validations.
        checkpoint_every: iterations between two checkpoints.
        log_every: iterations over which a line of the log is averaged.
        optimizer: adam, as in the paper; muon: its steps are orthogonal on the weights between the
            first and the last layer, see `locreg.optimizers`.
    """

    iterations: int
    batch: int
    learning_rate: float
    last_learning_rate: float
    weight_average: float
    validate_every: int
    checkpoint_every: int
    log_every: int
    optimizer: OptimizerName

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "validate_every", "checkpoint_every", "log_every"):
            check_at_least(1, name, getattr(self, name))
        if not 0 <= self.weight_average < 1:
            raise UsageError(f"weight_average must be in [0, 1), got {self.weight_average}.")
        for name in ("learning_rate", "last_learning_rate"):
            check_positive(name, getattr(self, name))
        check_choice("optimizer", self.optimizer, get_args(OptimizerName))


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(LoopOptions):
    """Constants of Algorithm 1: those of the paper (section 3.2), or `RIDGE_TRAINING`.

    Attributes:
        patch_size: side of the training patches in pixels; None is the receptive field. On larger
            patches the criterion is that of R / sqrt(n), R being the sum of r over all their
            n windows.
        penalty: mu, weight of the gradient penalty.
        penalty_form: two-sided: every gradient shall be 1 long; one-sided: none shall be longer;
            squared: the further from clean the longer, so that R grows like the squared distance,
            and with mu = 1/2 a step by its gradient leads to the clean.
    """

    iterations: int = 100_000
    batch: int = 32
    learning_rate: float = 1e-3
    last_learning_rate: float = 1e-4
    weight_average: float = 0.0
    validate_every: int = 10_000
    checkpoint_every: int = 1_000
    log_every: int = 100
    optimizer: OptimizerName = "adam"
    patch_size: int | None = None
    penalty: float = 5.0
    penalty_form: PenaltyForm = "two-sided"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("penalty", self.penalty)
        check_choice("penalty_form", self.penalty_form, get_args(PenaltyForm))
        if self.patch_size is not None:
            check_at_least(1, "patch_size", self.patch_size)


@dataclass(frozen=True, kw_only=True)
class DenoisingOptions(LoopOptions):
    """Constants of the denoising criterion.

    Attributes:
        patch_size: side of the patches whose error is minimised, in pixels.
        borders: mirrored: what lies around a patch is the patch mirrored, with its noise, as around
            an image that is restored; real: what lies around it in its image, which five sixths of
            the pixels of a patch of 48x48 see. A step then takes half as long again, and the images
            have to be larger, 28 pixels for each gradient step.
        precision: of the convolutions; with bfloat16 a step takes half the time where the processor
            has it and computes right in it, which is what auto looks for. The weights are float32
            in any case.
        steps: number of gradient steps that shall denoise together.
        weaker_noise: share of the patches whose noise is weaker, by any factor, than the level that
            is told. Without them an energy that is told too high a level smooths, and may invent.
    """

    iterations: int = 15_000
    batch: int = 8
    learning_rate: float = 5e-3
    last_learning_rate: float = 5e-5
    weight_average: float = 0.999
    validate_every: int = 1_500
    checkpoint_every: int = 250
    log_every: int = 100
    optimizer: OptimizerName = "muon"
    patch_size: int = 48
    borders: Borders = "mirrored"
    precision: TrainingPrecision = "auto"
    steps: int = 1
    weaker_noise: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, "patch_size", self.patch_size)
        check_at_least(1, "steps", self.steps)
        if not 0 <= self.weaker_noise < 1:
            raise UsageError(f"weaker_noise must be in [0, 1), got {self.weaker_noise}.")
        check_choice("borders", self.borders, get_args(Borders))
        check_choice("precision", self.precision, get_args(TrainingPrecision))


def _check_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise UsageError(f"channels must be 1 or 3, got {channels}.")


@dataclass(frozen=True, kw_only=True)
class CriticOptions:
    """The paper's critic: 3x3 layers and a linear last one. Six and the last see 15x15.

    Attributes:
        channels: 3 for colour images, 1 for grey ones.
        widths: number of channels of each hidden layer. Narrow last ones save a sixth of the time
            and cost nothing that was measurable.
        activation: relu, silu, softplus, elu or tanh.
    """

    channels: int = 3
    widths: tuple[int, ...] = (32, 32, 32, 32, 24, 16)
    activation: Literal["relu", "silu", "softplus", "elu", "tanh"] = "relu"

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        if not self.widths or min(self.widths) < 1:
            raise UsageError(f"widths must be at least 1, got {self.widths}.")


@dataclass(frozen=True, kw_only=True)
class RidgeCriticOptions:
    """A ridge critic (`locreg.ridge`): linear filters of 13x13 pixels, and one potential.

    With the paper's constants it learns badly; `RIDGE_TRAINING` and `RIDGE_DATA`, the defaults of
    `locreg train-ridge`, serve it.

    Attributes:
        channels: 3 for colour images, 1 for grey ones.
        filters: number of linear filters.
        group: filters that share a potential, which sees the length of their responses.
    """

    channels: int = 3
    filters: int = 96
    group: int = 1

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        check_at_least(1, "group", self.group)
        check_at_least(1, "filters", self.filters)
        if self.filters % self.group:
            raise UsageError(f"filters must be a multiple of group, {self.group}.")


#: What ridge critics learn well with, in minutes.
RIDGE_TRAINING = TrainingOptions(
    iterations=600,
    batch=4,
    patch_size=60,
    penalty=10.0,
    penalty_form="one-sided",
    learning_rate=5e-3,
    last_learning_rate=2e-4,
    weight_average=0.99,
    validate_every=300,
    checkpoint_every=100,
)


# Wider than the Wasserstein critic: its one gradient replaces 50. Smooth, since what is trained is
# the gradient.
DENOISER_CRITIC = CriticOptions(widths=(64, 64, 64, 64, 48, 32), activation="silu")

DENOISER_NOISE = NoiseRange(low=0.0, high=0.5)


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How images become patches and held-out crops.

    Attributes:
        seed: of the split, the patches, the noise and the initial weights.
        held_out: images that are kept for validation; of degraded ones too, where a critic learns.
        validation_size: side of the centre crops that are restored to validate, in pixels.
        augment: flip and turn patches at random.
        white: pixel value that counts as 1, such as 4095 in the 16-bit files of a 12-bit camera; by
            default the largest that a file can hold, and 1 in float files.
    """

    seed: int = 0
    held_out: int = 12
    validation_size: int = 96
    augment: bool = True
    white: float | None = None

    def __post_init__(self) -> None:
        if self.white is not None:
            check_positive("white", self.white)
        for name in ("seed", "held_out"):
            check_at_least(0, name, getattr(self, name))
        check_at_least(16, "validation_size", self.validation_size)
        if self.seed >= 2**32:
            raise UsageError(f"seed must be below 2**32, got {self.seed}.")


@dataclass(frozen=True, kw_only=True)
class CalibratedOptions(SplitOptions):
    """How images become patches and held-out crops, and what lam is fitted on in the end.

    Attributes:
        calibration_images: training images on which lam is fitted, and of ridge critics of
            synthetic noise their contrast; 0 leaves both unfitted.
        calibration_size: side of their centre crops, in pixels.
    """

    calibration_images: int = 16
    calibration_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, "calibration_images", self.calibration_images)
        check_at_least(16, "calibration_size", self.calibration_size)


@dataclass(frozen=True, kw_only=True)
class DataOptions(CalibratedOptions):
    """How images become unpaired patches. Only with synthetic noise are patches flipped and turned:
    a real degradation may have a direction.

    Attributes:
        common_patches: with synthetic noise: the noisy patches of a step are its clean ones with
            noise, not those of other images. The criterion is that of the same two distributions,
            and its estimate varies less, without which noise below 0.2 is hard to learn. The
            penalty is then taken at patches with less noise, not at blends of two scenes.
        validation_sigma: noise level of the validation images. By default the middle of the noise
            range; with a folder of degraded images the criterion itself is validated instead.
    """

    common_patches: bool = False
    validation_sigma: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation_sigma is not None:
            check_sigma(self.validation_sigma)
            if self.validation_sigma == 0:
                raise UsageError("validation_sigma must be above 0.")


#: Contrast and lam together are fitted in a few minutes on these.
RIDGE_DATA = DataOptions(calibration_images=4, calibration_size=96)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a weight file is made from.

    Attributes:
        clean: clean images: folders, searched with all their subfolders, or tar files.
        degraded: degraded images, the same way; they need not show the same scenes.
        noise: white Gaussian noise to add, where there are no degraded images. The clean images are
            then cut into two halves of different images, and one of them gets the noise (but for
            ``common_patches``).
    """

    clean: Path | tuple[Path, ...]
    degraded: Path | tuple[Path, ...] | None = None
    noise: NoiseRange | None = None
    critic: CriticOptions | RidgeCriticOptions = CriticOptions()
    data: DataOptions = DataOptions()
    training: TrainingOptions = TrainingOptions()

    def __post_init__(self) -> None:
        if (self.degraded is None) == (self.noise is None):
            raise UsageError("Give either degraded images or a noise level.")
        if self.data.common_patches and self.noise is None:
            raise UsageError("common_patches is for synthetic noise: give a noise level.")
        check_apart(self.clean_paths)
        if self.degraded is not None:
            check_apart(self.clean_paths + self.degraded_paths)

    @property
    def clean_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of clean images."""
        return as_paths(self.clean)

    @property
    def degraded_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of degraded images; with synthetic noise the clean ones."""
        return as_paths(self.clean if self.degraded is None else self.degraded)

    @property
    def validation_sigma(self) -> float | None:
        """Noise level of the validation images; None where the criterion itself is validated."""
        if self.data.validation_sigma is None and self.noise is not None:
            return self.noise.middle
        return self.data.validation_sigma


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe:
    """All that the weight file of a denoising energy is made from.

    Attributes:
        clean: clean images: folders, searched with all their subfolders, or tar files.
        noise: the levels of white noise to serve; by default `DENOISER_NOISE`.
        degraded: noisy images, the same way, of other scenes: their noise is learned and served in
            place of white noise (`locreg.noise_model`).
        initial: weight file of a denoising energy to begin with, of the same layers or narrower
            ones (a grey one can begin with one of colour images); by default random weights.
    """

    clean: Path | tuple[Path, ...]
    degraded: Path | tuple[Path, ...] | None = None
    initial: Path | str | None = None
    noise: NoiseRange | None = None
    critic: CriticOptions = DENOISER_CRITIC
    data: SplitOptions = SplitOptions()
    training: DenoisingOptions = DenoisingOptions()

    def __post_init__(self) -> None:
        if self.degraded is not None and self.noise is not None:
            raise UsageError("Give noisy images or the levels of white noise, not both.")
        if self.degraded is not None and self.training.steps > 1:
            raise UsageError("Learned noise is removed in one step: leave steps out.")
        check_apart(self.clean_paths + self.degraded_paths)

    @property
    def clean_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of clean images."""
        return as_paths(self.clean)

    @property
    def degraded_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of noisy images; none where the noise is white."""
        return () if self.degraded is None else as_paths(self.degraded)


def as_paths(paths: Path | tuple[Path, ...]) -> tuple[Path, ...]:
    """One path or several as several."""
    return (paths,) if isinstance(paths, Path) else paths


def check_apart(paths: tuple[Path, ...]) -> None:
    """Refuse folders and files of which one holds another: its images would come twice.

    Raises:
        UsageError: when one does, or there is none.
    """
    if not paths:
        raise UsageError("Give at least one folder or tar file of clean images.")
    for index, path in enumerate(paths):
        for other in paths[:index]:
            one, two = path.resolve(), other.resolve()
            if one == two or one in two.parents or two in one.parents:
                raise UsageError(f"{other} and {path} overlap: give images apart from each other.")
