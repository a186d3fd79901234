"""Calibration: lam from the noise level, or from the scores of clean and degraded images."""

import itertools

import numpy as np
import pytest
import torch

from conftest import small_critic
from locreg.degradation.noise import NoiseRange, add_noise
from locreg.errors import LocregError
from locreg.images.metrics import psnr
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import Layer
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.solvers.options import AdamOptions
from locreg.training.calibration import (
    CONTRAST_SIGMAS,
    best_contrast,
    calibrate_unpaired,
    calibrate_white_noise,
    levels_of,
)

ONE_LEVEL = NoiseRange(low=0.1, high=0.1)


def test_white_noise_calibration_finds_the_best_lam():
    """The fitted lam is better than lam a third larger or smaller."""
    critic = small_critic("relu")
    regularizer = LocalRegularizer(critic)
    images = [0.5 + 0.2 * torch.sin(torch.arange(576).double() / 40).view(1, 1, 24, 24)]
    calibration = calibrate_white_noise(
        regularizer, images, noise=ONE_LEVEL, seed=0, sigmas=(0.1,), progress=False
    )
    noisy = add_noise(images[0], 0.1, seed=0)
    lam = calibration.record["lams"][0]
    qualities = [
        psnr(
            restore(noisy, regularizer, options=RestoreOptions(lam=lam * f)).image, images[0]
        ).item()
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


def differences_of_neighbours(side=32):
    """A critic of the differences of neighbours, and an image of squares with steps of 0.4."""
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
    return differences, squares[..., :side, :side]


def test_the_best_contrast_tells_steps_from_noise():
    """Steps are 0.4 and 0.8 high, noise differs by about 0.14 between neighbours."""
    differences, squares = differences_of_neighbours(side=16)
    found, quality = best_contrast(differences, [squares], 0.1, seed=0, progress=False)
    assert 1 < found < 6
    assert quality > 22  # the PSNR of the noise is 20 dB


@pytest.mark.parametrize(
    ("low", "high"), [(0.1, 0.1), (0.0, 0.5), (0.0, 0.01), (0.01, 0.5), (0, 1)]
)
def test_lam_is_fitted_at_the_levels_of_the_training_alone(low, high):
    levels = levels_of(NoiseRange(low=low, high=high))
    assert list(levels) == sorted(levels)
    assert len(levels) >= 3  # a parabola needs three
    assert all(after <= 3.01 * before for before, after in itertools.pairwise(levels))
    assert levels[0] == pytest.approx(0.7 * low or levels[-1] / 20)
    assert levels[-1] == pytest.approx(min(1.3 * high, 1))


def test_lam_is_fitted_at_each_noise_level():
    """Two levels determine a line in log sigma; the quantiles of scores are recorded."""
    critic, squares = differences_of_neighbours(side=24)
    regularizer = LocalRegularizer(critic.at_contrast(2.5).requires_grad_(False))
    calibration = calibrate_white_noise(
        regularizer, [squares], noise=ONE_LEVEL, seed=0, sigmas=(0.08, 0.12),
        options=AdamOptions(steps=20), progress=False,
    )  # fmt: skip
    lams = calibration.record["lams"]
    assert [calibration.lam(sigma) for sigma in (0.08, 0.12)] == pytest.approx(lams)
    assert 0 < lams[0] < lams[1]
    assert calibration.sigma_range == (0.08, 0.12)
    assert calibration.contrast_polynomial == ()
    for levels in (calibration.clean_patches, calibration.degraded_patches):
        assert len(levels) == len(calibration.quantile_levels)
        assert list(levels) == sorted(levels)
    assert calibration.degraded_images[0] > calibration.clean_images[0]


@pytest.mark.slow
@pytest.mark.slow
def test_the_best_contrast_does_not_depend_on_the_one_that_was_learned():
    differences, squares = differences_of_neighbours()
    found, _ = best_contrast(differences, [squares], 0.1, seed=0, progress=False)
    assert 1 < found < 6  # a difference larger than the noise, 0.2, should count as an edge
    halved = differences.at_contrast(found / 2.0)
    again, _ = best_contrast(halved, [squares], 0.1, seed=0, progress=False)
    assert again == pytest.approx(2.0, rel=0.15)


@pytest.mark.slow
@pytest.mark.slow
def test_the_fitted_contrast_falls_with_the_noise_level():
    critic, squares = differences_of_neighbours()
    calibration = calibrate_white_noise(
        LocalRegularizer(critic), [squares], noise=ONE_LEVEL, seed=0, sigmas=(0.05, 0.4),
        with_contrast=True, progress=False,
    )  # fmt: skip
    found, _ = best_contrast(critic, [squares], 0.05, seed=0, progress=False)
    assert calibration.contrast(0.4) < calibration.contrast(0.1) < calibration.contrast(0.05)
    contrasts = [a for a, _ in calibration.record["contrasts"]]
    assert contrasts[0] == pytest.approx(found, rel=0.3)  # from another first guess
    line = np.polyfit(np.log(CONTRAST_SIGMAS), np.log(contrasts), 1)
    assert calibration.contrast(0.1) == pytest.approx(np.exp(np.polyval(line, np.log(0.1))))
