"""The table of solvers: options lead to functions, and solving is calling them."""

from collections.abc import Callable

import pytest
import torch

import locreg
from conftest import conditioned_regularizer, random_image, small_critic
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.solvers.first_order import adam, gradient_descent, proximal_gradient
from locreg.solvers.lbfgs import lbfgs
from locreg.solvers.noise_conditioned import annealed_proximal_gradient, gradient_steps
from locreg.solvers.objective import ConditionedObjective, Objective
from locreg.solvers.options import (
    AdamOptions,
    AnnealingOptions,
    GradientDescentOptions,
    GradientStepOptions,
    LBFGSOptions,
    ProximalGradientOptions,
    SolverOptions,
)
from locreg.solvers.registry import SOLVERS, solve, solver_named, solver_of

# The name, the options, and the function that they belong to.
EXPECTED: dict[str, tuple[SolverOptions, Callable]] = {
    "adam": (AdamOptions(steps=4), adam),
    "gradient-descent": (GradientDescentOptions(steps=4), gradient_descent),
    "proximal-gradient": (ProximalGradientOptions(steps=4), proximal_gradient),
    "lbfgs": (LBFGSOptions(steps=4), lbfgs),
    "gradient-step": (GradientStepOptions(steps=2), gradient_steps),
    "annealing": (AnnealingOptions(steps=4), annealed_proximal_gradient),
}


def test_every_solver_is_in_the_table_once():
    assert [solver.name for solver in SOLVERS] == list(EXPECTED)
    for values in ("name", "options", "function"):
        assert len({getattr(solver, values) for solver in SOLVERS}) == len(SOLVERS)
    assert {solver.options for solver in SOLVERS} == set(SolverOptions.__subclasses__())


@pytest.mark.parametrize("name", EXPECTED)
def test_name_options_and_function_belong_together(name):
    options, function = EXPECTED[name]
    solver = solver_named(name)
    assert solver is solver_of(options)
    assert solver.options is type(options)
    assert solver.function.split(".")[1] == function.__name__
    assert solver.defaults() == type(options)()
    assert solver_of(solver.defaults()) is solver
    assert getattr(locreg, function.__name__) is function


@pytest.mark.parametrize("name", EXPECTED)
def test_solving_is_calling_the_function(name):
    options, function = EXPECTED[name]
    y = random_image(2, 1, 9, 8, dtype=torch.float32)
    objective = Objective(y, LocalRegularizer(small_critic("silu").float()), 0.1)
    if solver_named(name).conditioned:
        objective = ConditionedObjective(y, conditioned_regularizer(), 0.2, 0.2)
    steps = []
    solution = solve(objective, y, options, on_step=lambda step, _: steps.append(step))
    direct = function(objective, y, options)
    assert torch.equal(solution.image, direct.image)
    assert not torch.equal(solution.image, y)
    assert (solution.status, solution.gradients) == (direct.status, direct.gradients)
    assert steps == list(range(len(direct.history)))
    for one, other in zip(solution.history, direct.history, strict=True):
        assert torch.equal(one.energy, other.energy)
        assert torch.equal(one.step_size, other.step_size)


def test_only_annealing_passes_through_higher_noise_levels():
    assert [solver.name for solver in SOLVERS if solver.anneals] == ["annealing"]
    assert [solver.name for solver in SOLVERS if solver.conditioned] == [
        "gradient-step",
        "annealing",
    ]
