"""The options of a restoration. Imports nothing heavy, so that the command line starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from locreg.arguments import (
    Device,
    Precision,
    check_at_least,
    check_choice,
    check_lam,
    check_positive,
)
from locreg.degradation.noise import NoiseKind, check_sigma
from locreg.errors import UsageError
from locreg.solvers.options import SolverOptions

Border = Literal["unknown", "circular"]
LamRule = Literal["sure", "discrepancy", "score"]

# The default for upscaling: a compromise between a camera with its lens (about 0.5) and software
# that shrinks images.
ANTIALIASING = 0.35


_STRONGEST = 2.0


def _levels(sigma: Any) -> float | Literal["auto"] | tuple[float, ...]:
    """A noise level, or one for each image of a batch, or "auto"."""
    if isinstance(sigma, str) and sigma == "auto":
        return "auto"
    if isinstance(sigma, str | float | int) or getattr(sigma, "ndim", 1) == 0:
        return _number("sigma", sigma, ("auto",))
    try:
        return tuple(_number("sigma", level, ()) for level in sigma)
    except TypeError:
        return _number("sigma", sigma, ("auto",))


def _number(name: str, value: Any, words: tuple[str, ...]) -> float:
    """Convert a number, or text that holds one, to float."""
    try:
        return float(value)
    except (TypeError, ValueError):
        parts = ["a number", ", ".join(words[:-1]), *words[-1:]]
        allowed = " or ".join(part for part in parts if part)
        raise UsageError(f"{name} must be {allowed}, got {value!r}.") from None


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """How to restore an observation with a given regularizer.

    Attributes:
        sigma: standard deviation of the noise on the [0, 1] scale. ``"auto"`` estimates it from the
            observation if it is needed; for denoising with weights that were learned from a folder
            of images, it takes their learned level instead. A list has a level for each image of a
            batch.
        lam: weight of the regularizer. None or ``"auto"``: computed from sigma, by the calibration
            of the weights. ``"sure"``, ``"discrepancy"`` and ``"score"`` find it for this
            observation without a ground truth, by solving ten to thirty times: see
            `locreg.lam_by_sure`, `locreg.lam_by_discrepancy` and `locreg.lam_by_score`.
        solver: options of the solver to use. None: the solver that the weights were made for.
        steps: the most steps of the solver. None: the number in the solver's options.
        noise: kind of the noise, for denoising; ``"auto"`` finds it.
        gain, read_noise: of noise whose variance is gain x + read_noise^2 at brightness x. None:
            estimated, if the noise is ``"poisson-gaussian"``.
        strength: how much of the noise is removed, from 0 to 2; 1 removes what was estimated. It
            multiplies lam, and above 1 it multiplies sigma instead, if R depends on sigma.

    Raises:
        UsageError: when a value is invalid, or two of them contradict each other.
    """

    sigma: float | Literal["auto"] | Sequence[float] = "auto"
    lam: float | LamRule | None = None
    solver: SolverOptions | None = None
    steps: int | None = None
    noise: NoiseKind | Literal["auto"] = "auto"
    gain: float | None = None
    read_noise: float | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        if str(self.lam) == "auto":  # as the command line calls it
            object.__setattr__(self, "lam", None)
        object.__setattr__(self, "sigma", _levels(self.sigma))
        levels = self.sigma if isinstance(self.sigma, tuple) else (self.sigma,)
        for level in levels:
            if level != "auto":
                check_sigma(float(level))
        rules = get_args(LamRule)
        if self.lam is not None and self.lam not in rules:
            object.__setattr__(self, "lam", _number("lam", self.lam, ("auto", *rules)))
            check_lam(float(self.lam))
        if 0 in levels and self.lam in ("sure", "discrepancy"):
            raise UsageError(f"lam {self.lam} needs noise: give a sigma above 0, or another lam.")
        if self.steps is not None:
            check_at_least(1, "steps", self.steps)
        check_choice("noise", self.noise, ("auto", *get_args(NoiseKind)))
        self._check_growing_noise()
        if not 0 <= self.strength <= _STRONGEST:
            raise UsageError(
                f"strength must be from 0 (nothing is removed) to {_STRONGEST:g}, got "
                f"{self.strength:g}; 1 is what the estimate says."
            )
        if self.strength != 1 and self.lam is not None:
            raise UsageError("strength and lam both set how much is removed: give one of them.")

    @property
    def level(self) -> float | None:
        """The given noise level of all images; None if it is to be estimated.

        Raises:
            UsageError: when each image has a level of its own.
        """
        if self.sigma == "auto":
            return None
        if isinstance(self.sigma, float):
            return self.sigma
        raise UsageError("A list of sigmas is for a batch of images: give one sigma.")

    @property
    def describes_noise(self) -> bool:
        """Whether the kind of the noise, or how it grows with brightness, is given."""
        return self.noise != "auto" or self.gain is not None or self.read_noise is not None

    def _check_growing_noise(self) -> None:
        given = self.gain is not None or self.read_noise is not None
        if given and self.noise not in ("auto", "poisson-gaussian"):
            raise UsageError(
                f"gain and read_noise are for noise poisson-gaussian, not {self.noise}: leave them "
                "out, or change noise."
            )
        if self.sigma != "auto" and (given or self.noise == "poisson-gaussian"):
            raise UsageError(
                "Noise poisson-gaussian has no single level: give gain and read_noise in place of "
                "sigma."
            )
        if self.gain is not None:
            check_positive("gain", self.gain)
        if self.read_noise is not None:
            check_sigma(self.read_noise)


Pages = Literal["together", "independent"]


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """How to restore image files.

    Attributes:
        weights: packaged weights or a weight file. ``"auto"`` takes the packaged weights that
            restore best: ``denoise-rgb`` or ``denoise-gray``, or, for a solver or a rule for lam
            that needs a critic, ``ridge-rgb`` or ``ridge-gray``.
        restoration: noise level, lam and solver.
        white: pixel value that counts as 1. None: the largest value that a file can hold, or 1 in
            float files.
        ensemble: average R over the 8 flips and rotations of the image.
        precision: number format of the convolutions.
        device: where to compute.
        workers: how many images are restored at the same time.
        overwrite: make results again that exist already.
        axes: of TIFF files of several pages that do not say them: ZYX, TYX or CYX.
        pages: whether the pages of a TIFF file belong together, with one noise level for each
            channel, or are independent, as scans.
        quality: of JPEG and WebP files, from 1 to 100; by default 95 for JPEG, and WebP without
            loss.

    Raises:
        UsageError: when white is not positive, quality is not from 1 to 100, axes are unknown, or
            the restoration has a list of levels.
    """

    weights: str = "auto"
    restoration: RestoreOptions = RestoreOptions()
    white: float | None = None
    ensemble: bool = False
    precision: Precision = "float32"
    device: Device = "auto"
    workers: int = 1
    overwrite: bool = False
    quality: int | None = None
    axes: str | None = None
    pages: Pages = "together"

    def __post_init__(self) -> None:
        check_at_least(1, "workers", self.workers)
        if self.white is not None:
            check_positive("white", self.white)
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality must be from 1 to 100, got {self.quality}.")
        self.restoration.level  # noqa: B018 (refuses a list, since a file holds no batch)
        if self.axes is not None:
            check_choice("axes", self.axes.upper(), ("ZYX", "TYX", "CYX"))
        if self.axes is not None and self.pages == "independent":
            raise UsageError("Independent pages have no axes: leave axes out.")
