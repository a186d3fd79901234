"""The peak signal-to-noise ratio."""

import pytest
import torch

from conftest import random_image
from locreg.images.metrics import psnr


def test_psnr_is_that_of_the_mean_square_error_of_each_image():
    reference = random_image(2, 3, 5, 4) / 2
    error = torch.tensor([0.1, 0.01]).double().view(2, 1, 1, 1)
    assert psnr(reference + error, reference).tolist() == pytest.approx([20, 40])


def test_psnr_clips_the_image_to_the_unit_range():
    reference = torch.ones(1, 1, 4, 4)
    assert psnr(reference + 5, reference).item() == float("inf")
    assert psnr(reference - 5, reference).item() == pytest.approx(0)
