"""Ridge critics: what they are blind to, what they begin as, and what training keeps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_image
from locreg.calibration import CONTRAST_SIGMAS, best_contrast, calibrate_white_noise
from locreg.critic import MCP_ROUNDING, Layer, PatchCritic, mcp
from locreg.engine import pad, value_and_gradient
from locreg.errors import LocregError, UsageError
from locreg.kernels import gaussian_kernel
from locreg.measurements import parameter_checksum
from locreg.objective import Objective
from locreg.operators import blur_circular
from locreg.options import LEAST_SIGMA, AdamOptions, NoiseRange
from locreg.recipes import train_from_folders
from locreg.refinement import _initial_critic
from locreg.refinement_options import RefinementRecipe
from locreg.regularizer import LocalRegularizer, load
from locreg.restoration import restore
from locreg.ridge import ridge_critic
from locreg.ridge_engine import is_ridge
from locreg.solvers import adam
from locreg.training_options import DataOptions, Recipe, RidgeCriticOptions, TrainingOptions
from locreg.weights import Calibration, Weights, load_weights, save_weights

_LAST = Layer(channels=1, kernel=1, activation="identity", bias=False)


def critic(channels=1, seed=0, filters=6, group=1):
    generator = torch.Generator().manual_seed(seed)
    made = ridge_critic(filters, in_channels=channels, generator=generator, noise=0.1, group=group)
    return made.requires_grad_(False)


@given(t=st.floats(-4, 4))
def test_the_potential_in_closed_form(t):
    """|t| - t^2 / 2 but for the rounding, from 1 on a constant."""
    found = mcp(torch.tensor(t, dtype=torch.float64)).item()
    size = min(abs(t), 1.0)
    if abs(t) >= MCP_ROUNDING:
        assert found == pytest.approx(size - size**2 / 2 - MCP_ROUNDING / 2, abs=1e-12)
    else:
        assert found == pytest.approx(t**2 / (2 * MCP_ROUNDING) - t**2 / 2, abs=1e-12)


@given(shift=st.floats(-1, 1), seed=st.integers(0, 5))
def test_neither_brightness_nor_its_reversal_is_seen(shift, seed):
    ridge = critic(seed=seed).double()
    x = random_image(1, 1, 20, 17, seed=seed)
    value, _ = value_and_gradient(ridge, x, 64)
    torch.testing.assert_close(value_and_gradient(ridge, x + shift, 64)[0], value)
    torch.testing.assert_close(value_and_gradient(ridge, -x, 64)[0], value)


@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    tile=st.integers(1, 30),
    channels=st.sampled_from((1, 2, 3)),
    filters=st.sampled_from((6, 42)),
    group=st.sampled_from((1, 2, 6)),
    contrast=st.floats(0.5, 4),
)
def test_the_fourier_transforms_give_what_the_layers_give(
    height, width, tile, channels, filters, group, contrast
):
    made = critic(channels, filters=filters, group=group).double()
    ridge = made.at_contrast(contrast).requires_grad_(False)
    assert is_ridge(ridge)
    x = random_image(2, channels, height, width).requires_grad_()
    expected = ridge(pad(x, 13)).flatten(1).sum(1)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    value, gradient = value_and_gradient(ridge, x.detach(), tile)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, slope, rtol=1e-10, atol=1e-10)


def test_what_is_no_ridge_critic_goes_by_its_layers():
    strided = (Layer(channels=4, kernel=3, stride=2, activation="mcp", bias=False), _LAST)
    biased = (Layer(channels=4, kernel=3, activation="mcp"), _LAST)
    smooth = (Layer(channels=4, kernel=3, activation="tanh", bias=False), _LAST)
    ridge = (Layer(channels=4, kernel=3, activation="mcp", bias=False), _LAST)
    found = [is_ridge(PatchCritic(layers, in_channels=1)) for layers in (strided, biased, smooth)]
    assert found == [False] * 3
    assert is_ridge(PatchCritic(ridge, in_channels=1))
    assert not is_ridge(PatchCritic((_LAST,), in_channels=1))


def test_a_group_turns_without_notice():
    """Of the responses of a group its potential sees the length alone."""
    one, other = critic(filters=4, group=2).double(), critic(filters=4, group=2).double()
    cosine, sine = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
    turned = other.weights[2].view(2, 2, -1)
    other.weights[2].copy_((turn @ turned).view_as(other.weights[2]))
    x = random_image(1, 1, 20, 17)
    for found, expected in zip(
        value_and_gradient(other, x, 64), value_and_gradient(one, x, 64), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_groups_in_a_critic_that_goes_by_its_layers():
    layers = (Layer(channels=6, kernel=3, activation="mcp", group=3), Layer(channels=1, kernel=3))
    deep = PatchCritic(layers, in_channels=1).double().requires_grad_(False)
    assert not is_ridge(deep)
    x = random_image(1, 1, 20, 17).requires_grad_()
    expected = deep(pad(x, deep.receptive_field)).sum()
    (slope,) = torch.autograd.grad(expected, x)
    value, gradient = value_and_gradient(deep, x.detach(), 8)
    torch.testing.assert_close(value.sum(), expected.detach())
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("changed", [{"channels": 5}, {"activation": "silu"}, {"group": 0}])
def test_groups_that_cannot_be(changed):
    with pytest.raises(LocregError):
        Layer(**({"channels": 6, "activation": "mcp", "group": 3} | changed))


@pytest.mark.parametrize("group", [1, 3])
def test_a_constant_image_is_a_minimum(group):
    x = torch.full((1, 3, 16, 16), 0.3)
    value, gradient = value_and_gradient(critic(3, group=group), x, 64)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-4


@pytest.mark.parametrize(("channels", "group"), [(1, 1), (3, 1), (1, 3)])
def test_it_begins_with_the_gradient_that_the_criterion_asks_for(channels, group):
    noise = 0.1 * torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(1))
    ridge = critic(channels, group=group)
    _, gradient = value_and_gradient(ridge, noise, 64)
    assert ridge.receptive_field == 13
    norms = gradient.flatten(1).norm(dim=1) / 64
    assert ((norms > 0.7) & (norms < 1.4)).all()


@given(contrast=st.floats(0.2, 5))
def test_a_contrast_is_that_of_the_image(contrast):
    """R(a x) / a, for critics with biases and a noise level too."""
    x = random_image(1, 1, 20, 17)
    layers = (Layer(channels=3, activation="silu"), Layer(channels=1, activation="identity"))
    conditioned = PatchCritic(layers, in_channels=1, noise_conditioned=True).double()
    torch.nn.init.constant_(conditioned.biases["1"], 0.3)
    pairs = [
        (critic().double(), critic().double().at_contrast(contrast)),
        (conditioned.at(0.2), conditioned.at_contrast(contrast).at(0.2)),
    ]
    for one, other in pairs:
        expected = value_and_gradient(one, contrast * x, 64)[0] / contrast
        torch.testing.assert_close(value_and_gradient(other, x, 64)[0], expected)


def differences_of_neighbours():
    """A critic of them, and an image of squares with steps of 0.4."""
    layers = (
        Layer(channels=2, kernel=2, activation="mcp", bias=False),
        Layer(channels=1, kernel=1, activation="identity", bias=False),
    )
    differences = PatchCritic(layers, in_channels=1).requires_grad_(False)
    differences.weights[0][:] = torch.tensor([[[[-1.0, 1.0], [0, 0]]], [[[-1.0, 0], [1.0, 0]]]])
    differences.weights[1][:] = 1.0
    squares = torch.zeros(1, 1, 32, 32)
    squares[..., 4:15, 4:15] = 0.4
    squares[..., 18:, 8:25] = 0.8
    return differences, squares


def test_the_best_contrast_does_not_depend_on_the_one_that_was_learned():
    differences, squares = differences_of_neighbours()
    found, _ = best_contrast(differences, [squares], 0.1, seed=0, progress=False)
    assert 1 < found < 6  # what differs by more than noise, 0.2, should be taken for an edge
    halved = differences.at_contrast(found / 2.0)
    again, _ = best_contrast(halved, [squares], 0.1, seed=0, progress=False)
    assert again == pytest.approx(2.0, rel=0.15)


def with_contrast(*polynomial):
    """A ridge critic in double precision whose contrast was fitted at levels of 0.05 to 0.4."""
    quantiles = ("clean_patches", "degraded_patches", "clean_images", "degraded_images")
    calibration = Calibration(
        lam_polynomial=(-2.0, 1.0), sigma_range=(0.05, 0.4), quantile_levels=(0.5,),
        contrast_polynomial=polynomial, **dict.fromkeys(quantiles, (0.0,)),
    )  # fmt: skip
    return LocalRegularizer(Weights(critic=critic().double(), calibration=calibration))


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.2, 0.4, 1.0])
def test_the_noise_level_decides_the_contrast(sigma):
    """a = 0.5 / sigma, of the nearest level that was fitted: R(a x) / a, its gradient at a x."""
    regularizer, x = with_contrast(math.log(0.5), -1.0), random_image(2, 1, 20, 17)
    a = 0.5 / min(max(sigma, 0.05), 0.4)
    plain = LocalRegularizer(regularizer.critic)
    assert regularizer.depends_on_level
    torch.testing.assert_close(regularizer.grad(x, sigma), plain.grad(a * x))
    torch.testing.assert_close(regularizer.fn(x, sigma), plain.fn(a * x) / a)
    torch.testing.assert_close(regularizer.grad(x), plain.grad(x))  # as it was trained
    restored = restore(x, regularizer, sigma=sigma)
    lam = regularizer.calibration.lam(sigma)
    expected = adam(Objective(x, regularizer.at(sigma), lam), x).image
    torch.testing.assert_close(restored.image, expected)


def test_the_R_of_a_level_keeps_how_it_is_computed():
    plain = with_contrast(0.5, -1.0)
    weights = Weights(critic=plain.critic, calibration=plain.calibration)
    at_level = LocalRegularizer(weights, tile=7, symmetric=True).at(0.1)
    assert (at_level.tile, at_level.symmetric, at_level.depends_on_level) == (7, True, False)


def test_a_contrast_serves_other_operators_and_estimated_levels():
    regularizer, x = with_contrast(math.log(0.5), -1.0), random_image(1, 1, 16, 16)
    operator = blur_circular(gaussian_kernel(3, 1.0), (1, 16, 16), torch.device("cpu"))
    found = restore(x.float(), regularizer.float(), operator, sigma=0.0)
    assert found.lam == pytest.approx(0.4 * regularizer.calibration.lam(LEAST_SIGMA))
    estimated = restore(
        x.float(),
        regularizer,
        sigma="auto",
        lam=0.02,
        estimate=lambda _: 0.2,
        solver=AdamOptions(steps=3),
    )
    given = restore(x.float(), regularizer, sigma=0.2, lam=0.02, solver=AdamOptions(steps=3))
    assert torch.equal(estimated.image, given.image)


def test_a_refinement_begins_with_the_contrast_of_its_level(tmp_path):
    plain = with_contrast(math.log(0.5), -1.0)
    weights = Weights(critic=plain.critic.float(), calibration=plain.calibration)
    recipe = RefinementRecipe(clean=tmp_path, initial="w", sigma=0.1)
    first = _initial_critic(recipe, weights)
    torch.testing.assert_close(first.weights[0], 5 * weights.critic.weights[0])
    torch.testing.assert_close(first.weights[-1], weights.critic.weights[-1] / 5)
    assert all(weight.requires_grad for weight in first.parameters())


def test_measurements_tell_contrasts_apart_and_know_critics_without_one():
    """The checksums of packaged critics are those that stand in the measurements of docs/."""
    known = {"alr-rgb": "955f75e8", "alr-gray": "432808fe"}
    assert {name: parameter_checksum(load(name)) for name in known} == known
    one, two = with_contrast(0.5, -1.0), with_contrast(0.6, -1.0)
    assert parameter_checksum(one) != parameter_checksum(two)


def test_a_contrast_that_follows_from_sigma_asks_for_it(tmp_path):
    regularizer, x = with_contrast(0.5, -1.0).float(), random_image(1, 1, 16, 16).float()
    weights = Weights(critic=regularizer.critic, calibration=regularizer.calibration)
    save_weights(weights, tmp_path / "w.safetensors")
    assert load_weights(tmp_path / "w.safetensors").calibration == regularizer.calibration
    with pytest.raises(UsageError, match="depend on the noise level"):
        restore(x, regularizer, lam=0.1)
    assert not with_contrast().depends_on_level
    with pytest.raises(LocregError, match="does not depend on a noise level"):
        with_contrast().at(0.1)


def test_the_fitted_contrast_falls_with_the_noise_level():
    critic, squares = differences_of_neighbours()
    calibration = calibrate_white_noise(
        LocalRegularizer(critic), [squares], degraded_sigmas=(0.1, 0.1), seed=0, sigmas=(0.05, 0.4),
        with_contrast=True, progress=False,
    )  # fmt: skip
    found, _ = best_contrast(critic, [squares], 0.05, seed=0, progress=False)
    assert calibration.contrast(0.4) < calibration.contrast(0.1) < calibration.contrast(0.05)
    contrasts = [a for a, _ in calibration.record["contrasts"]]
    assert contrasts[0] == pytest.approx(found, rel=0.3)  # from another first guess
    line = np.polyfit(np.log(CONTRAST_SIGMAS), np.log(contrasts), 1)
    assert calibration.contrast(0.1) == pytest.approx(np.exp(np.polyval(line, np.log(0.1))))


def test_training_keeps_what_the_layers_ask_for(folder, tmp_path):
    recipe = Recipe(
        clean=folder,
        noise=NoiseRange(low=0.1, high=0.1),
        critic=RidgeCriticOptions(filters=6),
        data=DataOptions(held_out=1, validation_size=16, calibration_images=1, calibration_size=16),
        training=TrainingOptions(
            iterations=30,
            batch=2,
            patch_size=20,
            penalty=10.0,
            penalty_form="one-sided",
            learning_rate=0.05,
        ),
    )
    begin = ridge_critic(6, in_channels=3, generator=torch.Generator().manual_seed(0), noise=0.1)
    train_from_folders(tmp_path / "w.safetensors", recipe, progress=False)
    weights = load_weights(tmp_path / "w.safetensors")
    trained = weights.critic
    assert isinstance(trained, PatchCritic)
    assert trained.layers == begin.layers
    assert weights.criterion["penalty_form"] == "one-sided"
    assert len(weights.calibration.contrast_polynomial) == 2
    assert weights.calibration.lam(0.1) > 0
    first, last = trained.weights[0].detach(), trained.weights[-1].detach()
    assert not torch.allclose(first, begin.weights[0].detach(), atol=0.01)
    np.testing.assert_allclose(first.mean((2, 3)), 0, atol=1e-6)
    assert (last >= 0).all()
