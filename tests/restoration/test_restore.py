"""`restore`: parameters that follow from each other, batches and channels, wrong input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import conditioned_critic, random_image, small_critic
from locreg.degradation.deepinv_operators import blur_circular
from locreg.degradation.estimate_noise import estimate_sigma
from locreg.degradation.kernels import gaussian_kernel
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError, UsageError
from locreg.regularizer.local_regularizer import LocalRegularizer, load
from locreg.regularizer.stored_weights import Calibration
from locreg.regularizer.weights import Weights
from locreg.restoration.options import FileOptions, RestoreOptions
from locreg.restoration.restore import restore
from locreg.restoration.tasks import inpaint
from locreg.solvers.options import AdamOptions, GradientDescentOptions
from locreg.solvers.solution import Status

QUANTILES = {
    "quantile_levels": (0.5,), "clean_patches": (0.0,), "degraded_patches": (1.0,),
    "clean_images": (0.0,), "degraded_images": (1.0,),
}  # fmt: skip


def calibrated(in_channels=1, sigma_range=(0.05, 0.4)):
    critic = small_critic("silu", in_channels=in_channels)
    calibration = Calibration(lam_polynomial=(-2.0, 1.0), sigma_range=sigma_range, **QUANTILES)
    return LocalRegularizer(Weights(critic=critic, calibration=calibration))


class Scaling:
    """A x = 2 x."""

    def A(self, x):
        return 2 * x

    def A_adjoint(self, y):
        return 2 * y


def test_an_operator_is_inverted():
    """With little regularization the restored image is y / 2."""
    y = random_image(1, 1, 12, 12)
    options = GradientDescentOptions(steps=100, step_size=0.2)
    found = restore(y, calibrated(), Scaling(), options=RestoreOptions(lam=1e-9, solver=options))
    torch.testing.assert_close(found.image, y / 2, rtol=0, atol=1e-6)


def test_a_lam_that_does_not_follow_from_sigma_needs_none():
    y = random_image(1, 1, 12, 12)
    regularizer = calibrated(sigma_range=(1.0, 1.0))
    found = restore(y, regularizer, options=RestoreOptions(sigma="auto"))
    assert (found.sigma, found.lam) == (None, pytest.approx(math.exp(-2)))
    with pytest.raises(UsageError, match="leave sigma out"):
        restore(y, regularizer, options=RestoreOptions(sigma=0.1))


def test_lam_follows_from_sigma():
    y = random_image(1, 1, 12, 12)
    found = restore(y, calibrated(), options=RestoreOptions(sigma=0.1))
    assert found.sigma == 0.1
    assert found.lam == pytest.approx(math.exp(-2) * 0.1)
    assert found.image.shape == y.shape
    assert len(found.solution.history) == 51


def test_sigma_auto_is_estimated_and_recorded():
    y = add_noise(torch.full((1, 1, 64, 64), 0.5, dtype=torch.float64), 0.1, seed=1)
    found = restore(
        y, calibrated(), options=RestoreOptions(sigma="auto", solver=AdamOptions(steps=2))
    )
    assert found.sigma == estimate_sigma(y)


def test_given_lam_needs_no_sigma():
    y = random_image(1, 1, 12, 12)
    found = restore(
        y, calibrated(), options=RestoreOptions(lam=0.02, solver=GradientDescentOptions(steps=5))
    )
    assert (found.sigma, found.lam) == (None, 0.02)


def test_sigma_zero_returns_the_input():
    y = random_image(2, 1, 12, 12)
    assert torch.equal(restore(y, calibrated(), options=RestoreOptions(sigma=0.0)).image, y)


def test_a_batch_is_restored_as_its_images_are():
    y = random_image(3, 1, 14, 11)
    together = restore(y, calibrated(), options=RestoreOptions(sigma=0.1)).image
    for k in range(3):
        alone = restore(y[k : k + 1], calibrated(), options=RestoreOptions(sigma=0.1)).image
        torch.testing.assert_close(together[k : k + 1], alone, rtol=0, atol=1e-10)


def test_each_image_of_a_batch_has_the_level_that_is_given_or_estimated_for_it():
    y = torch.cat([add_noise(torch.full((1, 1, 64, 64), 0.5), s, seed=1) for s in (0.1, 0.2)])
    regularizer = LocalRegularizer(conditioned_critic().float())
    levels = [estimate_sigma(y[k : k + 1]) for k in range(2)]
    for sigma in ("auto", levels, np.array(levels), torch.tensor(levels)):
        found = restore(y, regularizer, options=RestoreOptions(sigma=sigma, noise="white"))
        for k in range(2):
            options = RestoreOptions(sigma=levels[k], noise="white")
            alone = restore(y[k : k + 1], regularizer, options=options)
            assert found.parts[k].sigma == pytest.approx(levels[k])
            torch.testing.assert_close(found.image[k : k + 1], alone.image)
            torch.testing.assert_close(found.residual[k : k + 1], alone.residual)
        assert found.sigma == pytest.approx(max(levels))


def test_what_was_observed_is_known_for_each_image_of_a_batch():
    y = random_image(2, 1, 12, 12)
    observed = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) < 0.8
    options = RestoreOptions(sigma=[0.1, 0.1])
    residual = restore(y, calibrated(), observed=observed, options=options).residual
    assert torch.equal(residual.isnan(), ~observed)
    residual = restore(y, calibrated(), observed=observed[0, 0], options=options).residual
    assert torch.equal(residual.isnan(), (~observed[:1]).expand(y.shape))


def test_a_list_of_levels_has_one_for_each_image():
    with pytest.raises(UsageError, match="3 levels for 2 images"):
        restore(random_image(2, 1, 12, 12), calibrated(), options=RestoreOptions(sigma=[0.1] * 3))
    with pytest.raises(UsageError, match="at least 0"):
        RestoreOptions(sigma=[0.1, -1])
    with pytest.raises(UsageError, match="batch of images"):
        FileOptions(restoration=RestoreOptions(sigma=[0.1, 0.2]))


def test_a_colour_image_is_restored_by_a_grey_regularizer_channel_by_channel():
    y = random_image(1, 3, 14, 11)
    found = restore(y, calibrated(), options=RestoreOptions(sigma=0.1)).image
    alone = restore(y[:, 1:2], calibrated(), options=RestoreOptions(sigma=0.1)).image
    torch.testing.assert_close(found[:, 1:2], alone, rtol=0, atol=1e-10)


def test_what_was_not_observed_is_known_in_each_channel():
    y = random_image(1, 3, 14, 11)
    observed = torch.ones(14, 11, dtype=torch.bool)
    observed[3:5, 2:9] = False
    residual = restore(
        y, calibrated(), observed=observed, options=RestoreOptions(sigma=0.1)
    ).residual
    assert torch.equal(residual.isnan(), (~observed).expand(y.shape))


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (6, 6)])
def test_images_smaller_than_the_receptive_field_are_restored(size):
    y = random_image(1, 1, *size)
    found = restore(y, calibrated(), options=RestoreOptions(sigma=0.1))
    assert found.image.shape == y.shape
    assert found.solution.status is Status.MAXIMUM_STEPS


@settings(max_examples=6)
@given(tile=st.integers(3, 40))
def test_the_tile_size_does_not_change_the_restored_image(tile):
    y = random_image(1, 1, 25, 19)
    critic = small_critic("softplus")
    options = GradientDescentOptions(steps=10, step_size=0.05)
    whole, tiled = (
        restore(
            y, LocalRegularizer(critic, tile=t), options=RestoreOptions(lam=0.05, solver=options)
        ).image
        for t in (100, tile)
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sigma": 25}, UsageError, "25/255"),
        ({"sigma": -0.1}, UsageError, "at least 0"),
        ({"sigma": float("nan")}, UsageError, "at least 0"),
        ({"lam": -1.0}, UsageError, "lam must be"),
        ({"operator": object()}, UsageError, "give sigma"),
        ({"y": torch.zeros(3, 9, 9)}, LocregError, "shape"),
        ({"y": torch.full((1, 1, 9, 9), float("nan"))}, LocregError, "NaN"),
        ({"regularizer": calibrated(3), "sigma": 0.1}, LocregError, "use denoise-gray"),
        ({"regularizer": LocalRegularizer(small_critic()), "sigma": 0.1}, UsageError, "give lam"),
        ({"sigma": "auto"}, LocregError, "too small"),
        ({"sigma": "auto", "operator": object()}, UsageError, "denoising only"),
    ],
)
def test_wrong_input_is_refused(change, error, words):
    arguments = {"y": random_image(1, 1, 9, 9), "regularizer": calibrated(), **change}
    chosen = {name: arguments.pop(name) for name in ("sigma", "lam") if name in arguments}
    with pytest.raises(error, match=words):
        restore(**arguments, options=RestoreOptions(**chosen))


@pytest.mark.parametrize("sigma", [25, -0.1])
def test_a_regularizer_is_not_asked_for_a_level_that_cannot_be(sigma):
    with pytest.raises(UsageError, match=r"[Nn]oise level"):
        load("denoise-gray").grad(random_image(1, 1, 9, 9), sigma)


def test_the_solver_starts_at_the_given_image_or_at_the_observation():
    y = random_image(2, 3, 8, 8)
    regularizer = LocalRegularizer(small_critic())
    start = random_image(2, 3, 8, 8, seed=1)
    for chosen, first in ((start, start), (None, y)):
        found = restore(y, regularizer, start=chosen, options=RestoreOptions(lam=0.1, steps=2))
        energy = 0.5 * (first - y).square().sum()
        assert found.solution.history[0].data_term.sum() == pytest.approx(energy.item())


def test_the_residual_is_what_the_operator_leaves():
    operator = blur_circular(gaussian_kernel(3, 1.0), (1, 12, 12), torch.device("cpu"))
    y = random_image(1, 1, 12, 12, dtype=torch.float32)
    regularizer = LocalRegularizer(small_critic().float())
    found = restore(y, regularizer, operator, options=RestoreOptions(lam=0.1))
    torch.testing.assert_close(found.residual, y - operator.A(found.image))
    known = torch.eye(12) < 1
    found = inpaint(y, regularizer, known, options=RestoreOptions(lam=0.1))
    assert torch.equal(torch.isfinite(found.residual[0, 0]), known)
