"""The patch critic: its geometry, its levels and contrasts, and critics made from critics."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import (
    conditioned_critic,
    half_resolution,
    random_image,
    small_critic,
    small_ridge_critic,
)
from locreg.errors import LocregError
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import Layer, standard_layers
from locreg.regularizer.tiled_gradient import value_and_gradient


def test_standard_critic_sees_15_pixels():
    assert PatchCritic().receptive_field == 15
    assert PatchCritic().stride == 1


def test_a_patch_of_the_receptive_field_has_one_score():
    critic = PatchCritic(standard_layers([4] * 6), in_channels=1)
    assert critic(torch.zeros(2, 1, 15, 15)).shape == (2, 1, 1, 1)


def test_periodic_scores_are_those_of_the_image_continued_by_its_copies():
    z, sigma = random_image(2, 3, 16, 18), torch.tensor([0.1, 0.3], dtype=torch.float64)
    fine = conditioned_critic(channels=3)
    for scale in (fine, fine.coarsened()):
        more = scale.receptive_field - scale.stride
        continued = z.repeat(1, 1, 3, 3)[..., : 16 + more, : 18 + more]
        torch.testing.assert_close(scale.periodic_scores(z, sigma), scale(continued, sigma))


@pytest.mark.parametrize("shape", [(17, 18), (18, 14)])
def test_periodic_images_must_fit_the_stride_and_the_kernels(shape):
    critic = PatchCritic().coarsened()
    with pytest.raises(LocregError, match="multiples of 2 and at least 16"):
        critic.periodic_scores(random_image(1, 3, *shape).float())


@given(
    kernels=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    strides=st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
def test_receptive_field_and_stride_agree_with_the_pixels_that_scores_depend_on(kernels, strides):
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


def test_a_coarse_critic_is_four_times_that_of_half_the_resolution():
    critic = conditioned_critic(channels=3)
    z, sigma = random_image(2, 3, 22, 26), torch.tensor([0.1, 0.3], dtype=torch.float64)
    expected = 4 * critic(half_resolution(z), sigma)
    torch.testing.assert_close(critic.coarsened()(z, sigma), expected)
    assert critic.coarsened().receptive_field == 2 * critic.receptive_field + 2
    assert critic.coarsened().stride == 2


def test_only_a_linear_end_can_be_coarsened():
    with pytest.raises(LocregError, match="last layer that has no activation"):
        PatchCritic((Layer(channels=1),)).coarsened()


def test_description_round_trip():
    critic = small_critic("silu", in_channels=3, stride=3)
    assert PatchCritic.from_description(critic.describe()).describe() == critic.describe()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Layer(channels=3, activation="swish"), "swish"),
        (lambda: Layer(channels=0), "positive"),
        (lambda: PatchCritic((Layer(channels=2),)), "exactly one output"),
        (lambda: PatchCritic(()), "exactly one output"),
    ],
)
def test_impossible_layers_are_refused(make, words):
    with pytest.raises(LocregError, match=words):
        make()


@pytest.mark.parametrize("conditioned", [False, True])
def test_a_wider_critic_begins_with_a_narrower_one(conditioned):
    """The scores and gradients are the same; training then moves the new channels."""
    narrow, wide = (
        PatchCritic(standard_layers(widths, "silu"), in_channels=1, noise_conditioned=conditioned)
        for widths in ([3, 4, 4], [5, 4, 6])
    )
    for bias in narrow.biases.values():
        torch.nn.init.normal_(bias)
    wide.begin_with(narrow)
    z = torch.rand(2, 1, 12, 11, requires_grad=True)
    levels = (torch.tensor([0.1, 0.3]),) if conditioned else ()
    expected, found = narrow(z, *levels), wide(z, *levels)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found.square().sum(), z, retain_graph=True)
    torch.testing.assert_close(slope, torch.autograd.grad(expected.square().sum(), z)[0])
    moved = torch.autograd.grad(found.sum(), list(wide.weights))
    assert moved[1][:, 3:].abs().max() > 0, "weights from a new channel to an old one can grow"


@pytest.mark.parametrize(
    "other",
    [
        PatchCritic(standard_layers([3, 5]), in_channels=1),
        PatchCritic(standard_layers([3, 4], "silu"), in_channels=1),
        PatchCritic(standard_layers([3, 4, 4]), in_channels=1),
        PatchCritic(standard_layers([3, 4]), in_channels=3),
    ],
)
def test_a_critic_does_not_begin_with_a_wider_or_another_one(other):
    with pytest.raises(LocregError, match="narrower"):
        PatchCritic(standard_layers([3, 4]), in_channels=1).begin_with(other)


def test_images_of_a_batch_may_have_levels_of_their_own():
    critic = conditioned_critic()
    x = random_image(2, 1, 9, 9)
    levels = torch.tensor([0.1, 0.4], dtype=torch.float64)
    for image, level, scores in zip(x, levels, critic(x, levels), strict=True):
        torch.testing.assert_close(critic(image[None], level[None])[0], scores)


def test_a_level_is_refused_by_a_critic_that_has_none():
    critic = PatchCritic(in_channels=1)
    with pytest.raises(LocregError, match="does not depend on a noise level"):
        critic.at(0.1)
    with pytest.raises(LocregError, match="does not depend on a noise level"):
        critic(torch.zeros(1, 1, 20, 20), torch.tensor([0.1]))
    without = (Layer(channels=2, bias=False), Layer(channels=1, activation="identity"))
    with pytest.raises(LocregError, match="must have a bias"):
        PatchCritic(without, noise_conditioned=True)


@settings(max_examples=40)
@given(contrast=st.floats(0.2, 5))
def test_a_contrast_scales_the_image(contrast):
    """R(a x) / a, for critics with biases and a noise level too."""
    x = random_image(1, 1, 20, 17)
    layers = (Layer(channels=3, activation="silu"), Layer(channels=1, activation="identity"))
    conditioned = PatchCritic(layers, in_channels=1, noise_conditioned=True).double()
    torch.nn.init.constant_(conditioned.biases["1"], 0.3)
    pairs = [
        (small_ridge_critic().double(), small_ridge_critic().double().at_contrast(contrast)),
        (conditioned.at(0.2), conditioned.at_contrast(contrast).at(0.2)),
    ]
    for one, other in pairs:
        expected = value_and_gradient(one, contrast * x, 64)[0] / contrast
        torch.testing.assert_close(value_and_gradient(other, x, 64)[0], expected)


@pytest.mark.parametrize("changed", [{"channels": 5}, {"activation": "silu"}, {"group": 0}])
def test_impossible_groups_are_refused(changed):
    with pytest.raises(LocregError):
        Layer(**({"channels": 6, "activation": "mcp", "group": 3} | changed))
