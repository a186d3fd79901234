"""A fitted contrast: R(a x) / a, where a follows from the noise level."""

import math

import pytest
import torch

from conftest import random_image, ridge_with_contrast
from locreg.degradation.deepinv_operators import blur_circular
from locreg.degradation.kernels import gaussian_kernel
from locreg.degradation.noise import LEAST_SIGMA
from locreg.errors import LocregError, UsageError
from locreg.evaluation.methods import parameter_checksum
from locreg.regularizer.local_regularizer import LocalRegularizer, load
from locreg.regularizer.weights import load_weights, save_weights
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.solvers.first_order import adam
from locreg.solvers.objective import Objective
from locreg.solvers.options import AdamOptions


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.2, 0.4, 1.0])
def test_the_noise_level_decides_the_contrast(sigma):
    """a = 0.5 / sigma, of the nearest level that was fitted: R(a x) / a, its gradient at a x."""
    regularizer = LocalRegularizer(ridge_with_contrast(math.log(0.5), -1.0))
    x = random_image(2, 1, 20, 17)
    a = 0.5 / min(max(sigma, 0.05), 0.4)
    plain = LocalRegularizer(regularizer.critic)
    assert regularizer.depends_on_level
    torch.testing.assert_close(regularizer.grad(x, sigma), plain.grad(a * x))
    torch.testing.assert_close(regularizer.fn(x, sigma), plain.fn(a * x) / a)
    torch.testing.assert_close(regularizer.grad(x), plain.grad(x))  # as it was trained
    restored = restore(x, regularizer, options=RestoreOptions(sigma=sigma))
    lam = regularizer.calibration.lam(sigma)
    expected = adam(Objective(x, regularizer.at(sigma), lam), x).image
    torch.testing.assert_close(restored.image, expected)


def test_the_R_of_a_level_keeps_tile_and_symmetry():
    at_level = LocalRegularizer(ridge_with_contrast(0.5, -1.0), tile=7, symmetric=True).at(0.1)
    assert (at_level.tile, at_level.symmetric, at_level.depends_on_level) == (7, True, False)


def test_a_contrast_works_with_operators_and_estimated_levels():
    regularizer = LocalRegularizer(ridge_with_contrast(math.log(0.5), -1.0))
    x = random_image(1, 1, 16, 16)
    operator = blur_circular(gaussian_kernel(3, 1.0), (1, 16, 16), torch.device("cpu"))
    found = restore(x.float(), regularizer.float(), operator, options=RestoreOptions(sigma=0.0))
    assert found.lam == pytest.approx(0.4 * regularizer.calibration.lam(LEAST_SIGMA))
    estimated = restore(
        x.float(),
        regularizer,
        estimate=lambda _: 0.2,
        options=RestoreOptions(sigma="auto", lam=0.02, solver=AdamOptions(steps=3)),
    )
    given = restore(
        x.float(),
        regularizer,
        options=RestoreOptions(sigma=0.2, lam=0.02, solver=AdamOptions(steps=3)),
    )
    assert torch.equal(estimated.image, given.image)


def test_a_fitted_contrast_is_saved_and_needs_a_level(tmp_path):
    weights = ridge_with_contrast(0.5, -1.0)
    weights.critic.float()
    save_weights(weights, tmp_path / "w.safetensors")
    assert load_weights(tmp_path / "w.safetensors").calibration == weights.calibration
    regularizer, x = LocalRegularizer(weights), random_image(1, 1, 16, 16).float()
    operator = blur_circular(gaussian_kernel(3, 1.0), (1, 16, 16), torch.device("cpu"))
    with pytest.raises(UsageError, match="give sigma"):
        restore(x, regularizer, operator, options=RestoreOptions(lam=0.1))
    with pytest.raises(LocregError, match="too small to estimate its noise level: give sigma"):
        restore(x, regularizer, options=RestoreOptions(lam=0.1))


def test_without_a_fitted_contrast_nothing_depends_on_the_level():
    regularizer = LocalRegularizer(ridge_with_contrast())
    assert not regularizer.depends_on_level
    with pytest.raises(LocregError, match="does not depend on a noise level"):
        regularizer.at(0.1)


def test_checksums_tell_contrasts_apart_and_are_those_of_docs():
    """The checksums of packaged critics are those that stand in the measurements of docs/."""
    known = {"alr-rgb": "955f75e8", "alr-gray": "432808fe"}
    assert {name: parameter_checksum(load(name)) for name in known} == known
    one, two = (LocalRegularizer(ridge_with_contrast(first, -1.0)) for first in (0.5, 0.6))
    assert parameter_checksum(one) != parameter_checksum(two)
