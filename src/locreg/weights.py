"""Weight files: one safetensors file is tensors plus a JSON header that says what they are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from locreg.critic import PatchCritic
from locreg.errors import LocregError
from locreg.files import write_atomically

FORMAT = 1
_KEY = "locreg"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured with a trained critic on training images.

    Attributes:
        lam_polynomial: (c0, c1, ...) of log lam = c0 + c1 log sigma + c2 (log sigma)^2 + ...
        sigma_range: the noise levels that the polynomial was fitted on; (1, 1) where the
            degradation is known by examples only and lam is exp(c0).
        quantile_levels: of the quantiles below.
        clean_patches, degraded_patches: quantiles of the score of one patch.
        clean_images, degraded_images: quantiles of the mean score of one image.
        contrast_polynomial: the same for log a, where the critic serves a noise level as
            r(a z) / a; empty where a is 1.
        record: how it was done: images, seed, solver, PSNR.
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
        """Whether lam follows from sigma; where the degradation is unknown it is one number."""
        return self.sigma_range[0] < self.sigma_range[1]

    def lam(self, sigma: float) -> float:
        """lam of the R of a noise level; outside the fitted range in proportion to sigma."""
        if not self.depends_on_sigma:
            return math.exp(self.lam_polynomial[0])
        if sigma == 0:
            return 0.0
        nearest = self._nearest(sigma)
        return exp_polynomial(self.lam_polynomial, nearest) * sigma / nearest

    def contrast(self, sigma: float) -> float:
        """a for a noise level; outside of `sigma_range` that of its nearest level."""
        return exp_polynomial(self.contrast_polynomial, self._nearest(sigma))

    def _nearest(self, sigma: float) -> float:
        """The level of the fitted range that is nearest to sigma."""
        return min(max(sigma, self.sigma_range[0]), self.sigma_range[1])


def exp_polynomial(coefficients: tuple[float, ...], sigma: float) -> float:
    """exp(c0 + c1 log sigma + ...); 1 without coefficients."""
    return math.exp(sum(c * math.log(sigma) ** k for k, c in enumerate(coefficients)))


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A trained critic and what is known about it.

    Attributes:
        critic: the critic, in evaluation state on the CPU.
        criterion: name and constants of the training criterion.
        training: the command, seed, data, iterations and validation curve.
        calibration: how ``lam`` follows from sigma, and score quantiles; None when not calibrated.
    """

    critic: PatchCritic
    criterion: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None


def packaged_names() -> list[str]:
    """Names of the weights that come with locreg."""
    folder = resources.files("locreg") / "packaged"
    return sorted(
        entry.name.removesuffix(".safetensors")
        for entry in folder.iterdir()
        if entry.name.endswith(".safetensors")
    )


def load_weights(name_or_path: str | Path) -> Weights:
    """Read a weight file, or packaged weights by name.

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
    header, tensors = read_tensors(path)
    if "recipe" in header:
        raise LocregError(f"{path} is a training checkpoint: repeat its command with --resume.")
    if "critic" not in header:
        raise LocregError(f"{path} holds no critic and no energy, but something else.")
    try:
        critic = PatchCritic.from_description(header["critic"])
        critic.load_state_dict(tensors)
        calibration = header.get("calibration")
        calibration = Calibration(**_tuples(calibration)) if calibration else None
    except (KeyError, TypeError, RuntimeError):
        raise LocregError(
            f"{path} is damaged: its tensors do not fit the layers in its header."
        ) from None
    critic.requires_grad_(False)
    return Weights(
        critic=critic,
        criterion=header.get("criterion", {}),
        training=header.get("training", {}),
        calibration=calibration,
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def save_weights(weights: Weights, path: Path) -> None:
    """Write a weight file atomically: the old file or the new one exists, never half of one."""
    header = {
        "critic": weights.critic.describe(),
        "criterion": weights.criterion,
        "training": weights.training,
        "calibration": asdict(weights.calibration) if weights.calibration else None,
    }
    write_tensors(path, header, weights.critic.state_dict())


def tensors_under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file of this project's format.

    Raises:
        LocregError: when the file cannot be read, or is not of this format or version.
    """
    try:
        with path.open("rb") as raw:
            start = raw.read(9)
        # A safetensors file begins with the length of its JSON header, in 8 bytes.
        if start[8:] != b"{" and start.startswith((b"PK", b"\x80")):
            raise LocregError(
                f"{path} is a pickle, which could run any program when loaded: "
                "locreg reads safetensors files only."
            )
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise LocregError(f"{path} cannot be read: {error.strerror}.") from None
    except safetensors.SafetensorError:
        raise LocregError(f"{path} is not a complete safetensors file.") from None
    if _KEY not in metadata:
        raise LocregError(f"{path} is a safetensors file, but not one written by locreg.")
    try:
        header = json.loads(metadata[_KEY])
    except ValueError:
        raise LocregError(f"{path} is damaged: its header is not JSON.") from None
    if header.get("format") != FORMAT:
        raise LocregError(
            f"{path} has format version {header.get('format')}, this locreg reads {FORMAT}: "
            "use the locreg version that wrote it, or train again."
        )
    return header, tensors


def write_tensors(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write header and tensors atomically.

    Raises:
        LocregError: when the folder is missing or not writable, or the disk is full.
    """
    metadata = {_KEY: json.dumps({"format": FORMAT, **header})}
    content = safetensors.torch.save(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, metadata
    )
    write_atomically(path, content)
