"""Refinement of trained weights, from end to end."""

import math
from dataclasses import replace

import pytest
import torch

from conftest import ridge_with_contrast
from locreg.errors import LocregError, UsageError
from locreg.regularizer.criterion_record import BilevelRecord
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.regularizer.weights import Weights, load_weights, save_weights
from locreg.training.options import (
    CalibratedOptions,
    RefinementOptions,
)
from locreg.training.output import TrainingRun
from locreg.training.recipes import RefinementRecipe
from locreg.training.refine import refine


def critic(activation="softplus", channels=1, **options):
    generator = torch.Generator().manual_seed(0)
    layers = standard_layers((4, 4, 3), activation)
    return PatchCritic(layers, in_channels=channels, generator=generator, **options)


def start(tmp_path, **options):
    path = tmp_path / "start.safetensors"
    save_weights(Weights(critic=critic("softplus", 3, **options)), path)
    return path


def recipe(folder, initial, iterations=12, **options):
    return RefinementRecipe(
        clean=folder,
        initial=initial,
        sigma=0.1,
        lam=options.pop("lam", 0.01),
        data=CalibratedOptions(
            seed=3, held_out=1, validation_size=16, calibration_images=0, calibration_size=16
        ),
        training=RefinementOptions(
            iterations=iterations, batch=2, patch_size=16, checkpoint_every=4, log_every=3,
            validate_every=options.pop("validate_every", 6), **options,
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_refinement_brings_the_minimisers_closer(folder, tmp_path):
    output = tmp_path / "refined.safetensors"
    initial = start(tmp_path)
    refine(
        recipe(folder, initial, 60, learning_rate=0.02, validate_every=30),
        TrainingRun(output=output, progress=False),
    )
    weights = load_weights(output)
    curve = [v["quality"] for v in weights.training["validations"]]
    assert max(curve) > weights.training["initial_quality"] + 0.3
    assert weights.criterion == BilevelRecord(sigma=0.1, lam=0.01)
    assert not TrainingRun(output=output).checkpoint.exists()
    assert TrainingRun(output=output).log.exists()


@pytest.mark.parametrize("parameters", ["all", "last"])
def test_a_resumed_refinement_equals_one_never_interrupted(folder, tmp_path, parameters):
    asked = recipe(folder, start(tmp_path), parameters=parameters)
    whole = refine(asked, TrainingRun(output=tmp_path / "whole.safetensors", progress=False))
    cut = tmp_path / "cut.safetensors"

    def interrupt(done):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine(asked, TrainingRun(output=cut, progress=False, on_iteration=interrupt))
    assert not cut.exists()
    iterations = []
    resumed = refine(
        asked,
        TrainingRun(output=cut, resume=True, progress=False, on_iteration=iterations.append),
    )
    assert iterations == list(range(5, 13))  # from the checkpoint at iteration 4
    for one, two in zip(whole.critic.parameters(), resumed.critic.parameters(), strict=True):
        assert torch.equal(one, two)
    logs = [TrainingRun(output=tmp_path / f"{name}.safetensors").log for name in ("whole", "cut")]
    assert logs[0].read_text() == logs[1].read_text()


@pytest.mark.parametrize("parameters", ["all", "last"])
def test_either_all_weights_or_those_of_the_last_layer_are_refined(folder, tmp_path, parameters):
    initial = start(tmp_path)
    refined = refine(
        recipe(folder, initial, parameters=parameters),
        TrainingRun(output=tmp_path / "refined.safetensors", progress=False),
    ).critic
    begin = load_weights(initial).critic
    same = [
        torch.equal(a, b) for a, b in zip(begin.parameters(), refined.parameters(), strict=True)
    ]
    assert same.count(False) == (1 if parameters == "last" else len(same))
    assert not torch.equal(begin.weights[-1], refined.weights[-1])


def test_a_noise_conditioned_energy_is_refined_at_its_level(folder, tmp_path):
    initial = start(tmp_path, noise_conditioned=True)
    refined = refine(
        recipe(folder, initial, lam=None),
        TrainingRun(output=tmp_path / "refined.safetensors", progress=False),
    )
    assert not refined.critic.noise_conditioned
    assert refined.criterion.lam > 0
    assert refined.calibration is None


def test_unsuitable_weights_and_options_are_refused(folder, tmp_path):
    initial, output = start(tmp_path), tmp_path / "refined.safetensors"
    with pytest.raises(LocregError, match="alr-rgb is piecewise linear"):
        refine(recipe(folder, "alr-rgb"), TrainingRun(output=output))
    with pytest.raises(UsageError, match="parameters must be one of all, last"):
        recipe(folder, initial, parameters="first")
    with pytest.raises(UsageError, match="sigma must be above 0"):
        replace(recipe(folder, initial), sigma=0.0)
    assert not output.exists()


def test_a_refinement_begins_with_the_contrast_of_its_level(folder, tmp_path):
    """One iteration with a learning rate of almost 0 shows the weights that it began with."""
    weights, initial = ridge_with_contrast(math.log(0.5), -1.0), tmp_path / "start.safetensors"
    weights.critic.float()
    save_weights(weights, initial)
    first = refine(
        recipe(folder, initial, 1, learning_rate=1e-9, last_learning_rate=1e-9),
        TrainingRun(output=tmp_path / "refined.safetensors", progress=False),
    ).critic
    torch.testing.assert_close(first.weights[0], 5 * weights.critic.weights[0])
    torch.testing.assert_close(first.weights[-1], weights.critic.weights[-1] / 5)
