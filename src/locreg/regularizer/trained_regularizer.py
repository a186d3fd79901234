"""What a regularizer says about its training, whichever engine computes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from locreg.arguments import Precision
from locreg.arrays import Array
from locreg.degradation.noise import NoiseRange
from locreg.regularizer.criterion_record import CriterionRecord, DenoisingRecord
from locreg.regularizer.stored_weights import Calibration


class Described(Protocol):
    """What `TrainedRegularizer` needs to know of a critic."""

    @property
    def in_channels(self) -> int:
        """Number of channels of the images, 1 (grey) or 3 (colour)."""

    @property
    def noise_conditioned(self) -> bool:
        """Whether the critic depends on a noise level."""


class TrainedRegularizer(ABC):
    """R with the record of its training: a `locreg.LocalRegularizer` or a `locreg.DenoisingEnergy`.

    Attributes:
        criterion: the criterion that the critic was trained with; None: unknown.
        calibration: how lam follows from sigma; None: not calibrated.
        precision: precision of the convolutions.
        symmetric: whether R is averaged over the 8 flips and turns of the image.
        engine: what computes the convolutions.
    """

    criterion: CriterionRecord | None
    calibration: Calibration | None
    precision: Precision
    symmetric: bool
    engine: ClassVar[str]

    @property
    @abstractmethod
    def described(self) -> Described:
        """The critic, or one of several with the same inputs."""

    @property
    @abstractmethod
    def number_of_scales(self) -> int:
        """How many resolutions of the image have a critic of their own."""

    @abstractmethod
    def array_gradient(self, x: Array, sigma: float) -> tuple[NDArray[np.float64], Array]:
        """R(x; sigma) of each image x (B, C, H, W), (B,), and its gradient, in the shape of x."""

    @abstractmethod
    def coarsened(self) -> Self:
        """4 R(A x), where A halves the resolution."""

    @abstractmethod
    def finest(self) -> Self:
        """R of the image itself, without those of smaller copies of it."""

    @property
    def _denoising(self) -> DenoisingRecord:
        record = self.criterion
        return record if isinstance(record, DenoisingRecord) else DenoisingRecord()

    @property
    def in_channels(self) -> int:
        """Number of channels of the images, 1 (grey) or 3 (colour)."""
        return self.described.in_channels

    @property
    def learned_level(self) -> float | None:
        """Noise level at which the images of a folder are restored; it was learned from them.

        None if there was no such folder; see `locreg.train_denoiser` and `locreg.learn_damage`.
        """
        return self._denoising.level

    @property
    def learned_white(self) -> float | None:
        """Pixel value that counted as 1 in that folder; None: the largest that a file can hold."""
        return self._denoising.white

    @property
    def learned_noise(self) -> bool:
        """Whether R was trained to remove the noise of a folder, which is not white."""
        return self.learned_level is not None and self.noise_range is None

    @property
    def removes_white_noise(self) -> bool:
        """Whether R is a denoising energy that was trained on white noise and nothing else."""
        return (
            self.noise_conditioned and self._denoising.kinds == "white" and not self.learned_noise
        )

    @property
    def noise_range(self) -> NoiseRange | None:
        """White noise that a noise-conditioned critic was trained for; None: unknown."""
        return self._denoising.noise

    @property
    def takes_grey(self) -> bool:
        """Whether R is for colour images, and was also trained on grey ones of three channels."""
        return self.in_channels == 3 and self._denoising.kinds == "real"

    @property
    def trained_steps(self) -> int:
        """Number of gradient steps that a noise-conditioned critic was trained for."""
        return self._denoising.steps

    @property
    def noise_conditioned(self) -> bool:
        """Whether R depends on a noise level."""
        return self.described.noise_conditioned

    @property
    def depends_on_level(self) -> bool:
        """Whether R depends on a noise level: by an input of the critic, or by a contrast.

        The contrast comes from the calibration.
        """
        calibration = self.calibration
        return self.noise_conditioned or bool(calibration and calibration.contrast_polynomial)
