"""Records of what was done: plain data for machines, sentences and outlines for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from locreg.batch import Job
from locreg.regularizer import LocalRegularizer
from locreg.restoration import Restoration
from locreg.solvers import Solution
from locreg.weights import Weights


def restoration_record(
    job: Job, weights: str, regularizer: LocalRegularizer, found: Restoration
) -> dict[str, Any]:
    """What was done to one image, with the regularizer of these weights."""
    last = found.solution.history[-1]
    return {
        "input": str(job.source),
        "output": str(job.target),
        "weights": weights,
        "learned": regularizer.learned_level is not None,
        "ensemble": regularizer.symmetric,
        "precision": regularizer.precision,
        "sigma": found.sigma,
        "lam": found.lam,
        "iterations": found.solution.steps,
        "gradients": found.solution.gradients,
        "status": found.solution.status.value,
        "energy": float(last.energy.sum()),
        "gradient_norm": float(last.gradient_norm.square().sum().sqrt()),
        "seconds": round(found.seconds, 3),
    }


def history_record(solution: Solution) -> list[dict[str, float]]:
    """The path of a solver, its images taken together."""
    return [
        {
            "energy": float(iterate.energy.sum()),
            "data_term": float(iterate.data_term.sum()),
            "regularizer": float(iterate.regularizer.sum()),
            "gradient_norm": float(iterate.gradient_norm.square().sum().sqrt()),
            "step_size": float(iterate.step_size.mean()),
        }
        for iterate in solution.history
    ]


def sentence(record: dict[str, Any]) -> str:
    """A restoration record for a person."""
    sigma = "" if record["sigma"] is None else f"sigma {record['sigma']:.4f}, "
    steps = "1 step" if record["iterations"] == 1 else f"{record['iterations']} steps"
    return f"{record['output']}: {sigma}lam {record['lam']:.4g}, {steps}, {record['seconds']:.1f} s"


def weights_record(name: str, weights: Weights) -> dict[str, Any]:
    """All that a weight file says of itself."""
    critic = weights.critic
    return {
        "weights": name,
        "in_channels": critic.in_channels,
        "noise_conditioned": critic.noise_conditioned,
        "receptive_field": critic.receptive_field,
        "stride": critic.stride,
        "parameters": sum(p.numel() for p in critic.parameters()),
        "layers": [asdict(layer) for layer in critic.layers],
        "criterion": weights.criterion,
        "training": weights.training,
        "calibration": asdict(weights.calibration) if weights.calibration else None,
    }


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
