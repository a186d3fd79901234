"""How many gradients does a solver need to reach the energy of 1000 Adam steps?

    python benchmarks/convergence.py DATA --weights denoise-rgb --csv results.csv

The tasks are denoising at 0.1 and the Gaussian deblurring of `inverse.py`, on the centres of
photographs of kodak24, with the energy for the noise level that was added. Adam takes 1000 steps at
the learning rates of Prost et al. (2021), section 3.3. For the other solvers, gradients are counted
until their energy is as low as Adam's last one, up to 1e-4 of Adam's decrease.
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
from locreg.evaluation.measurements import Measurements, Row
from locreg.evaluation.methods import parameter_checksum
from locreg.evaluation.simulation import Problem
from locreg.images.metrics import psnr
from locreg.restoration.defaults import calibrated_lam
from locreg.solvers.objective import Objective, Regularizer
from locreg.solvers.options import (
    AdamOptions,
    LBFGSOptions,
    ProximalGradientOptions,
    SolverOptions,
)
from locreg.solvers.registry import solve
from locreg.solvers.solution import Iterate

KEY = ["task", "sigma", "size", "weights", "checksum", "solver", "image"]
VALUES = ["lam", "start", "end", "psnr", "status", "gradients", "reached"]
SOLVERS: dict[str, SolverOptions] = {
    "adam": AdamOptions(steps=1000),
    "lbfgs": LBFGSOptions(steps=400),
    "proximal": ProximalGradientOptions(steps=400),
}
SHARE = 1e-4  # share of Adam's decrease that the others may miss


class Counted:
    """A regularizer that counts how often its gradient is computed."""

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
    """Solve, and record after how many gradients the energy ``least`` was reached."""
    lam = calibrated_lam(regularizer, problem.sigma, denoising=problem.operator is None)
    at_level = regularizer.at(problem.sigma) if regularizer.depends_on_level else regularizer
    counted, path = Counted(at_level), list[tuple[int, float]]()

    def follow(_: int, iterate: Iterate) -> None:
        path.append((counted.gradients, iterate.energy.item()))

    objective = Objective(problem.y, counted, lam, problem.operator)
    solution = solve(objective, problem.start, SOLVERS[solver], on_step=follow)
    start, end = path[0][1], path[-1][1]
    reached = [n for n, energy in path if least is not None and energy <= least]
    return {
        "lam": f"{lam:.4g}",
        "start": f"{start:.7g}",
        "end": f"{end:.7g}",
        "psnr": f"{psnr(solution.image, problem.clean).item():.4f}",
        "status": solution.status.value,
        "gradients": str(solution.gradients),
        "reached": str(reached[0]) if reached else "",
    }


def least_energy(adam: Row) -> float:
    """The energy that the other solvers have to reach."""
    start, end = float(adam["start"]), float(adam["end"])
    return end + SHARE * (start - end)


def main() -> None:
    """Measure what is not in the CSV file yet, then print medians."""
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
                line = known.once(row, partial(measure, solver, problem, regularizer, least))
                if solver == "adam":
                    least = least_energy(line)
                rows[solver].append(line)
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
