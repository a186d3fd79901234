"""Blur, masks and downsampling: what deepinv's operators do when we make them."""

import pytest
import torch
import torch.nn.functional as F

from conftest import random_image
from locreg.degradation.deepinv_operators import (
    blur_circular,
    blur_unknown_border,
    check_kernel_fits,
    downsampling,
    inpainting,
)
from locreg.degradation.kernels import gaussian_kernel, uniform_kernel
from locreg.degradation.operators import check_operator
from locreg.errors import LocregError, UsageError

CPU = torch.device("cpu")
SHAPE = (1, 16, 16)


@pytest.mark.parametrize("size", [5, 17])
def test_a_blur_of_unknown_border_is_a_convolution_of_the_inside(size):
    """Small kernels are applied directly, large ones by Fourier transform; both are not flipped."""
    kernel = gaussian_kernel(size, 2.0)
    kernel[0, 1] += 0.5
    kernel /= kernel.sum()
    x = random_image(1, 1, 24, 20, dtype=torch.float32)
    operator = blur_unknown_border(kernel, CPU)
    weights = torch.from_numpy(kernel).flip(0, 1)[None, None]
    expected = F.conv2d(x, weights)
    torch.testing.assert_close(operator.A(x), expected, rtol=0, atol=1e-5)
    check_operator(operator, x, expected)


def test_a_circular_blur_wraps_around():
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0] = 9
    blurred = blur_circular(uniform_kernel(3), (1, 8, 8), CPU).A(x)
    expected = torch.zeros(8, 8)
    near = torch.tensor([-1, 0, 1])
    expected[near[:, None], near] = 1
    torch.testing.assert_close(blurred[0, 0], expected, rtol=0, atol=1e-5)


def test_a_mask_keeps_the_known_pixels():
    x = random_image(2, 3, 4, 4, dtype=torch.float32)
    mask = torch.eye(4) * 0.3  # any value above 0 counts as known
    assert torch.equal(inpainting(mask, (3, 4, 4), CPU).A(x), x * torch.eye(4))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_small_pixel_lies_in_the_middle_of_its_block(factor):
    """A ramp shows where: pixel k of the small one has the mean position of its block."""
    length = 12 * factor
    ramp = torch.arange(length, dtype=torch.float32).expand(1, 1, length, length)
    small = downsampling(factor, 0.5, (1, length, length), CPU).A(ramp)
    expected = factor * torch.arange(12) + (factor - 1) / 2
    inside = slice(3, -3)
    torch.testing.assert_close(small[0, 0, 5, inside], expected[inside], rtol=0, atol=5e-3)
    across = downsampling(factor, 0.5, (1, length, length), CPU).A(ramp.mT.contiguous())
    torch.testing.assert_close(across[0, 0, inside, 5], expected[inside], rtol=0, atol=5e-3)


def test_downsampling_keeps_the_brightness_and_has_an_adjoint():
    operator = downsampling(3, 0.5, (2, 12, 15), CPU)
    small = operator.A(torch.full((1, 2, 12, 15), 0.7))
    torch.testing.assert_close(small, torch.full((1, 2, 4, 5), 0.7))
    check_operator(operator, torch.zeros(1, 2, 12, 15), small)
    with pytest.raises(UsageError, match=r"antialiasing must be from 0\.1 to 1"):
        downsampling(3, 1.5, (2, 12, 15), CPU)


def test_an_impossible_mask_is_refused():
    with pytest.raises(LocregError, match=r"9x8 pixels and the image 16x16"):
        inpainting(torch.ones(8, 9), SHAPE, CPU)
    with pytest.raises(LocregError, match="every pixel as missing"):
        inpainting(torch.zeros(16, 16), SHAPE, CPU)


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(LocregError, match=r"kernel \(17x17 pixels\) is larger than the image"):
        blur_circular(gaussian_kernel(17, 3.0), SHAPE, CPU)
    check_kernel_fits(gaussian_kernel(17, 3.0), 17, 17)
    with pytest.raises(LocregError, match="larger than the image"):
        check_kernel_fits(gaussian_kernel(17, 3.0), 17, 16)
