"""The table of all solvers, for the library and the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from locreg.errors import UsageError
from locreg.solvers.options import (
    AdamOptions,
    AnnealingOptions,
    GradientDescentOptions,
    GradientStepOptions,
    LBFGSOptions,
    ProximalGradientOptions,
    SolverOptions,
)

if TYPE_CHECKING:
    from torch import Tensor

    from locreg.solvers.objective import ConditionedObjective, Objective
    from locreg.solvers.solution import OnStep, Solution


@dataclass(frozen=True, kw_only=True)
class Solver:
    """One row of the table of solvers.

    Attributes:
        name: its name on the command line.
        options: the class of its options; each solver has its own.
        function: FILE.FUNCTION in this package. It is imported on first use, since torch takes a
            second or two to load.
        conditioned: whether it takes a `ConditionedObjective`, with a noise-conditioned R. Other
            solvers minimise an `Objective`.
        anneals: whether it goes through noise levels above that of the observation, which then must
            not be 0.
    """

    name: str
    options: type[SolverOptions]
    function: str
    conditioned: bool = False
    anneals: bool = False

    def defaults(self) -> SolverOptions:
        """Its options, all at their defaults."""
        make: Callable[[], SolverOptions] = self.options
        return make()


SOLVERS = (
    Solver(name="adam", options=AdamOptions, function="first_order.adam"),
    Solver(
        name="gradient-descent",
        options=GradientDescentOptions,
        function="first_order.gradient_descent",
    ),
    Solver(
        name="proximal-gradient",
        options=ProximalGradientOptions,
        function="first_order.proximal_gradient",
    ),
    Solver(name="lbfgs", options=LBFGSOptions, function="lbfgs.lbfgs"),
    Solver(
        name="gradient-step",
        options=GradientStepOptions,
        function="noise_conditioned.gradient_steps",
        conditioned=True,
    ),
    Solver(
        name="annealing",
        options=AnnealingOptions,
        function="noise_conditioned.annealed_proximal_gradient",
        conditioned=True,
        anneals=True,
    ),
)


def solver_named(name: str) -> Solver:
    """The solver with this name, which must be in the table."""
    return next(solver for solver in SOLVERS if solver.name == name)


def solver_of(options: SolverOptions) -> Solver:
    """The solver whose options these are.

    Raises:
        UsageError: when they are those of no solver.
    """
    for solver in SOLVERS:
        if type(options) is solver.options:
            return solver
    known = ", ".join(solver.options.__name__ for solver in SOLVERS)
    raise UsageError(f"{type(options).__name__} are no options of a solver: give one of {known}.")


def solve(
    objective: Objective | ConditionedObjective,
    start: Tensor,
    options: SolverOptions,
    *,
    on_step: OnStep | None = None,
) -> Solution:
    """Run the solver whose options are given.

    Args:
        objective: an `Objective`; a `ConditionedObjective` for `GradientStepOptions` and
            `AnnealingOptions`.
        start: the first x (B, C, H, W), nominally in [0, 1].
        options: the options of one of the solvers.
        on_step: called with the number and the `Iterate` of each point of the path.

    Raises:
        UsageError, LocregError: as the solver.
    """
    file, function = solver_of(options).function.split(".")
    run: Callable[..., Any] = getattr(import_module(f"locreg.solvers.{file}"), function)
    solution: Solution = run(objective, start, options, on_step=on_step)
    return solution
