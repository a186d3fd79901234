"""The classical methods of the comparisons do what they are called."""

import pytest
import torch

from conftest import random_image
from locreg.degradation.deepinv_operators import blur_circular, inpainting
from locreg.degradation.kernels import gaussian_kernel
from locreg.evaluation.baselines import non_local_means, total_variation, wiener
from locreg.evaluation.simulation import Photograph, denoising, inpainting_at_random
from locreg.images.metrics import psnr

CPU = torch.device("cpu")


def test_total_variation_of_a_square_has_its_closed_form():
    """Two constant halves move towards each other by lam / (their width)."""
    y = torch.zeros(1, 1, 1, 20)
    y[..., 10:] = 1
    operator = inpainting(torch.ones(1, 20), (1, 1, 20), CPU)
    found = total_variation(y, operator, 0.5, y, steps=3000)
    expected = torch.where(y > 0.5, 1 - 0.05, 0.05)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("lam", [0.002, 0.01])
def test_few_steps_are_close_to_many(photograph, lam):
    x = torch.from_numpy(photograph[:40, 200:240].copy()).permute(2, 0, 1)[None] / 255
    operator = blur_circular(gaussian_kernel(5, 1.5), (3, 40, 40), CPU)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    y = operator.A(x) + 0.02 * noise
    few, many = (total_variation(y, operator, lam, y, steps=n) for n in (80, 1000))
    assert psnr(few, x).item() == pytest.approx(psnr(many, x).item(), abs=0.1)
    assert psnr(many, x) > psnr(y, x)


def test_wiener_inverts_a_blur_without_noise():
    x = random_image(1, 2, 32, 32, dtype=torch.float32)
    kernel = gaussian_kernel(3, 0.6)
    y = blur_circular(kernel, (2, 32, 32), CPU).A(x)
    torch.testing.assert_close(wiener(y, kernel, 1e-9), x, rtol=0, atol=1e-3)


def test_total_variation_of_denoising_is_that_of_a_mask_without_holes():
    problem = denoising(Photograph(random_image(1, 1, 9, 8, dtype=torch.float32), "x"), 0.1)
    whole = inpainting_at_random(Photograph(problem.clean, "x"), 0.1, 1e-9)
    found = [
        total_variation(problem.y, operator, 0.1, problem.y) for operator in (None, whole.operator)
    ]
    torch.testing.assert_close(*found)


def test_non_local_means_denoise(photograph):
    clean = torch.from_numpy(photograph[:96, 200:296].copy()).permute(2, 0, 1)[None] / 255
    problem = denoising(Photograph(clean, "x"), 0.1)
    noisy = psnr(problem.y, clean)
    assert psnr(non_local_means(problem.y, 0.1), clean) > noisy + 4
    grey = non_local_means(problem.y.mean(1, keepdim=True), 0.1)
    assert grey.shape == (1, 1, 96, 96)
