"""Geometry of the critic is derived from its layers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import small_critic
from locreg.critic import Layer, PatchCritic, standard_layers
from locreg.errors import LocregError


def test_standard_critic_sees_15_pixels():
    assert PatchCritic().receptive_field == 15
    assert PatchCritic().stride == 1


def test_a_patch_of_the_receptive_field_has_one_score():
    critic = PatchCritic(standard_layers([4] * 6), in_channels=1)
    assert critic(torch.zeros(2, 1, 15, 15)).shape == (2, 1, 1, 1)


@given(
    kernels=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    strides=st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
def test_receptive_field_and_stride_are_those_of_the_dependencies(kernels, strides):
    """Autograd finds which pixels a score depends on; positive weights leave none out."""
    layers = [
        Layer(channels=1, kernel=kernel, stride=stride, activation="identity")
        for kernel, stride in zip(kernels, strides, strict=False)
    ]
    critic = PatchCritic(layers, in_channels=1)
    for weight in critic.weights:
        weight.data.fill_(1.0)
    size = critic.receptive_field + 2 * critic.stride
    x = torch.zeros(1, 1, size, size, requires_grad=True)
    scores = critic(x)
    first = torch.autograd.grad(scores[0, 0, 0, 0], x, retain_graph=True)[0].nonzero()[:, 2:]
    second = torch.autograd.grad(scores[0, 0, 1, 1], x)[0].nonzero()[:, 2:]
    assert first.max() - first.min() + 1 == critic.receptive_field
    assert second.min() - first.min() == critic.stride


def test_description_round_trip():
    critic = small_critic("silu", in_channels=3, stride=3)
    assert PatchCritic.from_description(critic.describe()).describe() == critic.describe()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Layer(channels=3, activation="swish"), "swish"),
        (lambda: Layer(channels=0), "positive"),
        (lambda: PatchCritic((Layer(channels=2),)), "exactly one channel"),
        (lambda: PatchCritic(()), "exactly one channel"),
    ],
)
def test_impossible_layers_are_refused(make, words):
    with pytest.raises(LocregError, match=words):
        make()
