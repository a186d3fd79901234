"""Restoration and calibration: levels found, parameters followed, wrong input refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_image, small_critic
from locreg.calibration import calibrate_unpaired, calibrate_white_noise, estimate_sigma
from locreg.critic import PatchCritic, standard_layers
from locreg.errors import LocregError, UsageError
from locreg.operators import inpainting
from locreg.options import AdamOptions, AnnealingOptions, GradientDescentOptions
from locreg.regularizer import LocalRegularizer, load
from locreg.restoration import restore
from locreg.solvers import Status
from locreg.validation import add_noise, growing_root, psnr
from locreg.weights import Calibration, Weights

QUANTILES = {
    "quantile_levels": (0.5,), "clean_patches": (0.0,), "degraded_patches": (1.0,),
    "clean_images": (0.0,), "degraded_images": (1.0,),
}  # fmt: skip


def calibrated(in_channels=1, sigma_range=(0.05, 0.4)):
    critic = small_critic("silu", in_channels=in_channels)
    calibration = Calibration(lam_polynomial=(-2.0, 1.0), sigma_range=sigma_range, **QUANTILES)
    return LocalRegularizer(Weights(critic=critic, calibration=calibration))


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.2])
def test_noise_level_of_a_photograph_is_found(photograph, sigma):
    clean = torch.from_numpy(photograph.transpose(2, 0, 1)[None, :, :256, :256] / 255.0)
    found = estimate_sigma(add_noise(clean, sigma, seed=0))
    assert found == pytest.approx(sigma, rel=0.1)


@settings(max_examples=15)
@given(sigma=st.floats(0.001, 1), seed=st.integers(0, 99))
def test_noise_level_of_a_constant_image_is_found(sigma, seed):
    image = torch.full((1, 1, 96, 96), 0.5, dtype=torch.float64)
    assert estimate_sigma(add_noise(image, sigma, seed)) == pytest.approx(sigma, rel=0.1)


def test_a_noiseless_constant_image_has_no_noise():
    assert estimate_sigma(torch.full((1, 3, 64, 64), 0.5)) == pytest.approx(0, abs=1e-7)


def test_noise_of_a_grey_photograph_stored_as_colour_is_found(photograph):
    """Equal channels make three quarters of a joint covariance's eigenvalues vanish."""
    grey = torch.from_numpy(photograph[None, None, :256, :256, 0] / 255.0)
    noisy = add_noise(grey, 0.1, seed=0)
    found = estimate_sigma(noisy.expand(1, 3, -1, -1))
    assert found == pytest.approx(estimate_sigma(noisy), rel=1e-6)
    assert found == pytest.approx(0.1, rel=0.1)


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
    found = restore(y, calibrated(), Scaling(), lam=1e-9, solver=options)
    torch.testing.assert_close(found.image, y / 2, rtol=0, atol=1e-6)


def test_a_lam_that_does_not_follow_from_sigma_needs_none():
    y = random_image(1, 1, 12, 12)
    regularizer = calibrated(sigma_range=(1.0, 1.0))
    found = restore(y, regularizer, sigma="auto")
    assert (found.sigma, found.lam) == (None, pytest.approx(math.exp(-2)))
    with pytest.raises(UsageError, match="leave sigma out"):
        restore(y, regularizer, sigma=0.1)


def test_lam_follows_from_sigma():
    y = random_image(1, 1, 12, 12)
    found = restore(y, calibrated(), sigma=0.1)
    assert found.sigma == 0.1
    assert found.lam == pytest.approx(math.exp(-2) * 0.1)
    assert found.image.shape == y.shape
    assert len(found.solution.history) == 51


def test_sigma_auto_is_estimated_and_recorded():
    y = add_noise(torch.full((1, 1, 64, 64), 0.5, dtype=torch.float64), 0.1, seed=1)
    found = restore(y, calibrated(), sigma="auto", solver=AdamOptions(steps=2))
    assert found.sigma == estimate_sigma(y)


def test_given_lam_needs_no_sigma():
    y = random_image(1, 1, 12, 12)
    found = restore(y, calibrated(), lam=0.02, solver=GradientDescentOptions(steps=5))
    assert (found.sigma, found.lam) == (None, 0.02)


def test_sigma_zero_returns_the_input():
    y = random_image(2, 1, 12, 12)
    assert torch.equal(restore(y, calibrated(), sigma=0.0).image, y)


def test_a_batch_is_restored_as_its_images_are():
    y = random_image(3, 1, 14, 11)
    together = restore(y, calibrated(), sigma=0.1).image
    for k in range(3):
        alone = restore(y[k : k + 1], calibrated(), sigma=0.1).image
        torch.testing.assert_close(together[k : k + 1], alone, rtol=0, atol=1e-10)


def test_a_colour_image_is_restored_by_a_grey_regularizer_channel_by_channel():
    y = random_image(1, 3, 14, 11)
    found = restore(y, calibrated(), sigma=0.1).image
    alone = restore(y[:, 1:2], calibrated(), sigma=0.1).image
    torch.testing.assert_close(found[:, 1:2], alone, rtol=0, atol=1e-10)


def test_what_was_not_observed_is_known_in_each_channel():
    y = random_image(1, 3, 14, 11)
    observed = torch.ones(14, 11, dtype=torch.bool)
    observed[3:5, 2:9] = False
    residual = restore(y, calibrated(), sigma=0.1, observed=observed).residual
    assert torch.equal(residual.isnan(), (~observed).expand(y.shape))


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (6, 6)])
def test_images_smaller_than_the_receptive_field_are_restored(size):
    y = random_image(1, 1, *size)
    found = restore(y, calibrated(), sigma=0.1)
    assert found.image.shape == y.shape
    assert found.solution.status is Status.MAXIMUM_STEPS


@settings(max_examples=10)
@given(tile=st.integers(3, 40))
def test_the_tile_size_does_not_change_the_restored_image(tile):
    y = random_image(1, 1, 25, 19)
    critic = small_critic("softplus")
    options = GradientDescentOptions(steps=20, step_size=0.05)
    whole, tiled = (
        restore(y, LocalRegularizer(critic, tile=t), lam=0.05, solver=options).image
        for t in (100, tile)
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


def test_white_noise_calibration_finds_the_best_lam():
    """The fitted lam is better than lam a third larger or smaller."""
    critic = small_critic("relu")
    regularizer = LocalRegularizer(critic)
    images = [0.5 + 0.2 * torch.sin(torch.arange(576).double() / 40).view(1, 1, 24, 24)]
    calibration = calibrate_white_noise(
        regularizer, images, degraded_sigmas=(0.1, 0.1), seed=0, sigmas=(0.1,), progress=False
    )
    noisy = add_noise(images[0], 0.1, seed=0)
    lam = calibration.record["lams"][0]
    qualities = [
        psnr(restore(noisy, regularizer, lam=lam * f).image, images[0]).item()
        for f in (0.75, 1.0, 1.33)
    ]
    assert max(qualities) == qualities[1]
    assert calibration.record["psnr"][0] == pytest.approx(qualities[1], abs=0.05)


def test_unpaired_calibration_gives_restored_images_the_scores_of_clean_ones():
    class Variation:
        """r = x|x|/2: clean images are dark, degraded ones bright; lam must bring them together."""

        def score_map(self, x):
            return 0.5 * x * x.abs()

        def value_and_grad(self, x):
            return self.score_map(x).flatten(1).sum(1), x.abs()

        def grad(self, x):
            return x.abs()

    bright, dark = torch.full((1, 1, 8, 8), 0.8), torch.full((1, 1, 8, 8), 0.6)
    calibration = calibrate_unpaired(Variation(), [dark], [bright], progress=False)
    # min 1/2 (x - 0.8)^2 + lam/2 x^2 is at 0.8 / (1 + lam), which is 0.6 at lam = 1/3.
    assert calibration.lam(0.1) == pytest.approx(1 / 3, rel=0.1)
    # So slight that lam lies below the first guess; Adam's last step of 0.01 blurs it.
    slight = calibrate_unpaired(Variation(), [bright - 0.002], [bright], progress=False)
    assert slight.lam(0.1) == pytest.approx(0.002 / 0.798, rel=0.5)
    with pytest.raises(LocregError, match="does not tell"):
        calibrate_unpaired(Variation(), [-1000 + 0 * dark], [bright], progress=False)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sigma": 25}, UsageError, "25/255"),
        ({"sigma": -0.1}, UsageError, "at least 0"),
        ({"sigma": float("nan")}, UsageError, "at least 0"),
        ({"lam": -1.0}, UsageError, "lam must be"),
        ({}, UsageError, "give sigma"),
        ({"y": torch.zeros(3, 9, 9)}, LocregError, "shape"),
        ({"y": torch.full((1, 1, 9, 9), float("nan"))}, LocregError, "NaN"),
        ({"y": torch.zeros(1, 1, 9, 9), "sigma": 0.1}, LocregError, "float32"),
        ({"regularizer": calibrated(3), "sigma": 0.1}, LocregError, "use denoise-gray"),
        ({"regularizer": LocalRegularizer(small_critic()), "sigma": 0.1}, UsageError, "give lam"),
        ({"sigma": "auto"}, LocregError, "too small"),
        ({"sigma": "auto", "operator": object()}, UsageError, "denoising only"),
    ],
)
def test_wrong_input_is_refused(change, error, words):
    arguments = {"y": random_image(1, 1, 9, 9), "regularizer": calibrated(), **change}
    with pytest.raises(error, match=words):
        restore(**arguments)


def test_levels_far_from_those_of_the_training_are_refused():
    critic = PatchCritic(standard_layers((4,) * 6, "silu"), in_channels=1, noise_conditioned=True)
    criterion = {"name": "denoising", "noise": [0.05, 0.1]}
    energy = LocalRegularizer(Weights(critic=critic.requires_grad_(False), criterion=criterion))
    y = random_image(1, 1, 9, 9).float()
    for sigma in (0.02, 0.2, np.float32(0.2)):
        with pytest.raises(LocregError, match=r"trained for noise in 0\.05:0\.1"):
            restore(y, energy, sigma=sigma)
    assert restore(y, energy, sigma=0.12).sigma == 0.12
    identity = inpainting(torch.ones(9, 9, dtype=torch.bool), (1, 9, 9), y.device)
    with pytest.raises(LocregError, match=r"trained for noise in 0\.05:0\.1"):
        restore(y, energy, identity, sigma=0.2)
    annealed = restore(y, energy, identity, sigma=0.01, solver=AnnealingOptions(steps=3))
    sizes = [iterate.step_size for iterate in annealed.solution.history]
    weight = annealed.lam * 0.01  # tau = s / lam_s = s^2 / (lam sigma)
    levels = [(float(size) * weight) ** 0.5 for size in sizes[:-1]]
    assert levels == pytest.approx([0.1, (0.1 * 0.05) ** 0.5, 0.05], rel=1e-3)


@pytest.mark.parametrize("sigma", [25, -0.1])
def test_a_regularizer_is_not_asked_for_a_level_that_cannot_be(sigma):
    with pytest.raises(UsageError, match=r"[Nn]oise level"):
        load("denoise-gray").grad(random_image(1, 1, 9, 9), sigma)


def test_the_solver_starts_where_it_is_told():
    y = random_image(2, 3, 8, 8)
    regularizer = LocalRegularizer(small_critic())
    start = random_image(2, 3, 8, 8, seed=1)
    for told, first in ((start, start), (None, y)):
        found = restore(y, regularizer, lam=0.1, start=told)
        energy = 0.5 * (first - y).square().sum()
        assert found.solution.history[0].data_term.sum() == pytest.approx(energy.item())


@given(root=st.floats(1e-3, 1e3), first=st.floats(0.1, 10))
def test_the_root_of_a_growing_function_is_found(root, first):
    found = growing_root(lambda lam: math.log(lam) - math.log(root), first, refinements=6)
    if 2**-11.9 < root / first < 2**11.9:
        assert found is not None
    if found is not None:
        assert abs(math.log2(found / root)) <= 2**-6 + 1e-9
    assert growing_root(lambda _: -1.0, first) is None
