"""What all commands that restore images take: weights, noise level, solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from locreg.cli_common import Device, load_regularizer, number_or, weights_name
from locreg.errors import UsageError
from locreg.options import (
    AdamOptions,
    AnnealingOptions,
    GradientDescentOptions,
    GradientStepOptions,
    LBFGSOptions,
    Precision,
    ProximalGradientOptions,
    SolverOptions,
    check_at_least,
    check_lam,
    check_positive,
    check_sigma,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from locreg.regularizer import LocalRegularizer
    from locreg.restoration import Lam

_SOLVERS: dict[str, type[SolverOptions]] = {
    "adam": AdamOptions,
    "gradient-descent": GradientDescentOptions,
    "proximal-gradient": ProximalGradientOptions,
    "lbfgs": LBFGSOptions,
    "gradient-step": GradientStepOptions,
    "annealing": AnnealingOptions,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all restorations take."""

    weights: str = "auto"
    """Packaged weights or a file; auto is what restores best: denoise-rgb for colour images and
    denoise-gray for grey ones, or ridge-rgb and ridge-gray for adam, gradient-descent,
    proximal-gradient and lbfgs, and for the lam of score."""
    sigma: str = "auto"
    """Standard deviation of the noise on the [0, 1] scale (0.1 is 25.5 of 255), or auto."""
    lam: str = "auto"
    """Weight of the regularizer: a number, auto (from sigma), or found for each image by sure,
    discrepancy or score (slower)."""
    solver: Literal[
        "auto",
        "adam",
        "gradient-descent",
        "proximal-gradient",
        "lbfgs",
        "gradient-step",
        "annealing",
    ] = "auto"
    """auto: what the weights were made for. adam: the paper's 50 steps; gradient-descent: eq. (5);
    proximal-gradient and lbfgs converge; gradient-step and annealing: for noise-conditioned
    weights."""
    steps: int | None = None
    """The most steps; by default 50 for adam, 100 for lbfgs, 16 for annealing, 200 for
    gradient-descent and proximal-gradient. Of gradient-step their number; by default what the
    weights were trained for, or 2 where the noise is strong."""
    white: float | None = None
    """Pixel value that counts as 1, such as 4095 in the 16-bit files of a 12-bit camera; by default
    the largest that the file can hold, and 1 in float files."""
    ensemble: bool = False
    """Average the energy over the 8 flips and turns of the image: 8 times as slow, a little
    better."""
    precision: Precision = "float32"
    """bfloat16: about twice as fast where the processor has it, many times as slow where not, up to
    0.02 dB worse; not for solvers that converge."""
    device: Device = "auto"
    """Where to compute."""
    report: Path | None = None
    """Folder for a page per image that shows what was removed and where damage is left."""
    json: bool = False
    """Print one machine-readable record per image, with the energy at every step."""

    def noise_and_lam(self) -> tuple[float | Literal["auto"], Lam]:
        """sigma and lam, checked as all other numbers are.

        Raises:
            UsageError: when one of them cannot be.
        """
        sigma: Any = number_or(("auto",), "sigma", self.sigma)
        lam: Any = number_or(("auto", "sure", "discrepancy", "score"), "lam", self.lam)
        if isinstance(sigma, float):
            check_sigma(sigma)
        if isinstance(lam, float):
            check_lam(lam)
        if sigma == 0 and lam in ("sure", "discrepancy"):
            raise UsageError(f"--lam {lam} needs noise: give a sigma above 0, or another --lam.")
        if self.steps is not None:
            check_at_least(1, "steps", self.steps)
        if self.white is not None:
            check_positive("white", self.white)
        return sigma, None if lam == "auto" else lam

    def weights_for(self, pixels: NDArray[np.float32]) -> str:
        """The weights that were named, or the packaged ones that serve pixels (C, H, W) best."""
        takes_energy = self.solver in ("auto", "gradient-step", "annealing")
        kind = "denoise" if takes_energy and self.lam != "score" else "ridge"
        return weights_name(self.weights, kind, pixels)

    def load(self, name: str) -> LocalRegularizer:
        """The regularizer of these weights, as it was asked for.

        Raises:
            UsageError: when they were learned from images of another white, on whose scale their
                level is.
        """
        regularizer = load_regularizer(
            name, self.device, precision=self.precision, symmetric=self.ensemble
        )
        learned = regularizer.learned_white
        if regularizer.learned_level is not None and self.white != learned:
            given = "without --white" if learned is None else f"with --white {learned:g}"
            raise UsageError(f"These weights were learned {given}: restore with the same.")
        return regularizer

    def solver_options(self, regularizer: LocalRegularizer, *, denoising: bool) -> SolverOptions:
        """The solver that was chosen, or that the weights were made for."""
        from locreg.solver_choice import default_solver

        if self.solver == "auto":
            solver = default_solver(regularizer, denoising=denoising)
        else:
            solver = _SOLVERS[self.solver]()
        if self.steps is None:
            return solver
        return replace(solver, steps=self.steps)
