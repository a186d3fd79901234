"""The options that several commands share: weights, noise level, solver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from locreg.arguments import Device, Precision
from locreg.degradation.noise import NoiseKind
from locreg.restoration.options import FileOptions, RestoreOptions
from locreg.solvers.registry import SOLVERS, solver_named

if TYPE_CHECKING:
    SolverName = str
else:
    SolverName = Literal[("auto", *(solver.name for solver in SOLVERS))]

Output = Annotated[Path, arg(aliases=["-o"])]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of the restoration."""

    weights: str = "auto"
    """Packaged weights or a weight file; auto: denoise-rgb for colour images and denoise-gray for
    grey ones, which restore best. With --lam score, or the solver adam, gradient-descent,
    proximal-gradient or lbfgs, auto takes ridge-rgb and ridge-gray."""
    sigma: str = "auto"
    """Standard deviation of the noise on the [0, 1] scale (0.1 is 25.5 of 255); auto: estimated
    from the image, or the level that the weights have learned from a folder."""
    noise: NoiseKind | Literal["auto"] = "auto"
    """Kind of the noise, for denoising: white; camera (correlated, coloured or compressed, as in
    photographs); poisson-gaussian (grows with brightness, as on sensors and microscopes); auto:
    found in the image."""
    gain: float | None = None
    """For noise that grows with brightness: its variance per unit of brightness, on the [0, 1]
    scale; by default estimated."""
    read_noise: float | None = None
    """For noise that grows with brightness: its standard deviation in the dark; by default
    estimated."""
    strength: float = 1.0
    """How much of the noise is removed, from 0 (nothing) to 2; 1 is what the estimate says."""
    lam: str = "auto"
    """Weight of the regularizer: a number; auto (computed from sigma); or sure, discrepancy or
    score, which find it for each image and are slower."""
    solver: SolverName = "auto"
    """auto: the solver that the weights were made for; adam: the paper's 50 steps;
    gradient-descent: eq. (5) of the paper; proximal-gradient and lbfgs: run until they converge;
    gradient-step and annealing: need weights of a denoising energy."""
    steps: int | None = None
    """The most steps; by default 50 for adam, 100 for lbfgs, 16 for annealing, 200 for
    gradient-descent and proximal-gradient. For gradient-step, the exact number of steps; by default
    the number that the weights were trained for, or 2 for strong noise."""
    white: float | None = None
    """Pixel value that counts as 1, such as 4095 in the 16-bit files of a 12-bit camera; by default
    the largest that the file can hold, or 1 in float files."""
    ensemble: bool = False
    """Average the regularizer over the 8 flips and rotations of the image: 8 times as slow, a
    little better."""
    precision: Precision = "float32"
    """bfloat16: about twice as fast on processors that support it, many times slower on others, up
    to 0.02 dB worse; too inexact for proximal-gradient and lbfgs to converge."""
    device: Device = "auto"
    """Where to compute; auto: on a CUDA GPU if there is one."""
    report: Path | None = None
    """Folder for one HTML page per image, which shows what was removed and where the result still
    looks damaged."""
    json: bool = False
    """Print one JSON record per image, with the energy at every step."""

    def options(self) -> FileOptions:
        """These settings as options of the library.

        Raises:
            UsageError: when a value is invalid.
        """
        sigma: Any = self.sigma
        lam: Any = self.lam
        solver = None if self.solver == "auto" else solver_named(self.solver).defaults()
        return FileOptions(
            weights=self.weights,
            restoration=RestoreOptions(
                sigma=sigma,
                lam=lam,
                solver=solver,
                steps=self.steps,
                noise=self.noise,
                gain=self.gain,
                read_noise=self.read_noise,
                strength=self.strength,
            ),
            white=self.white,
            ensemble=self.ensemble,
            precision=self.precision,
            device=self.device,
        )
