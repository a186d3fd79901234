"""How good is a lam that was chosen without a ground truth?

    python benchmarks/lam_choice.py DATA --weights alr-rgb --csv results.csv

The tasks are denoising at 0.1 and the deblurring of `inverse.py` (gaussian, sigma 0.03), on the
centres of the photographs of kodak24; sigma is given. The rules for lam are the calibration (auto),
Stein's risk estimate (sure), the discrepancy principle and the score of clean images. They are
compared with the oracle, the lam of highest PSNR for each image.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

import locreg
from inverse import Test, gaussian, tests
from locreg.evaluation.measurements import Measurements, Row
from locreg.evaluation.methods import parameter_checksum
from locreg.evaluation.simulation import Photograph, Problem, denoising
from locreg.images.metrics import psnr
from locreg.images.patches import centre
from locreg.restoration.defaults import calibrated_lam
from locreg.restoration.options import LamRule
from locreg.solvers.search import best_lam

KEY = ["task", "sigma", "size", "weights", "checksum", "rule", "image"]
VALUES = ["lam", "psnr"]
RULES: dict[str, LamRule | None] = {
    "auto": None,
    "sure": "sure",
    "discrepancy": "discrepancy",
    "score": "score",
}


TASKS: dict[str, tuple[float, Callable[[Test, float], Problem]]] = {
    "denoising": (0.1, lambda test, sigma: denoising(test.photograph, sigma)),
    "deblurring": (0.03, gaussian),
}


def middle(test: Test, size: int) -> Test:
    """The middle of a photograph, size x size pixels."""
    crop = centre(test.photograph.clean, size).contiguous()
    return Test(Photograph(crop, test.photograph.name), test.path, test.index)


def measure(rule: str, make: Callable[[], Problem], regularizer: locreg.LocalRegularizer) -> Row:
    """lam by one rule, and the PSNR of the restored image."""
    problem = make()

    def quality(lam: float) -> float:
        return psnr(problem.restore(regularizer, lam).image, problem.clean).item()

    if rule == "oracle":
        first = calibrated_lam(regularizer, problem.sigma, denoising=problem.operator is None)
        lam, best = best_lam(quality, first)
    else:
        restored = problem.restore(regularizer, RULES[rule])
        lam, best = restored.lam, psnr(restored.image, problem.clean).item()
    return {"lam": f"{lam:.4g}", "psnr": f"{best:.4f}"}


def main() -> None:
    """Measure what is not in the CSV file yet, then print means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument(
        "--rules", nargs="+", choices=[*RULES, "oracle"], default=[*RULES, "oracle"]
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--csv", type=Path, required=True)
    options = parser.parse_args()

    regularizer = locreg.load(options.weights)
    checksum = parameter_checksum(regularizer)
    known = Measurements(options.csv, KEY, VALUES)
    kodak = tests(options.data, "kodak24", regularizer.in_channels)
    for task, (sigma, degrade) in TASKS.items():
        means = {}
        for rule in options.rules:
            rows = []
            for test in tqdm(kodak, f"{task} {rule}"):
                row = {
                    "task": task,
                    "sigma": f"{sigma:g}",
                    "size": str(options.size),
                    "weights": options.weights,
                    "checksum": checksum,
                    "rule": rule,
                    "image": test.path.name,
                }
                problem = partial(degrade, middle(test, options.size), sigma)
                line = known.once(row, partial(measure, rule, problem, regularizer))
                rows.append(float(line["psnr"]))
            means[rule] = sum(rows) / len(rows)
        for rule, mean in means.items():
            print(f"{task}, {options.weights}, {rule}: {mean:.2f} dB, {len(kodak)} images")


if __name__ == "__main__":
    main()
