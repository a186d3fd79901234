"""Weight files: a critic, and a JSON header that describes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from locreg.regularizer.criterion_record import CriterionRecord
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.multiscale import Critic, MultiscaleCritic
from locreg.regularizer.stored_weights import Calibration, read_weights
from locreg.regularizer.tensor_file import write_tensors


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A trained critic and its record, as in a weight file.

    Attributes:
        critic: the critic r; `load_weights` returns it on the CPU, with its gradients turned off.
        criterion: the criterion that the critic was trained with; None: unknown.
        training: the command, seed, data, iterations and validation curve.
        calibration: how lam follows from sigma, and score quantiles; None: not calibrated.
    """

    critic: Critic
    criterion: CriterionRecord | None = None
    training: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None


def load_weights(name_or_path: str | Path) -> Weights:
    """Read a weight file, or packaged weights by name such as ``"alr-rgb"``.

    Raises:
        LocregError: when there is no such file, or it is not a complete locreg weight file.
    """
    stored = read_weights(name_or_path)
    scales = [PatchCritic.of(scale) for scale in stored.scales]
    critic: Critic = scales[0] if len(scales) == 1 else MultiscaleCritic(scales)
    critic.requires_grad_(False)
    return Weights(
        critic=critic,
        criterion=stored.criterion,
        training=stored.training,
        calibration=stored.calibration,
    )


def save_weights(weights: Weights, path: Path) -> None:
    """Write a weight file atomically, so that a failure leaves the old file, if there was one.

    Raises:
        LocregError: when the folder is missing or not writable, or the disk is full.
    """
    header = {
        "critic": weights.critic.describe(),
        "criterion": weights.criterion.describe() if weights.criterion else {},
        "training": weights.training,
        "calibration": asdict(weights.calibration) if weights.calibration else None,
    }
    write_tensors(path, header, weights.critic.state_dict())
