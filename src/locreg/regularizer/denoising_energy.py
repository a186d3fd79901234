"""The regularizer R(x; sigma) of a denoising energy on arrays: it needs no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from locreg.arguments import Precision
from locreg.arrays import Array
from locreg.errors import LocregError
from locreg.regularizer.criterion_record import CriterionRecord
from locreg.regularizer.onnx_gradient import TILE, OnnxGradient
from locreg.regularizer.stored_critic import StoredCritic, coarsened
from locreg.regularizer.stored_weights import Calibration, StoredWeights, read_weights
from locreg.regularizer.trained_regularizer import TrainedRegularizer

_ORIENTATIONS = [(turns, flip) for turns in range(4) for flip in (False, True)]


class DenoisingEnergy(TrainedRegularizer):
    """R(x; sigma), whose gradient step x - sigma grad R(x; sigma) removes noise of level sigma.

    It is `locreg.LocalRegularizer` for denoising alone, computed by ONNX Runtime.

    Args:
        scales: the critics of the image and of smaller copies of it.
        criterion: the criterion that they were trained with.
        calibration: how lam follows from sigma.
        tile: side of the tiles in which an image is processed, in scores. It changes speed and
            memory, not the result.
        symmetric: average R over the 8 flips and turns of the image, which takes 8 times as long.

    Raises:
        LocregError: when the tile is below 1, the critics do not depend on a noise level, or
            ``symmetric`` is given for learned noise.
    """

    precision: Precision = "float32"
    engine = "onnxruntime"

    def __init__(
        self,
        scales: Sequence[StoredCritic],
        criterion: CriterionRecord | None = None,
        calibration: Calibration | None = None,
        *,
        tile: int | None = None,
        symmetric: bool = False,
    ) -> None:
        self.scales, self.criterion, self.calibration = tuple(scales), criterion, calibration
        if not self.noise_conditioned:
            raise LocregError("This is a critic and no denoising energy: it needs locreg.load.")
        check_settings(self, tile=tile, symmetric=symmetric)
        self.tile, self.symmetric = tile, symmetric

    @classmethod
    def of(
        cls, weights: StoredWeights, *, tile: int | None = None, symmetric: bool = False
    ) -> DenoisingEnergy:
        """The energy of a weight file; arguments and errors as above."""
        return cls(
            weights.scales, weights.criterion, weights.calibration, tile=tile, symmetric=symmetric
        )

    @property
    def described(self) -> StoredCritic:
        """The critic of the finest scale."""
        return self.scales[0]

    @property
    def number_of_scales(self) -> int:
        """How many resolutions of the image have a critic of their own."""
        return len(self.scales)

    def coarsened(self) -> Self:
        """The energy 4 R(A x), where A halves the resolution: see `StoredCritic.coarsened`."""
        return self._coarsened

    def finest(self) -> Self:
        """The energy R_0 of the image itself, without those of smaller copies of it."""
        return self._finest

    @cached_property
    def _coarsened(self) -> Self:
        # Kept, with its graphs, since each image with noise of a camera needs both.
        return self._with_scales([scale.coarsened() for scale in self.scales])

    @cached_property
    def _finest(self) -> Self:
        return self._with_scales(self.scales[:1])

    def _with_scales(self, scales: Sequence[StoredCritic]) -> Self:
        return type(self)(scales, self.criterion, tile=self.tile, symmetric=self.symmetric)

    def array_gradient(self, x: Array, sigma: float) -> tuple[NDArray[np.float64], Array]:
        """R(x; sigma) of each image x (B, C, H, W), (B,), and its gradient, in the shape of x."""
        if not self.symmetric:
            return self._gradient(x, sigma)
        value, gradient = np.zeros(len(x)), np.zeros_like(x)
        for turns, flip in _ORIENTATIONS:
            turned = np.rot90(x[..., ::-1] if flip else x, turns, (2, 3))
            of_turned = self._gradient(turned, sigma)
            back = np.rot90(of_turned[1], -turns, (2, 3))
            value += of_turned[0] / len(_ORIENTATIONS)
            gradient += (back[..., ::-1] if flip else back) / len(_ORIENTATIONS)
        return value, gradient

    def _gradient(self, x: Array, sigma: float) -> tuple[NDArray[np.float64], Array]:
        value, gradient = self._all_scales.value_and_gradient(x, sigma, self.tile or TILE)
        return value, gradient.astype(x.dtype, copy=False)

    @cached_property
    def _all_scales(self) -> OnnxGradient:
        """The gradient of all scales, as critics of patches of the image itself."""
        return OnnxGradient(*(coarsened(critic, k) for k, critic in enumerate(self.scales)))


def check_settings(regularizer: TrainedRegularizer, *, tile: int | None, symmetric: bool) -> None:
    """Check the settings of a regularizer.

    Raises:
        LocregError: when the tile is below 1, or symmetric is given for learned noise.
    """
    if tile is not None and tile < 1:
        raise LocregError(f"A tile must be at least 1 pixel wide, got {tile}.")
    if symmetric and regularizer.learned_noise:
        raise LocregError(
            "Learned noise may have a direction: R cannot be averaged over flips and turns."
        )


def load_energy(
    name_or_path: str | Path, *, tile: int | None = None, symmetric: bool = False
) -> DenoisingEnergy:
    """The denoising energy of a weight file, or packaged, such as ``"denoise-rgb"``.

    Raises:
        LocregError: when there is no such file, it is not a complete locreg weight file, or as
            `DenoisingEnergy`.
    """
    return DenoisingEnergy.of(read_weights(name_or_path), tile=tile, symmetric=symmetric)
