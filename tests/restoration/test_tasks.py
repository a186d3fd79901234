"""Deblurring, inpainting and upscaling of a photograph."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import locreg
from conftest import random_image
from locreg.degradation.camera_noise import add_camera_noise, draw_camera
from locreg.degradation.deepinv_operators import blur_unknown_border, downsampling
from locreg.degradation.kernels import gaussian_kernel
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError, UsageError
from locreg.images.metrics import psnr
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.restoration.tasks import deblur, filled, inpaint, upscale
from locreg.solvers.options import AdamOptions, LBFGSOptions

KERNEL = gaussian_kernel(7, 3.0)


@pytest.fixture(scope="module")
def regularizer():
    return locreg.load("alr-rgb")


def test_deblurring_a_photograph_leaves_no_ringing_at_the_border(scene, regularizer):
    clean = scene[..., 3:-3, 3:-3]
    y = add_noise(blur_unknown_border(KERNEL, scene.device).A(scene), 0.01, 0)
    found = deblur(y, regularizer, KERNEL)
    assert found.sigma == pytest.approx(0.01, rel=0.2)
    assert found.image.shape == y.shape
    gain = psnr(found.image, clean) - psnr(y, clean)
    assert gain > 2
    wrapped = deblur(y, regularizer, KERNEL, border="circular")
    frame = torch.ones(48, 48, dtype=torch.bool)
    frame[8:-8, 8:-8] = False
    at_border = [psnr(z.image[..., frame], clean[..., frame]).item() for z in (found, wrapped)]
    assert at_border[0] > at_border[1] + 1


def test_inpainting_fills_what_is_missing(scene, regularizer):
    known = torch.rand(54, 54, generator=torch.Generator().manual_seed(0)) > 0.5
    y = add_noise(scene, 0.02, 1)
    found = inpaint(
        torch.where(known, y, torch.nan), regularizer, known, options=RestoreOptions(sigma=0.02)
    )
    start = filled(torch.where(known, y, 0), known)
    assert psnr(found.image, scene) > psnr(start, scene) + 1


def test_upscaling_beats_bicubic(scene, regularizer):
    y = add_noise(downsampling(2, 0.5, (3, 54, 54), scene.device).A(scene), 0.01, 2)
    found = upscale(y, regularizer, 2, antialiasing=0.5)
    assert found.image.shape == scene.shape
    bicubic = F.interpolate(y, scale_factor=2, mode="bicubic")
    assert psnr(found.image, scene) > psnr(bicubic, scene) + 1


@pytest.mark.slow
def test_upscaling_suits_images_that_were_made_small_by_a_mean(photograph):
    """They are sharper than the Gaussian that is assumed: edges must not get rims."""
    crop = photograph[20:98, 180:258]
    scene = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    y = F.avg_pool2d(scene, 2)
    found = upscale(y, locreg.load("denoise-rgb"), 2, options=RestoreOptions(sigma=0.005))
    bicubic = F.interpolate(y, scale_factor=2, mode="bicubic")
    assert psnr(found.image, scene) > psnr(bicubic, scene) + 0.2


def test_weights_whose_lam_does_not_follow_from_sigma_need_no_sigma(scene, regularizer):
    calibration = replace(
        regularizer.calibration, lam_polynomial=(math.log(1e-4),), sigma_range=(1.0, 1.0)
    )
    fixed = locreg.LocalRegularizer(
        locreg.Weights(critic=regularizer.critic, calibration=calibration)
    )
    found = deblur(scene, fixed, KERNEL, options=RestoreOptions(solver=AdamOptions(steps=1)))
    assert found.sigma is None
    assert found.lam == pytest.approx(0.4 * 1e-4)  # deblurring takes a share


def test_a_factor_below_two_and_no_antialiasing_are_wrong_usage(scene, regularizer):
    with pytest.raises(UsageError, match="factor"):
        upscale(scene, regularizer, 1)
    with pytest.raises(UsageError, match="antialiasing must be from"):
        upscale(scene, regularizer, 2, antialiasing=0.0)


@settings(max_examples=30)
@given(
    value=st.floats(0, 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_filling_keeps_what_is_known_and_stays_between(value, height, width, seed):
    y = value * random_image(1, 2, height, width, seed=seed)
    known = random_image(height, width, seed=seed + 1) > 0.7
    known[0, 0] = True
    result = filled(y, known)
    assert torch.equal(result[..., known], y[..., known])
    assert result.min() >= y[..., known].min() - 1e-12
    assert result.max() <= y[..., known].max() + 1e-12
    constant = filled(torch.full_like(y, value), known)
    torch.testing.assert_close(constant, torch.full_like(y, value))


def test_a_mask_may_hold_any_numbers_above_zero(scene, regularizer):
    known = torch.rand(scene.shape[-2:], generator=torch.Generator().manual_seed(0)) < 0.5
    options = RestoreOptions(sigma=0.02, solver=AdamOptions(steps=2))
    expected = inpaint(scene, regularizer, known, options).image
    for mask in (known.float(), 255 * known.to(torch.uint8)):
        assert torch.equal(inpaint(scene, regularizer, mask, options).image, expected)


@pytest.mark.parametrize("weights", ["alr-rgb", "denoise-rgb"])
@pytest.mark.parametrize("solver", [None, LBFGSOptions(steps=4)])
def test_holes_of_an_image_without_noise_are_filled_by_the_regularizer(scene, weights, solver):
    known = torch.ones(scene.shape[-2:], dtype=torch.bool)
    known[30:34, 20:60] = False
    found = inpaint(
        scene, locreg.load(weights), known, options=RestoreOptions(sigma=0.0, solver=solver)
    )
    first = filled(torch.where(known, scene, 0), known)
    assert found.sigma == 0
    assert found.lam > 0
    assert (found.image - first)[..., ~known].abs().max() > 1e-4


def test_wrong_shapes_are_refused(scene, regularizer):
    known = torch.ones(scene.shape[-2:])
    for wrong, words in [
        (lambda: deblur(scene, regularizer, KERNEL[None, None]), "must be a matrix"),
        (lambda: deblur(scene[0], regularizer, KERNEL), r"\(B, C, H, W\)"),
        (lambda: inpaint(scene, regularizer, known[None, None]), "known must have the shape"),
        (lambda: inpaint(scene[0], regularizer, known), r"\(B, C, H, W\)"),
        (lambda: upscale(scene[0], regularizer), r"\(B, C, H, W\)"),
    ]:
        with pytest.raises(LocregError, match=words):
            wrong()


def test_grey_weights_restore_the_channels_of_a_colour_image(scene):
    grey = locreg.load("alr-gray")
    options = RestoreOptions(sigma=0.02, solver=AdamOptions(steps=2))
    tasks = {
        "denoise": lambda y: restore(y, grey, options=options),
        "deblur": lambda y: deblur(y, grey, KERNEL, options),
        "inpaint": lambda y: inpaint(y, grey, torch.ones(y.shape[-2:]), options),
        "upscale": lambda y: upscale(y, grey, 2, options),
    }
    for task in tasks.values():
        found = task(scene)
        for channel in range(3):
            alone = task(scene[:, channel : channel + 1])
            torch.testing.assert_close(found.image[:, channel : channel + 1], alone.image)
            torch.testing.assert_close(found.residual[:, channel : channel + 1], alone.residual)


@pytest.mark.slow
def test_noise_of_a_camera_is_not_amplified_by_deblurring(photograph):
    """The estimate counts noise that is alike in neighbouring pixels; white noise alone is tiny."""
    crop = photograph[:166, 150:316].transpose(2, 0, 1)[None].copy()
    scene, kernel = torch.from_numpy(crop).float() / 255, gaussian_kernel(7, 1.2)
    random = np.random.default_rng(2)
    blurred = blur_unknown_border(kernel, scene.device).A(scene)
    noisy = add_camera_noise(blurred[0], draw_camera(random), random)[None]
    found = deblur(noisy, locreg.load("denoise-rgb"), kernel)
    assert found.sigma > 0.02
    assert psnr(found.image, scene[..., 3:-3, 3:-3]) > psnr(noisy, scene[..., 3:-3, 3:-3]) - 0.5
    white = deblur(noisy, locreg.load("denoise-rgb"), kernel, RestoreOptions(sigma=0.003))
    assert psnr(white.image, scene[..., 3:-3, 3:-3]) < psnr(noisy, scene[..., 3:-3, 3:-3]) - 5


@pytest.mark.parametrize("task", ["deblur", "inpaint", "upscale"])
def test_how_bright_a_highlight_is_changes_nothing_else(scene, regularizer, task):
    """The sun in a float image, far above white."""
    known = torch.ones(54, 54, dtype=torch.bool)
    known[30:33] = False
    run = {
        "deblur": lambda y: deblur(y, regularizer, gaussian_kernel(5, 1.0), options),
        "inpaint": lambda y: inpaint(y, regularizer, known, options),
        "upscale": lambda y: upscale(y, regularizer, 2, options),
    }
    options = RestoreOptions(sigma=0.1, steps=3)
    found = []
    for brightness in (6.0, 1e3, 1e30):
        y = scene.clone()
        y[..., 10:14, 20:25] = brightness
        image = run[task](y).image
        factor = image.shape[-1] // y.shape[-1]
        sun = image[..., 10 * factor : 14 * factor, 20 * factor : 25 * factor]
        assert sun.amax() == pytest.approx(brightness, rel=0.5)
        image[..., 9 * factor : 15 * factor, 19 * factor : 26 * factor] = 0
        found.append(image)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
