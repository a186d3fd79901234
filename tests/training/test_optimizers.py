"""Adam is PyTorch's, the steps of Muon are orthogonal, a restored state goes on equal."""

import math

import pytest
import torch

from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.training.optimizers import CriticOptimizer, Muon

WIDTHS = (6, 8, 8, 4, 4, 4)


def critic():
    return PatchCritic(standard_layers(WIDTHS), in_channels=1)


def set_gradients(critic, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in critic.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def weights_after(steps, name):
    network = critic()
    optimizer = CriticOptimizer(network, name)
    for step in range(steps):
        set_gradients(network, step)
        optimizer.step(1e-2)
    return network, optimizer


def test_adam_is_that_of_pytorch():
    found, _ = weights_after(3, "adam")
    expected = critic()
    adam = torch.optim.Adam(expected.parameters(), lr=1e-2, betas=(0.9, 0.999), fused=True)
    for step in range(3):
        set_gradients(expected, step)
        adam.step()
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)


def test_steps_of_muon_are_orthogonal_between_the_outer_layers():
    network, before = critic(), critic()
    set_gradients(network, 0)
    CriticOptimizer(network, "muon").step(1e-2)
    for old, new in list(zip(before.weights, network.weights, strict=True))[1:-1]:
        step = (new - old).detach().flatten(1) / (1e-2 * 0.2 * math.sqrt(max(old.flatten(1).shape)))
        values = torch.linalg.svdvals(step)
        assert values.min() > 0.4  # PyTorch's iteration is not exact
        assert values.max() < 1.4
    with_adam, _ = weights_after(1, "adam")
    for layer in (0, -1):
        assert torch.equal(network.weights[layer], with_adam.weights[layer])
    for index, bias in network.biases.items():
        assert torch.equal(bias, with_adam.biases[index])


@pytest.mark.parametrize("shape", [(6, 54), (54, 6), (5, 5)])
def test_muon_is_that_of_pytorch_but_for_its_rounding(shape):
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.nn.Parameter(torch.zeros(shape)) for _ in range(2)]
    exact = Muon(matrices[:1])
    rounded = torch.optim.Muon(
        matrices[1:], weight_decay=0.0, adjust_lr_fn="match_rms_adamw", lr=1e-2
    )
    exact.param_groups[0]["lr"] = 1e-2
    for _ in range(3):
        gradient = torch.randn(shape, generator=generator)
        for matrix, optimizer in zip(matrices, (exact, rounded), strict=True):
            matrix.grad = gradient
            optimizer.step()
    ours, theirs = matrices
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_a_restored_state_goes_on_as_if_never_saved(name):
    whole, _ = weights_after(4, name)
    half, optimizer = weights_after(2, name)
    resumed = critic()
    resumed.load_state_dict(half.state_dict())
    other = CriticOptimizer(resumed, name)
    other.restore({"critic.weights.0": half.weights[0], **optimizer.state()})
    for step in (2, 3):
        set_gradients(resumed, step)
        other.step(1e-2)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_weights_without_a_gradient_stay(name):
    network, before = critic(), critic()
    network.requires_grad_(False)
    network.weights[-1].requires_grad_(True)
    optimizer = CriticOptimizer(network, name)
    network.weights[-1].grad = torch.ones_like(network.weights[-1])
    optimizer.step(1e-2)
    changed = [not torch.equal(a, b) for a, b in zip(network.weights, before.weights, strict=True)]
    assert changed == [False] * len(WIDTHS) + [True]
