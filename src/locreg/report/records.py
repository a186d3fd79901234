"""Records of restorations and weights: plain data for machines, sentences for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from locreg.degradation.noise import LEAST_NOISE
from locreg.regularizer.stored_critic import StoredCritic, coarsened
from locreg.regularizer.stored_weights import StoredWeights
from locreg.restoration.options import FileOptions
from locreg.restoration.restore_image_file import RestoredFile
from locreg.restoration.result import Restoration
from locreg.solvers.solution import Solution

_VALUES = 1_000_000  # of a residual that are squared at a time


def restoration_record(file: RestoredFile, options: FileOptions) -> dict[str, Any]:
    """What was done to one file, with these options."""
    restoration, solution = file.restoration, file.restoration.solution
    last, noise = solution.history[-1], restoration.noise
    return {
        "input": str(file.job.source),
        "output": str(file.job.target),
        "weights": file.weights,
        "learned": file.regularizer.learned_level is not None,
        "ensemble": file.regularizer.symmetric,
        "precision": file.regularizer.precision,
        "engine": file.regularizer.engine,
        "noise": None if noise is None else asdict(noise),
        "removed": _removed(restoration),
        "sigma": restoration.sigma,
        "lam": restoration.lam,
        "iterations": solution.steps,
        "gradients": solution.gradients,
        "status": solution.status.value,
        "energy": float(last.energy.sum()),
        "gradient_norm": _norm(last.gradient_norm),
        "seconds": round(restoration.seconds, 3),
        "white": options.white,
        "task": file.task.name,
        "planes": file.planes,
        "levels": list(file.levels),
        **file.task.settings,
    }


def _removed(restoration: Restoration) -> float:
    """The root mean square of what was removed, where something was observed."""
    y, explained = restoration.observation.reshape(-1), restoration.explained.reshape(-1)
    observed = None if restoration.observed is None else restoration.observed.reshape(-1)
    squares, count = 0.0, 0
    # Part by part, since images may be large.
    for first in range(0, y.size, _VALUES):
        part = slice(first, first + _VALUES)
        residual = y[part] - explained[part]
        if observed is not None:
            residual = residual[observed[part]]
        squares += float(np.square(residual).sum(dtype=float))
        count += residual.size
    return math.sqrt(squares / max(count, 1))


def _norm(norms: Any) -> float:
    """The norm of a batch, whose images have these norms."""
    return math.sqrt(float((norms**2).sum()))


def history_record(solution: Solution) -> list[dict[str, float]]:
    """The path of a solver, with the images of a batch combined."""
    return [
        {
            "energy": float(iterate.energy.sum()),
            "data_term": float(iterate.data_term.sum()),
            "regularizer": float(iterate.regularizer.sum()),
            "gradient_norm": _norm(iterate.gradient_norm),
            "step_size": float(iterate.step_size.mean()),
        }
        for iterate in solution.history
    ]


def sentence(record: dict[str, Any]) -> str:
    """A restoration record as a sentence for a person."""
    sigma = "" if record["sigma"] is None else f"sigma {record['sigma']:.4f}, "
    steps = "1 step" if record["iterations"] == 1 else f"{record['iterations']} steps"
    planes = "" if record["planes"] == 1 else f"{record['planes']} planes, "
    if len(record["levels"]) > 1:
        sigma = f"sigma {', '.join(f'{level:.4f}' for level in record['levels'])} by channel, "
    return (
        f"{record['output']}: {planes}{_found(record['noise'])}{sigma}"
        f"removed {record['removed']:.4f}, "
        f"lam {record['lam']:.4g}, {steps}, {record['seconds']:.1f} s"
    )


def _found(noise: dict[str, Any] | None) -> str:
    """What was found about the noise, as the start of a sentence."""
    if noise is None:
        return ""
    if noise["gain"] is not None:
        return (
            f"noise that grows with brightness (gain {noise['gain']:.3g}, read noise "
            f"{noise['read_noise']:.3g}), "
        )
    kind = "hardly any noise" if noise["level"] < LEAST_NOISE else f"{noise['kind']} noise"
    return f"{kind}, "


def weights_record(name: str, weights: StoredWeights) -> dict[str, Any]:
    """Everything that a weight file says about itself."""
    scales = weights.scales
    parts = [coarsened(scale, k) for k, scale in enumerate(scales)]
    return {
        "weights": name,
        "in_channels": scales[0].in_channels,
        "noise_conditioned": scales[0].noise_conditioned,
        "receptive_field": max(part.receptive_field for part in parts),
        "stride": max(part.stride for part in parts),
        "parameters": sum(a.size for scale in scales for a in scale.arrays().values()),
        **_layers(scales),
        "criterion": weights.criterion.describe() if weights.criterion else {},
        "training": weights.training,
        "calibration": asdict(weights.calibration) if weights.calibration else None,
    }


def _layers(scales: Sequence[StoredCritic]) -> dict[str, Any]:
    """The layers of the critic, or of the critic of each scale."""
    layers = [[asdict(layer) for layer in scale.layers] for scale in scales]
    if len(layers) == 1:
        return {"layers": layers[0]}
    return {f"layers at 1/{2**k} of the resolution": of_scale for k, of_scale in enumerate(layers)}


def outline(value: Any, indent: int = 0) -> str:
    """Nested plain data as indented lines; short lists stay on one line."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += [f"{' ' * indent}{key}:", outline(item, indent + 2)]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{' ' * indent}{key}:")
            lines += [
                f"{' ' * (indent + 2)}" + ", ".join(f"{k} {_short(v)}" for k, v in row.items())
                for row in item
            ]
        else:
            lines.append(f"{' ' * indent}{key}: {_short(item)}")
    return "\n".join(lines)


def _short(item: Any) -> str:
    if isinstance(item, float):
        return f"{item:.5g}"
    if isinstance(item, list | tuple):
        return ", ".join(map(_short, item))
    return "none" if item is None else str(item)
