"""Options of training, as frozen dataclasses: the same in Python and on the command line.

Nothing heavy is imported here, so that the command line can show its help at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from locreg.arguments import TrainingBorders, check_at_least, check_choice, check_positive
from locreg.degradation.noise import NoiseRange, check_sigma
from locreg.errors import UsageError

ActivationName = Literal["relu", "silu", "softplus", "elu", "tanh"]
PenaltyForm = Literal["two-sided", "one-sided", "squared"]
OptimizerName = Literal["adam", "muon"]
TrainingPrecision = Literal["auto", "float32", "bfloat16"]
TrainedScales = Literal["all", "coarse"]

_MOST_SCALES = 5  # at the fifth, a patch shows 480 pixels of the image


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options that every training has.

    Attributes:
        iterations: Number of optimizer steps, K.
        batch: Number of patches in a step, m. The Wasserstein criterion takes this many clean and
            this many degraded ones.
        learning_rate: Learning rate of the first iteration.
        last_learning_rate: Learning rate of the last iteration; in between it decays exponentially.
        warmup: Number of first iterations in which the learning rate grows from 0 in proportion.
        weight_average: Decay per iteration of an exponential average of the weights (at first their
            plain mean). The average is what is validated and kept. 0 keeps the weights themselves,
            as the paper does.
        validate_every: Number of iterations between two validations.
        checkpoint_every: Number of iterations between two checkpoints.
        log_every: Number of iterations that one line of the log averages.
        optimizer: adam: the paper's optimizer; muon: orthogonal steps for the weights between the
            first and the last layer, and Adam for the other weights.
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
    warmup: int = 0

    def __post_init__(self) -> None:
        check_at_least(0, "warmup", self.warmup)
        for name in ("iterations", "batch", "validate_every", "checkpoint_every", "log_every"):
            check_at_least(1, name, getattr(self, name))
        if not 0 <= self.weight_average < 1:
            raise UsageError(f"weight_average must be in [0, 1), got {self.weight_average}.")
        for name in ("learning_rate", "last_learning_rate"):
            check_positive(name, getattr(self, name))
        check_choice("optimizer", self.optimizer, get_args(OptimizerName))


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(LoopOptions):
    """Constants of Algorithm 1: the paper's (section 3.2), or `RIDGE_TRAINING` for ridge critics.

    Attributes:
        patch_size: Side of the training patches in pixels; None: the receptive field. For larger
            patches, the criterion takes R / sqrt(n) in place of r, where R is the sum of r over the
            n windows of a patch.
        penalty: Weight of the gradient penalty, mu.
        penalty_form: two-sided: penalise gradient norms other than 1; one-sided: penalise only
            norms above 1; squared: let the norm grow with the distance to the clean patch, so that
            R grows like the squared distance. With mu = 1/2, one step along minus the gradient
            then leads to the clean patch.
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
        patch_size: Side of the patches whose error is minimised, in pixels.
        vary_colours: Swap channels, and change saturation, white balance and exposure at random.
        zoom: Largest factor by which patches are enlarged, at random. A photograph as the camera
            took it is smoother than one that was shrunk.
        grey_share: Share of the patches that are made grey, with the same noise in all channels.
        borders: What surrounds a patch. mirrored: the noisy patch itself, mirrored, just as an
            image is mirrored when it is restored; real: its surroundings in the image, which five
            sixths of the pixels of a 48x48 patch see. With real borders a step takes 1.5 times as
            long, and the images must be larger by 28 pixels for each gradient step; periodic: the
            patch repeats itself, which takes the least time when the critic sees far (its first
            convolutions then compute no surroundings).
        precision: Precision of the convolutions. bfloat16 halves the time of a step on processors
            that support it; auto: bfloat16 where the processor supports it and computes correct
            gradients in it, else float32. The weights are always float32.
        steps: Number of gradient steps that denoise together.
        trained: all: the critics of all scales; coarse: all but that of the image itself, which
            keeps its first weights. A step then takes half as long.
        weaker_noise: Share of the patches whose noise is weaker, by a random factor, than the noise
            level that the critic is given, so that overestimating sigma neither blurs the image nor
            creates false detail.
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
    vary_colours: bool = False
    zoom: float = 1.0
    grey_share: float = 0.0
    borders: TrainingBorders = "mirrored"
    precision: TrainingPrecision = "auto"
    steps: int = 1
    weaker_noise: float = 0.05
    trained: TrainedScales = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, "patch_size", self.patch_size)
        check_at_least(1, "steps", self.steps)
        if not 1 <= self.zoom <= self.patch_size:
            raise UsageError(f"zoom must be in [1, patch_size], got {self.zoom}.")
        for name in ("weaker_noise", "grey_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be in [0, 1), got {getattr(self, name)}.")
        check_choice("borders", self.borders, get_args(TrainingBorders))
        check_choice("trained", self.trained, get_args(TrainedScales))
        check_choice("precision", self.precision, get_args(TrainingPrecision))


def _check_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise UsageError(f"channels must be 1 or 3, got {channels}.")


@dataclass(frozen=True, kw_only=True)
class CriticOptions:
    """A critic of convolutions, that of the paper by default.

    Six hidden layers and the last one have a receptive field of 15x15 pixels.

    Attributes:
        channels: 3 for colour images, 1 for grey images.
        widths: Number of channels of each hidden layer. Making the last hidden layers narrow saves
            a sixth of the time at no measurable cost.
        activation: Activation of the hidden layers.
    """

    channels: int = 3
    widths: tuple[int, ...] = (32, 32, 32, 32, 24, 16)
    activation: ActivationName = "relu"

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        if not self.widths or min(self.widths) < 1:
            raise UsageError(f"widths must be at least 1, got {self.widths}.")


@dataclass(frozen=True, kw_only=True)
class RidgeCriticOptions:
    """A ridge critic (`locreg.ridge_critic`): linear filters of 13x13 pixels and one potential.

    It learns badly with the paper's constants, and well with `RIDGE_TRAINING` and `RIDGE_DATA`, the
    defaults of `locreg train-ridge`.

    Attributes:
        channels: 3 for colour images, 1 for grey images.
        filters: Number of linear filters.
        group: Number of filters in a group. The potential is applied to the norm of the responses
            of each group.
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


#: Constants with which ridge critics learn well, in minutes.
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


@dataclass(frozen=True, kw_only=True)
class DenoiserCriticOptions(CriticOptions):
    """The critic of a denoising energy.

    It is wider than the paper's, since one gradient does the work of 50, and smooth, since the
    gradient is what is trained.

    Attributes:
        scales: Number of critics: one of the image, one of the image at half the resolution, and so
            on (`locreg.MultiscaleCritic`). Each sees twice as far as the one before, and costs a
            quarter.
    """

    widths: tuple[int, ...] = (64, 64, 64, 64, 48, 32)
    activation: ActivationName = "silu"
    scales: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.scales <= _MOST_SCALES:
            raise UsageError(f"scales must be from 1 to {_MOST_SCALES}, got {self.scales}.")


DENOISER_CRITIC = DenoiserCriticOptions()
DENOISER_NOISE = NoiseRange(low=0.0, high=0.5)


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How images become patches and held-out crops.

    Attributes:
        seed: Seed of the split, the patches, the noise and the initial weights.
        held_out: Number of clean images kept for validation. A critic that is trained on degraded
            images keeps as many of those, too.
        validation_size: Side of the centre crops that are restored to validate, in pixels.
        augment: Flip and turn patches at random.
        white: Pixel value that counts as 1, such as 4095 in the 16-bit files of a 12-bit camera. By
            default it is the largest value of the file's integer type, and 1 in float files.
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
    """How images become patches and held-out crops, and on what lam is fitted after the training.

    Attributes:
        calibration_images: Number of training images that lam is fitted on. For ridge critics
            trained on synthetic noise, the contrast is fitted on them as well. 0 fits neither.
        calibration_size: Side of the centre crops of these images, in pixels; by default 128 for a
            folder of degraded images, and 64 for synthetic noise, where it gives the same lam.
    """

    calibration_images: int = 16
    calibration_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, "calibration_images", self.calibration_images)
        if self.calibration_size is not None:
            check_at_least(16, "calibration_size", self.calibration_size)


@dataclass(frozen=True, kw_only=True)
class DataOptions(CalibratedOptions):
    """How images become unpaired patches.

    Patches are flipped and turned with synthetic noise only: a real degradation may have a
    direction.

    Attributes:
        common_patches: With synthetic noise: add the noise to the clean patches of the same step,
            not to patches of other images. The two distributions stay the same, but the estimate of
            the criterion varies less; noise below 0.2 is hard to learn otherwise. The penalty is
            then taken at patches with less noise instead of blends of two scenes.
        validation_sigma: Noise level of the validation images. The default is the middle of the
            noise range; with degraded images, the default is to validate the criterion itself.
        calibration_sigmas: Noise levels at which lam is fitted, for synthetic noise. The default is
            three or more of the training's own noise; ridge critics are fitted at all levels.
    """

    common_patches: bool = False
    validation_sigma: float | None = None
    calibration_sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for sigma in self.calibration_sigmas:
            check_sigma(sigma)
            if sigma == 0:
                raise UsageError("calibration_sigmas must be above 0.")
        if len(set(self.calibration_sigmas)) == 1:
            raise UsageError("calibration_sigmas must be two or more levels.")
        if self.validation_sigma is not None:
            check_sigma(self.validation_sigma)
            if self.validation_sigma == 0:
                raise UsageError("validation_sigma must be above 0.")


#: Few small crops, so that contrast and lam are both fitted in a few minutes.
RIDGE_DATA = DataOptions(calibration_images=4, calibration_size=96)


@dataclass(frozen=True, kw_only=True)
class RefinementOptions(LoopOptions):
    """Constants of the bilevel criterion: minimisers should be close to the clean images.

    Attributes:
        patch_size: Side of the training patches in pixels.
        parameters: all: train all weights; last: only those of the last layer, which are one weight
            per filter in a ridge critic.
        solver_steps: Largest number of gradients that L-BFGS computes to find the minimiser.
        solver_tolerance: L-BFGS has found the minimiser when |grad E| / sqrt(number of values) is
            at most this.
        conjugate_gradients: Largest number of conjugate gradient steps in the implicit
            differentiation.
    """

    iterations: int = 1_000
    batch: int = 4
    learning_rate: float = 2e-3
    last_learning_rate: float = 2e-4
    weight_average: float = 0.98
    validate_every: int = 250
    checkpoint_every: int = 25
    log_every: int = 25
    optimizer: OptimizerName = "adam"
    patch_size: int = 48
    parameters: Literal["all", "last"] = "all"
    solver_steps: int = 40
    solver_tolerance: float = 3e-4
    conjugate_gradients: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch_size", "solver_steps", "conjugate_gradients"):
            check_at_least(1, name, getattr(self, name))
        check_choice("parameters", self.parameters, ("all", "last"))
        check_positive("solver_tolerance", self.solver_tolerance)
