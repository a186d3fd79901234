"""Options of a bilevel refinement, as frozen dataclasses; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from locreg.errors import UsageError
from locreg.options import check_at_least, check_choice, check_positive, check_sigma
from locreg.training_options import (
    CalibratedOptions,
    LoopOptions,
    OptimizerName,
    as_paths,
    check_apart,
)


@dataclass(frozen=True, kw_only=True)
class RefinementOptions(LoopOptions):
    """Constants of the bilevel criterion (`locreg.bilevel`).

    Attributes:
        patch_size: side of the training patches in pixels.
        parameters: all, or those of the last layer alone: of a ridge critic one weight per filter.
        solver_steps: most gradients of L-BFGS that find the minimiser.
        solver_tolerance: where an image has converged, as for L-BFGS elsewhere.
        conjugate_gradients: most steps of the implicit differentiation.
    """

    iterations: int = 1_000
    batch: int = 4
    learning_rate: float = 2e-3
    last_learning_rate: float = 2e-4
    weight_average: float = 0.98
    validate_every: int = 250
    checkpoint_every: int = 25
    log_every: int = 25
    optimizer: OptimizerName = "adam"
    patch_size: int = 48
    parameters: Literal["all", "last"] = "all"
    solver_steps: int = 40
    solver_tolerance: float = 3e-4
    conjugate_gradients: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch_size", "solver_steps", "conjugate_gradients"):
            check_at_least(1, name, getattr(self, name))
        check_choice("parameters", self.parameters, ("all", "last"))
        check_positive("solver_tolerance", self.solver_tolerance)


@dataclass(frozen=True, kw_only=True)
class RefinementRecipe:
    """All that a refined weight file is made from.

    Attributes:
        clean: clean images: folders, searched with all their subfolders, or tar files.
        initial: weight file of the energy to refine, or packaged one. Of a noise-conditioned one
            its energy at ``sigma`` is refined, and the result no longer depends on a level.
        sigma: standard deviation of the white noise that is added.
        lam: weight of R in the energy; by default the best of the initial weights.
    """

    clean: Path | tuple[Path, ...]
    initial: Path | str
    sigma: float
    lam: float | None = None
    data: CalibratedOptions = field(default_factory=CalibratedOptions)
    training: RefinementOptions = field(default_factory=RefinementOptions)

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        if self.sigma == 0:
            raise UsageError("sigma must be above 0: without noise there is nothing to restore.")
        if self.lam is not None:
            check_positive("lam", self.lam)
        check_apart(self.clean_paths)

    @property
    def clean_paths(self) -> tuple[Path, ...]:
        """Folders and tar files of clean images."""
        return as_paths(self.clean)
