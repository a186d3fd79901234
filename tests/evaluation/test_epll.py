"""EPLL: the algorithm is deepinv's, the mixture is found, and files go round."""

import numpy as np
import pytest
import torch

from conftest import random_image
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError
from locreg.evaluation.epll import Mixture, epll, fit_mixture, load_mixture, save_mixture
from locreg.images.image_file import write_image
from locreg.images.metrics import psnr
from locreg.images.patches import PatchPool


def mixture_of(*variances, channels=1, side=3):
    """Gaussians without mean: smooth ones, of different variances."""
    dimension = channels * side**2
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(len(variances), dimension, dimension, generator=generator)
    covariances = maps @ maps.transpose(1, 2) / dimension
    covariances = covariances * torch.tensor(variances).view(-1, 1, 1)
    shares = torch.ones(len(variances)) / len(variances)
    return Mixture(shares, covariances + 1e-4 * torch.eye(dimension), channels, {})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0.05, 0.4])
def test_it_is_the_algorithm_of_deepinv(channels, sigma):
    from deepinv.optim.epll import EPLL
    from deepinv.optim.utils import GaussianMixtureModel
    from deepinv.physics import Denoising

    mixture = mixture_of(1.0, 0.1, 0.01, channels=channels)
    y = random_image(1, channels, 12, 15)
    reference = GaussianMixtureModel(3, 9 * channels).double()
    reference.set_weights(mixture.shares)
    reference.set_cov(mixture.covariances.double())
    model = EPLL(reference, 3, None, patch_size=3, channels=channels)
    with torch.no_grad():
        expected = model(y, Denoising(), sigma=sigma, x_init=y.clone())
    found = epll(y.float(), sigma, mixture)
    # The directions of hardly any variance that ours leaves out change the choice at near ties.
    assert (found - expected).abs().median() < 1e-4
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.02)


def test_one_gaussian_is_a_wiener_filter_of_patches():
    """With side 1 and a variance v the five rounds have a closed form."""
    v, sigma = 0.3, 0.2
    y = random_image(2, 1, 4, 5, dtype=torch.float32)
    found = epll(y, sigma, Mixture(torch.ones(1), torch.full((1, 1, 1), v), 1, {}))
    x = y
    for beta in (1, 4, 8, 16, 32):
        x = (y + beta * v / (v + sigma**2 / beta) * x) / (1 + beta)
    torch.testing.assert_close(found, x)


def test_grey_patches_restore_colour_channel_by_channel():
    mixture = mixture_of(1.0, 0.1)
    y = random_image(1, 3, 8, 9, dtype=torch.float32)
    apart = torch.cat([epll(y[:, c : c + 1], 0.1, mixture) for c in range(3)], dim=1)
    torch.testing.assert_close(epll(y, 0.1, mixture), apart)


@pytest.fixture
def two_kinds(tmp_path):
    """Images of vertical stripes and images of horizontal ones."""
    random = np.random.default_rng(0)
    for k in range(8):
        line = random.standard_normal(40).astype(np.float32).clip(-2, 2) / 5 + 0.5
        image = (
            np.broadcast_to(line, (40, 40)) if k % 2 else np.broadcast_to(line[:, None], (40, 40))
        )
        write_image(tmp_path / f"{k}.png", image[None].copy())
    return tmp_path


def test_the_mixture_separates_what_differs(two_kinds):
    pool = PatchPool(sorted(two_kinds.iterdir()), size=4, channels=1, seed=0)
    mixture = fit_mixture(pool, components=2, patches=4000, iterations=15, progress=False)
    assert mixture.shares.sum() == pytest.approx(1)
    assert mixture.side == 4
    along = []
    for covariance in mixture.covariances:
        c = covariance.view(4, 4, 4, 4)
        down, right = (c[0, 0, 0, 0] - c[0, 0, 1, 0]), (c[0, 0, 0, 0] - c[0, 0, 0, 1])
        along.append(bool(down < right))
    assert sorted(along) == [False, True]


def test_more_iterations_raise_the_likelihood(two_kinds):
    found = []
    for iterations in (1, 3, 8):
        pool = PatchPool(sorted(two_kinds.iterdir()), size=4, channels=1, seed=0)
        mixture = fit_mixture(
            pool, components=3, patches=2000, iterations=iterations, progress=False
        )
        found.append(mixture.record["log_likelihood"])
    assert found == sorted(found)


def test_it_denoises_and_files_go_round(two_kinds, tmp_path, locreg):
    out = tmp_path / "epll.safetensors"
    fit = ["fit-epll", "--clean", two_kinds, "-o", out, "--channels", 1, "--patch-size", 4]
    small = ["--components", 2, "--patches", 2000, "--iterations", 5]
    status, printed, _ = locreg(*fit, *small)
    assert status == 0
    assert "log-likelihood" in printed
    mixture = load_mixture(out)
    clean = torch.linspace(0.2, 0.8, 32).expand(1, 1, 32, 32)
    noisy = add_noise(clean, 0.1, seed=0)
    assert psnr(epll(noisy, 0.1, mixture), clean) > psnr(noisy, clean) + 4
    again = tmp_path / "again.safetensors"
    save_mixture(mixture, again)
    assert torch.equal(load_mixture(again).covariances, mixture.covariances)
    status, table, _ = locreg(
        "evaluate", "--test", two_kinds, "-o", tmp_path / "out", "--methods", f"noisy,epll:{out}"
    )
    assert status == 0
    assert "2 components of 4x4 pixels" in table
    assert locreg(*fit, *small)[0] == 1  # it exists already
    assert locreg(*fit, "--components", 0)[0] == 2
    assert locreg(*fit, "--patches", 5)[0] == 2


def test_weights_of_a_critic_are_no_mixture(weight_file):
    with pytest.raises(LocregError, match="no mixture"):
        load_mixture(weight_file)


def test_patches_of_hardly_any_detail_are_fitted():
    """Bright colour patches: the variance of brightness is 1e7 times that of the finest details."""

    class Bright:
        channels = 3

        def patches(self, count, iteration):
            random = np.random.default_rng(iteration)
            brightness = random.uniform(0, 1, (count, 1, 1, 1))
            detail = 1e-4 * random.standard_normal((count, 3, 8, 8))
            return (brightness + detail).astype(np.float32)

    fitted = fit_mixture(Bright(), components=2, patches=1000, iterations=3, progress=False)
    values = torch.linalg.eigvalsh(fitted.covariances.double())
    assert values.min() > 0
    assert values.max() > 20  # 192 values that vary together by 1/3
