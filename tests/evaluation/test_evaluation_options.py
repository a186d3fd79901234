"""What an evaluation can be asked for."""

import pytest

from locreg.errors import UsageError
from locreg.evaluation.options import EvaluationOptions, TaskOptions


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigmas": ()},
        {"sigmas": (25.0,)},
        {"sigmas": (0.1, 0.1)},
        {"methods": ()},
        {"crop": 15},
        {"sigmas": (0.0,)},
        {"degradation": TaskOptions(factor=2)},
    ],
)
def test_options_that_cannot_work_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError):
        EvaluationOptions(**{"test": tmp_path, "sigmas": (0.1,), "methods": ("tv",), **wrong})
    with pytest.raises(UsageError):
        TaskOptions(missing=1.0)
    with pytest.raises(UsageError):
        TaskOptions(factor=1)


def test_tasks_have_defaults_and_keep_what_is_given():
    nothing = TaskOptions()
    assert nothing.of_task("denoise") == nothing
    assert nothing.of_task("deblur") == TaskOptions(kernel="gaussian:7:3")
    assert nothing.of_task("inpaint") == TaskOptions(missing=0.5)
    assert nothing.of_task("upscale") == TaskOptions(factor=2)
    assert TaskOptions(missing=0.3).of_task("inpaint") == TaskOptions(missing=0.3)
