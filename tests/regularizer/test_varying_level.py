"""Noise levels that differ between the pixels of an image."""

import pytest
import torch

from locreg.errors import LocregError, UsageError
from locreg.regularizer.critic import PatchCritic, wide_layers
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.varying_level import VaryingRegularizer


@pytest.fixture
def regularizer():
    generator = torch.Generator().manual_seed(0)
    critic = PatchCritic(wide_layers((8, 8)), noise_conditioned=True, generator=generator)
    return LocalRegularizer(critic.double().requires_grad_(False))


@pytest.fixture
def image():
    return torch.rand(2, 3, 21, 26, generator=torch.Generator().manual_seed(1)).double()


def test_a_constant_level_is_the_usual_one(regularizer, image):
    varying = VaryingRegularizer(regularizer, torch.ones(1, 1, 21, 26)).at(0.1)
    value, gradient = varying.value_and_grad(image)
    expected, expected_gradient = regularizer.at(0.1).value_and_grad(image)
    assert torch.allclose(value, expected)
    assert torch.allclose(gradient, expected_gradient)


def test_the_gradient_is_that_of_the_inner_product(regularizer, image):
    """The sum of u v / m with v = m grad R(x; s) is the derivative of R along u."""
    generator = torch.Generator().manual_seed(2)
    relative = 0.5 + torch.rand(1, 1, 21, 26, generator=generator).double()
    direction = torch.randn(image.shape, generator=generator).double()
    varying = VaryingRegularizer(regularizer, relative).at(0.2)
    _, gradient = varying.value_and_grad(image)
    ahead, behind = (varying.value_and_grad(image + e * direction)[0] for e in (1e-5, -1e-5))
    expected = (ahead - behind) / 2e-5
    found = (direction * gradient / relative).flatten(1).sum(1)
    assert torch.allclose(found, expected, rtol=1e-5)


def test_a_level_counts_where_it_is(regularizer, image):
    relative = torch.ones(1, 1, 21, 26).double()
    changed = relative.clone()
    changed[..., :3] = 2.0
    results = [
        VaryingRegularizer(regularizer, m).at(0.1).value_and_grad(image)[1]
        for m in (relative, changed)
    ]
    field = regularizer.critic.receptive_field
    differs = (results[0] - results[1]).abs().amax((0, 1, 2)) > 0
    assert differs[:3].all()
    assert not differs[3 + field :].any()


def test_other_regularizers_are_refused(regularizer):
    plain = LocalRegularizer(PatchCritic())
    with pytest.raises(LocregError, match="needs a denoising energy"):
        VaryingRegularizer(plain, torch.ones(1, 1, 4, 4))
    with pytest.raises(UsageError):
        VaryingRegularizer(regularizer, torch.ones(1, 1, 4, 4)).at(2.0)
