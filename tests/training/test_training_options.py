"""Options of training refuse values that cannot work."""

import pytest

from locreg.errors import UsageError
from locreg.training.options import (
    CriticOptions,
    DataOptions,
    DenoisingOptions,
    RefinementOptions,
    RidgeCriticOptions,
    SplitOptions,
    TrainingOptions,
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DenoisingOptions(precision="float16"), "precision must be one of"),
        (lambda: DenoisingOptions(weaker_noise=1.0), r"weaker_noise must be in \[0, 1\)"),
        (lambda: DenoisingOptions(zoom=0.5), "zoom must be in"),
        (lambda: DenoisingOptions(borders="black"), "borders must be one of"),
        (lambda: DenoisingOptions(steps=0), "steps must be at least 1"),
        (lambda: TrainingOptions(iterations=0), "iterations must be at least 1"),
        (lambda: TrainingOptions(batch=0), "batch must be at least 1"),
        (lambda: TrainingOptions(learning_rate=0.0), "learning_rate"),
        (lambda: TrainingOptions(weight_average=1.0), r"weight_average must be in \[0, 1\)"),
        (lambda: TrainingOptions(optimizer="sgd"), "optimizer must be one of"),
        (lambda: TrainingOptions(penalty=0.0), "penalty"),
        (lambda: TrainingOptions(penalty_form="cubic"), "penalty_form must be one of"),
        (lambda: TrainingOptions(patch_size=0), "patch_size must be at least 1"),
        (lambda: RefinementOptions(parameters="first"), "parameters must be one of all, last"),
        (lambda: RefinementOptions(solver_tolerance=0.0), "solver_tolerance"),
        (lambda: CriticOptions(channels=2), "channels must be 1 or 3"),
        (lambda: CriticOptions(widths=()), "widths must be at least 1"),
        (lambda: RidgeCriticOptions(filters=7, group=2), "a multiple of group"),
        (lambda: SplitOptions(seed=2**32), "seed must be below"),
        (lambda: SplitOptions(validation_size=15), "validation_size must be at least 16"),
        (lambda: SplitOptions(white=0.0), "white"),
        (lambda: DataOptions(validation_sigma=0.0), "validation_sigma must be above 0"),
        (lambda: DataOptions(calibration_size=15), "calibration_size must be at least 16"),
        (lambda: DataOptions(calibration_sigmas=(0.1, 0.0)), "calibration_sigmas must be above 0"),
        (lambda: DataOptions(calibration_sigmas=(0.1, 0.1)), "two or more levels"),
        (lambda: DataOptions(calibration_sigmas=(1.5,)), "is above 1"),
    ],
)
def test_impossible_options_are_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()
