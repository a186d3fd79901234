"""Write a denoising energy as an ONNX file, for programs that know nothing of locreg."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from locreg.errors import LocregError, UsageError
from locreg.images.files import write_atomically
from locreg.regularizer.denoising_energy import DenoisingEnergy
from locreg.regularizer.onnx_denoiser import TILE, denoiser_model
from locreg.regularizer.stored_critic import StoredCritic, coarsened
from locreg.regularizer.stored_weights import read_weights
from locreg.version import __version__


def export_denoiser(name_or_path: str | Path, output: Path, steps: int | None = None) -> None:
    """Write the gradient steps of a denoising energy as one ONNX file: see `denoiser_model`.

    The file holds the receptive field, steps, channels, trained noise levels and the checksum of
    the weights as metadata.

    Args:
        name_or_path: packaged weights or a weight file.
        output: the file, which must not exist yet.
        steps: number of gradient steps; None: the number that the energy was trained for.

    Raises:
        UsageError: when the suffix is not .onnx, or steps is below 1.
        LocregError: when the file exists or cannot be written, there are no such weights, or they
            hold a critic.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"{output} must have the suffix .onnx.")
    if not output.parent.is_dir():
        raise LocregError(f"{output.parent} does not exist: make this folder first.")
    if output.exists():
        raise LocregError(f"{output} exists already: choose another name, or delete it.")
    if steps is not None and steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}.")
    weights = read_weights(name_or_path)
    if not weights.scales[0].noise_conditioned:
        raise LocregError(
            f"{name_or_path} holds a critic, which scores images and is no denoiser: give a "
            "denoising energy, such as denoise-rgb."
        )
    energy = DenoisingEnergy.of(weights)
    if steps is None:  # a learned level was found with one step
        steps = 1 if energy.learned_level is not None else energy.trained_steps
    parts = [coarsened(critic, k) for k, critic in enumerate(weights.scales)]
    if any(TILE % part.stride or part.stride > part.receptive_field for part in parts):
        raise LocregError(
            f"{name_or_path} has strides that do not divide {TILE}, or that leave pixels out: it "
            "cannot be exported."
        )
    levels = energy.learned_level if energy.noise_range is None else energy.noise_range
    model = denoiser_model(
        weights.scales,
        steps,
        {
            "receptive_field": str(max(part.receptive_field for part in parts)),
            "steps": str(steps),
            "channels": str(energy.in_channels),
            "noise_levels": str(levels),
            "weights": Path(name_or_path).name,
            "weights_sha256": checksum(weights.scales),
            "locreg_version": __version__,
        },
    )
    write_atomically(output, model)


def checksum(scales: Sequence[StoredCritic]) -> str:
    """The SHA-256 of all weights and biases, scale by scale, in the order of their names."""
    digest = hashlib.sha256()
    for scale in scales:
        for name, array in sorted(scale.arrays().items()):
            digest.update(name.encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
