"""Options of solvers that cannot work are refused."""

import pytest

from locreg.errors import UsageError
from locreg.solvers.options import (
    AdamOptions,
    AnnealingOptions,
    GradientDescentOptions,
    GradientStepOptions,
    LBFGSOptions,
    ProximalGradientOptions,
)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (AdamOptions, {"steps": 0}),
        (AdamOptions, {"learning_rate": 0}),
        (AdamOptions, {"beta1": 1.0}),
        (GradientDescentOptions, {"step_size": -1}),
        (GradientDescentOptions, {"tolerance": -1}),
        (ProximalGradientOptions, {"steps": 0}),
        (ProximalGradientOptions, {"inertia": 1.0}),
        (ProximalGradientOptions, {"growth": 0.9}),
        (LBFGSOptions, {"memory": 0}),
        (LBFGSOptions, {"curvature": 1.0}),
        (LBFGSOptions, {"decrease": 0.95}),
    ],
)
def test_options_that_cannot_work_are_refused(make, wrong):
    with pytest.raises(UsageError):
        make(**wrong)


def test_the_wrong_option_of_a_conditioned_solver_is_named():
    with pytest.raises(UsageError, match="steps must be at least 1"):
        AnnealingOptions(steps=0)
    with pytest.raises(UsageError, match="first_level must be positive"):
        AnnealingOptions(first_level=0)
    with pytest.raises(UsageError, match="steps must be at least 1"):
        GradientStepOptions(steps=0)
