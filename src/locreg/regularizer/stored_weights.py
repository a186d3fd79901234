"""Weight files as they are: critics in arrays and what the JSON header says, without PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.regularizer.array_file import read_arrays, under
from locreg.regularizer.criterion_record import CriterionRecord, read_criterion_record
from locreg.regularizer.packaged import packaged_names
from locreg.regularizer.stored_critic import StoredCritic


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How lam, and possibly a contrast, follow from sigma, and how a critic scores images.

        log lam = c0 + c1 log sigma + c2 (log sigma)^2 + ...

    All of this was measured with a trained critic on training images. Noise levels are standard
    deviations on the [0, 1] scale.

    Attributes:
        lam_polynomial: (c0, c1, ...).
        sigma_range: lowest and highest noise level of the fit; (1, 1) if the degradation is known
            from examples only, and then lam is exp(c0).
        quantile_levels: the levels, in [0, 1], of the quantiles below.
        clean_patches, degraded_patches: quantiles of the score of one patch.
        clean_images, degraded_images: quantiles of the mean score of one image.
        contrast_polynomial: coefficients like those of log lam, but of log a, for a critic that is
            used as r(a z) / a at each noise level; empty if a is 1.
        record: how the measurement was made: images, seed, solver, PSNR.
    """

    lam_polynomial: tuple[float, ...]
    sigma_range: tuple[float, float]
    quantile_levels: tuple[float, ...]
    clean_patches: tuple[float, ...]
    degraded_patches: tuple[float, ...]
    clean_images: tuple[float, ...]
    degraded_images: tuple[float, ...]
    contrast_polynomial: tuple[float, ...] = field(default=(), repr=False)
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def depends_on_sigma(self) -> bool:
        """Whether lam follows from sigma; if not, lam is one number."""
        return self.sigma_range[0] < self.sigma_range[1]

    def lam(self, sigma: float) -> float:
        """lam at a noise level sigma in [0, 1]; proportional to sigma outside the fitted range."""
        if not self.depends_on_sigma:
            return math.exp(self.lam_polynomial[0])
        if sigma == 0:
            return 0.0
        nearest = self._nearest(sigma)
        return exp_polynomial(self.lam_polynomial, nearest) * sigma / nearest

    def contrast(self, sigma: float) -> float:
        """The contrast a at a noise level sigma in [0, 1]; constant outside `sigma_range`."""
        return exp_polynomial(self.contrast_polynomial, self._nearest(sigma))

    def _nearest(self, sigma: float) -> float:
        """The noise level in the fitted range that is nearest to sigma."""
        return min(max(sigma, self.sigma_range[0]), self.sigma_range[1])


def exp_polynomial(coefficients: tuple[float, ...], sigma: float) -> float:
    """exp(c0 + c1 log sigma + ...), for sigma above 0; 1 without coefficients."""
    return math.exp(sum(c * math.log(sigma) ** k for k, c in enumerate(coefficients)))


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """The content of a weight file.

    Attributes:
        scales: the critics of the image and of smaller copies of it; one, unless the file holds a
            `locreg.MultiscaleCritic`.
        criterion, training, calibration: as in `locreg.Weights`.
    """

    scales: tuple[StoredCritic, ...]
    criterion: CriterionRecord | None = None
    training: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None


def read_weights(name_or_path: str | Path) -> StoredWeights:
    """Read a weight file, or packaged weights by name such as ``"alr-rgb"``.

    Raises:
        LocregError: when there is no such file, or it is not a complete locreg weight file.
    """
    path = Path(name_or_path)
    if str(name_or_path) in packaged_names():
        path = Path(str(resources.files("locreg") / "packaged" / f"{name_or_path}.safetensors"))
    elif not path.is_file():
        raise LocregError(
            f"{name_or_path} is neither a weight file nor packaged weights "
            f"({', '.join(packaged_names())})."
        )
    header, arrays = read_arrays(path)
    if "recipe" in header:
        raise LocregError(f"{path} is a training checkpoint: repeat its command with --resume.")
    if "critic" not in header:
        raise LocregError(f"{path} holds no critic but something else: give a weight file.")
    try:
        calibration = header.get("calibration")
        return StoredWeights(
            scales=_scales(header["critic"], arrays),
            criterion=read_criterion_record(header.get("criterion", {})),
            training=header.get("training", {}),
            calibration=Calibration(**_tuples(calibration)) if calibration else None,
        )
    except LocregError as error:
        raise LocregError(f"{path}: {error}") from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise LocregError(
            f"{path} is damaged: its arrays do not fit the layers in its header."
        ) from None


def _scales(
    description: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> tuple[StoredCritic, ...]:
    if "scales" not in description:
        return (StoredCritic.of(description, arrays),)
    scales = tuple(
        StoredCritic.of(scale, under(arrays, f"critics.{k}."))
        for k, scale in enumerate(description["scales"])
    )
    if len(scales) < 2 or len({(s.in_channels, s.noise_conditioned) for s in scales}) > 1:
        raise LocregError("Several scales need two or more critics with the same inputs.")
    return scales


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """The values with lists as tuples, which JSON does not have."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
