"""The engine without PyTorch against the one with it, which is its reference."""

import numpy as np
import pytest
import torch

from conftest import random_image
from locreg.regularizer import tiled_gradient
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.denoising_energy import load_energy
from locreg.regularizer.layers import ACTIVATION_NAMES, Layer
from locreg.regularizer.local_regularizer import load
from locreg.regularizer.onnx_gradient import OnnxGradient, score_map
from locreg.regularizer.packaged import packaged_names
from locreg.regularizer.stored_critic import coarsened
from locreg.regularizer.stored_weights import read_weights
from locreg.restoration.denoise import denoise
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore

PARTS = [(name, k) for name in packaged_names() for k in range(len(read_weights(name).scales))]


def assert_equal_to_reference(critic, x, tile, level=0.1):
    level = level if critic.noise_conditioned else None
    value, gradient = OnnxGradient(critic).value_and_gradient(x.numpy(), level, tile)
    reference = PatchCritic.of(critic).requires_grad_(False)
    reference = reference if level is None else reference.at(level)
    with torch.no_grad():
        true_value, true_gradient = tiled_gradient.value_and_gradient(reference, x, 1000)
    largest = true_gradient.abs().max().item()
    np.testing.assert_allclose(value, true_value.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, true_gradient.numpy(), rtol=0, atol=1e-5 * max(largest, 1))


@pytest.mark.parametrize("size", [(40, 53), (1, 30), (70, 3)])
@pytest.mark.parametrize(("name", "k"), PARTS)
def test_packaged_weights_have_the_gradients_of_the_reference(name, k, size):
    critic = coarsened(read_weights(name).scales[k], k)
    assert_equal_to_reference(critic, random_image(2, critic.in_channels, *size).float(), tile=17)


@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize("name", ["denoise-gray", "alr-rgb"])
def test_halvings_can_be_a_part_of_the_first_layer(name, times):
    critic = coarsened(read_weights(name).scales[0], times)
    alone = critic.without_halvings()
    assert (critic.halvings, alone.halvings) == (times, 0)
    assert (alone.receptive_field, alone.stride) == (critic.receptive_field, critic.stride)
    x = random_image(1, critic.in_channels, 40, 30).float().numpy()
    level = 0.1 if critic.noise_conditioned else None
    (value, gradient), (expected_value, expected) = (
        OnnxGradient(one).value_and_gradient(x, level) for one in (critic, alone)
    )
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_layer_that_a_file_can_describe_has_its_gradient(activation, stride):
    layers = (
        Layer(channels=6, kernel=4, stride=stride, activation=activation),
        Layer(channels=4, activation=activation, bias=False),
        Layer(channels=1, kernel=2, activation="identity"),
    )
    critic = PatchCritic(layers, in_channels=2, noise_conditioned=True).stored()
    assert_equal_to_reference(critic, random_image(1, 2, 21, 26).float(), tile=5)


def test_groups_of_channels_have_their_gradient():
    layers = (
        Layer(channels=6, activation="mcp", group=3),
        Layer(channels=1, kernel=1, activation="identity", bias=False),
    )
    critic = PatchCritic(layers, in_channels=1).stored()
    assert_equal_to_reference(critic, 4 * random_image(1, 1, 21, 26).float(), tile=100)


@pytest.mark.parametrize("name", ["alr-gray", "ridge-rgb"])
def test_scores_are_those_of_the_reference(name):
    critic = read_weights(name).scales[0]
    x = random_image(1, critic.in_channels, 33, 41).float()
    reference = load(name).score_map(x)[0, 0].numpy()
    found = score_map(critic, x[0].numpy(), tile=13)
    np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-5 * np.abs(reference).max())


@pytest.mark.parametrize("symmetric", [False, True])
def test_an_energy_on_arrays_is_that_on_tensors(symmetric):
    """Three scales, coarsened and finest, averaged over flips and turns or not."""
    x = random_image(2, 3, 20, 26).float()
    energy = load_energy("denoise-rgb", symmetric=symmetric)
    reference = load("denoise-rgb", symmetric=symmetric)
    for change in ("coarsened", "finest"):
        pair = (getattr(energy, change)(), getattr(reference, change)())
        (value, gradient), (true_value, true_gradient) = (
            one.array_gradient(x.numpy(), 0.1) for one in pair
        )
        np.testing.assert_allclose(value, true_value, rtol=1e-5)
        np.testing.assert_allclose(gradient, true_gradient, rtol=0, atol=1e-5)
    image = denoise(x, energy, RestoreOptions(sigma=0.1)).image
    expected = restore(x, reference, options=RestoreOptions(sigma=0.1)).image
    np.testing.assert_allclose(image, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tile", [1, 7, 64])
@pytest.mark.parametrize("workers", [1, 3])
def test_tiles_and_workers_change_nothing(tile, workers):
    critic = read_weights("denoise-gray").scales[0]
    x = random_image(1, 1, 9, 12).float().numpy()
    whole = OnnxGradient(critic, workers=1).value_and_gradient(x, 0.1, 1000)
    tiled = OnnxGradient(critic, workers=workers).value_and_gradient(x, 0.1, tile)
    np.testing.assert_allclose(tiled[0], whole[0], rtol=1e-5)
    np.testing.assert_allclose(tiled[1], whole[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_gradients_of_several_critics_are_added(workers):
    critics = [coarsened(c, k) for k, c in enumerate(read_weights("denoise-rgb").scales)]
    x = random_image(2, 3, 20, 33).float().numpy()
    value, gradient = OnnxGradient(*critics, workers=workers).value_and_gradient(x, 0.1, 7)
    alone = [OnnxGradient(critic).value_and_gradient(x, 0.1) for critic in critics]
    np.testing.assert_allclose(value, sum(v for v, _ in alone), rtol=1e-5)
    np.testing.assert_allclose(gradient, sum(g for _, g in alone), rtol=0, atol=1e-5)


def test_a_critic_and_its_file_describe_the_same():
    critic = PatchCritic(in_channels=1, generator=torch.Generator().manual_seed(3))
    x = random_image(1, 1, 30, 30).float()
    torch.testing.assert_close(PatchCritic.of(critic.stored())(x), critic(x), rtol=0, atol=0)


def test_a_critic_of_one_layer_is_coarsened():
    critic = PatchCritic((Layer(channels=1, activation="identity"),), in_channels=1)
    x = random_image(1, 1, 30, 30).float()
    scores = critic.coarsened()(x)
    low = torch.nn.functional.conv2d(
        x, torch.outer(*[torch.tensor([1.0, 3, 3, 1]) / 8] * 2)[None, None], stride=2
    )
    torch.testing.assert_close(scores, 4 * critic(low))
