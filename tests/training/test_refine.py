"""The bilevel criterion: its gradient, its linear systems, and refinement from end to end."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_image
from locreg.bilevel import bilevel_loss, conjugate_gradient
from locreg.critic import MCP_ROUNDING, Layer, PatchCritic, standard_layers
from locreg.errors import LocregError, UsageError
from locreg.options import LBFGSOptions
from locreg.refinement import refine_from_folder
from locreg.refinement_options import RefinementOptions, RefinementRecipe
from locreg.ridge import ridge_critic
from locreg.training_files import checkpoint_path, log_path
from locreg.training_options import CalibratedOptions
from locreg.weights import Weights, load_weights, save_weights

EXACT = LBFGSOptions(steps=2000, tolerance=1e-11)


def critic(activation="softplus", channels=1, **options):
    generator = torch.Generator().manual_seed(0)
    layers = standard_layers((4, 4, 3), activation)
    return PatchCritic(layers, in_channels=channels, generator=generator, **options)


def loss(network, clean, noisy, lam=0.05):
    return bilevel_loss(
        network, clean, noisy, lam, minimisation=EXACT, conjugate_gradients=300
    ).square_error.item()


@pytest.mark.parametrize(("kind", "channels"), [("softplus", 1), ("silu", 3), ("ridge", 1)])
def test_its_gradient_is_that_of_finite_differences(kind, channels):
    """Along a random direction of all weights at once."""
    generator = torch.Generator().manual_seed(0)
    network = (
        ridge_critic(6, in_channels=channels, generator=generator, noise=0.1)
        if kind == "ridge"
        else critic(kind, channels)
    ).double()
    clean = random_image(2, channels, 14, 11)
    noisy = clean + 0.1 * torch.randn(
        clean.shape, generator=torch.Generator().manual_seed(1), dtype=clean.dtype
    )
    loss(network, clean, noisy)
    gradients = [p.grad.clone() for p in network.parameters()]
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(g.shape, generator=generator, dtype=g.dtype) for g in gradients]
    along = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))

    def moved(step):
        other = PatchCritic.from_description(network.describe()).double()
        other.load_state_dict(network.state_dict())
        with torch.no_grad():
            for parameter, direction in zip(other.parameters(), directions, strict=True):
                parameter += step * direction
        return loss(other, clean, noisy)

    assert abs(along) > 1e-6
    assert (moved(1e-5) - moved(-1e-5)) / 2e-5 == pytest.approx(along, rel=0.01)


def test_a_quadratic_energy_in_closed_form():
    """Near 0 the potential is c t^2 / 2: with lam R(x) = k/2 |x|^2, x* = y / (1 + k)."""
    layers = (
        Layer(channels=1, kernel=1, activation="mcp", bias=False),
        Layer(channels=1, kernel=1, activation="identity", bias=False),
    )
    network = PatchCritic(layers, in_channels=1).double()
    torch.nn.init.constant_(network.weights[0], 0.01)
    torch.nn.init.constant_(network.weights[1], 300.0)
    clean, noisy = random_image(2, 1, 9, 9), random_image(2, 1, 9, 9, seed=1)
    slope = 0.1 * 0.01**2 * (1 / MCP_ROUNDING - 1)  # of k, as a function of the last weight
    shrinkage = 1 / (1 + 300 * slope)
    found = loss(network, clean, noisy, lam=0.1)
    assert found == pytest.approx((shrinkage * noisy - clean).square().mean().item())
    moves = -slope * shrinkage**2 * noisy  # of x*
    expected = (2 * (shrinkage * noisy - clean) * moves).mean().item()
    assert network.weights[1].grad.item() == pytest.approx(expected)


@given(seed=st.integers(0, 20), steps=st.integers(8, 20))
def test_conjugate_gradients_solve_each_image_of_a_batch(seed, steps):
    generator = torch.Generator().manual_seed(seed)
    roots = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64)
    matrices = roots @ roots.transpose(1, 2) + torch.eye(8).double()
    right = torch.randn(3, 8, 1, generator=generator, dtype=torch.float64)
    right[1] = 0
    found = conjugate_gradient(lambda x: matrices @ x, right, steps, tolerance=1e-9)
    torch.testing.assert_close(found, torch.linalg.solve(matrices, right), atol=1e-5, rtol=1e-5)


def test_conjugate_gradients_stop_where_the_curvature_is_negative():
    diagonal = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])[..., None]
    found = conjugate_gradient(lambda x: diagonal * x, torch.ones(2, 2, 1), 10)
    torch.testing.assert_close(found[0], torch.tensor([[1.0], [0.5]]))
    assert torch.equal(found[1], torch.ones(2, 1))  # as if the energy were the data term alone


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
            iterations=iterations, batch=2, patch_size=16, validate_every=6, checkpoint_every=4,
            log_every=3, **options,
        ),
    )  # fmt: skip


def test_refinement_brings_the_minimisers_closer(folder, tmp_path):
    output = tmp_path / "refined.safetensors"
    initial = start(tmp_path)
    refine_from_folder(output, recipe(folder, initial, 60, learning_rate=0.02), progress=False)
    weights = load_weights(output)
    curve = [v["quality"] for v in weights.training["validations"]]
    assert max(curve) > weights.training["initial_quality"] + 0.3
    assert weights.criterion == {"name": "bilevel", "sigma": 0.1, "lam": 0.01}
    assert not checkpoint_path(output).exists()
    assert log_path(output).exists()


@pytest.mark.parametrize("parameters", ["all", "last"])
def test_a_resumed_refinement_equals_one_never_interrupted(
    folder, tmp_path, monkeypatch, parameters
):
    asked = recipe(folder, start(tmp_path), parameters=parameters)
    whole = refine_from_folder(tmp_path / "whole.safetensors", asked, progress=False)
    cut = tmp_path / "cut.safetensors"
    from locreg import bilevel

    original, calls = bilevel.bilevel_loss, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(bilevel, "bilevel_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        refine_from_folder(cut, asked, progress=False)
    resumed = refine_from_folder(cut, asked, resume=True, progress=False)
    assert len(calls) == 7 + 8  # from the checkpoint at iteration 4
    for one, two in zip(whole.critic.parameters(), resumed.critic.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_last_layer_alone(folder, tmp_path):
    initial = start(tmp_path)
    refined = refine_from_folder(
        tmp_path / "last.safetensors", recipe(folder, initial, parameters="last"), progress=False
    ).critic
    begin = load_weights(initial).critic
    same = [
        torch.equal(a, b) for a, b in zip(begin.parameters(), refined.parameters(), strict=True)
    ]
    assert same.count(False) == 1
    assert not torch.equal(begin.weights[-1], refined.weights[-1])


def test_a_noise_conditioned_energy_is_refined_at_its_level(folder, tmp_path):
    initial = start(tmp_path, noise_conditioned=True)
    refined = refine_from_folder(
        tmp_path / "refined.safetensors", recipe(folder, initial, lam=None), progress=False
    )
    assert not refined.critic.noise_conditioned
    assert refined.criterion["lam"] > 0
    assert refined.calibration is None


def test_what_cannot_be_refined_is_told(folder, tmp_path):
    initial, output = start(tmp_path), tmp_path / "refined.safetensors"
    with pytest.raises(LocregError, match="alr-rgb is piecewise linear"):
        refine_from_folder(output, recipe(folder, "alr-rgb"))
    with pytest.raises(UsageError, match="parameters must be one of all, last"):
        recipe(folder, initial, parameters="first")
    with pytest.raises(UsageError, match="sigma must be above 0"):
        replace(recipe(folder, initial), sigma=0.0)
    assert not output.exists()
