"""How many gradients does a solver need for the energy of 1000 Adam steps?

    python benchmarks/convergence.py DATA --weights denoise-rgb --csv results.csv

Denoising at 0.1 and the Gaussian deblurring of `inverse.py` on the centres of photographs of
kodak24, with the energy of the noise level that was added. Adam goes 1000 steps at the rates of
Prost et al. (2021), section 3.3; the others count the gradients until they are as low as its end,
but for 1e-4 of the decrease from the start.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median

from torch import Tensor
from tqdm import tqdm

import locreg
from inverse import tests
from lam_choice import TASKS, middle
from locreg.measurements import Measurements, Row, parameter_checksum
from locreg.objective import Objective, Regularizer
from locreg.options import AdamOptions, LBFGSOptions, MinimiserOptions, ProximalGradientOptions
from locreg.problems import Problem
from locreg.solver_choice import calibrated_lam, solve
from locreg.solvers import Iterate
from locreg.validation import psnr

KEY = ["task", "sigma", "size", "weights", "checksum", "solver", "image"]
VALUES = ["lam", "start", "end", "psnr", "status", "gradients", "reached"]
SOLVERS: dict[str, MinimiserOptions] = {
    "adam": AdamOptions(steps=1000),
    "lbfgs": LBFGSOptions(steps=400),
    "proximal": ProximalGradientOptions(steps=400),
}
SHARE = 1e-4  # of Adam's decrease, that may be missing


class Counted:
    """A regularizer that counts how often its gradient is asked for."""

    def __init__(self, regularizer: Regularizer) -> None:
        self.regularizer, self.gradients = regularizer, 0

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """R(x) and its gradient."""
        self.gradients += 1
        return self.regularizer.value_and_grad(x)


def measure(
    solver: str,
    problem: Problem,
    regularizer: locreg.LocalRegularizer,
    least: float | None,
) -> Row:
    """Solve, and say when the energy ``least`` was reached (by Adam: at its end)."""
    lam = calibrated_lam(regularizer, problem.sigma, denoising=problem.operator is None)
    at_level = regularizer.at(problem.sigma) if regularizer.depends_on_level else regularizer
    counted, path = Counted(at_level), list[tuple[int, float]]()

    def follow(_: int, iterate: Iterate) -> None:
        path.append((counted.gradients, iterate.energy.item()))

    objective = Objective(problem.y, counted, lam, problem.operator)
    found = solve(objective, problem.start, SOLVERS[solver], on_step=follow)
    start, end = path[0][1], path[-1][1]
    reached = [n for n, energy in path if least is not None and energy <= least]
    return {
        "lam": f"{lam:.4g}",
        "start": f"{start:.7g}",
        "end": f"{end:.7g}",
        "psnr": f"{psnr(found.image, problem.clean).item():.4f}",
        "status": found.status.value,
        "gradients": str(found.gradients),
        "reached": str(reached[0]) if reached else "",
    }


def least_energy(adam: Row) -> float:
    """What the others have to reach."""
    start, end = float(adam["start"]), float(adam["end"])
    return end + SHARE * (start - end)


def main() -> None:
    """Measure what is not in the file yet, then print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--csv", type=Path, required=True)
    options = parser.parse_args()

    regularizer = locreg.load(options.weights)
    checksum = parameter_checksum(regularizer)
    known = Measurements(options.csv, KEY, VALUES)
    chosen = tests(options.data, "kodak24", regularizer.in_channels)[: options.images]
    for task, (sigma, degrade) in TASKS.items():
        rows: dict[str, list[Row]] = {solver: [] for solver in SOLVERS}
        for test in tqdm(chosen, f"{task} {options.weights}"):
            problem, least = degrade(middle(test, options.size), sigma), None
            for solver in SOLVERS:
                row = {
                    "task": task,
                    "sigma": f"{sigma:g}",
                    "size": str(options.size),
                    "weights": options.weights,
                    "checksum": checksum,
                    "solver": solver,
                    "image": test.path.name,
                }
                found = known.once(row, partial(measure, solver, problem, regularizer, least))
                if solver == "adam":
                    least = least_energy(found)
                rows[solver].append(found)
        for solver, lines in rows.items():
            if solver == "adam":
                continue
            reached = [int(line["reached"]) for line in lines if line["reached"]]
            print(
                f"{task}, {options.weights}, {solver}: "
                + (
                    f"median {median(reached):g}, most {max(reached)} gradients; "
                    if reached
                    else ""
                )
                + f"{len(reached)} of {len(lines)} images reach Adam's energy; "
                + f"mean PSNR {sum(float(line['psnr']) for line in lines) / len(lines):.2f} dB"
            )


if __name__ == "__main__":
    main()
