"""Deblurring, inpainting and upscaling, and the parameters that nobody has to guess."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import locreg
from conftest import Quadratic, random_image
from locreg.calibration import estimate_sigma_of_known
from locreg.errors import LocregError, UsageError
from locreg.kernels import gaussian_kernel
from locreg.lam_choice import Inversion, lam_by_discrepancy, lam_by_score, lam_by_sure
from locreg.objective import Objective
from locreg.operators import blur_unknown_border, downsampling
from locreg.options import AdamOptions, GradientDescentOptions, LBFGSOptions
from locreg.quasi_newton import lbfgs
from locreg.restoration import restore
from locreg.tasks import deblur, fill, inpaint, upscale
from locreg.validation import add_noise, psnr

KERNEL = gaussian_kernel(7, 3.0)


@pytest.fixture(scope="module")
def regularizer():
    return locreg.load("alr-rgb")


@pytest.fixture(scope="module")
def scene():
    """A crop of a photograph (1, 3, 78, 78) with room for a 7x7 kernel around 72x72."""
    from skimage.data import astronaut

    return torch.from_numpy(astronaut()[20:98, 180:258]).permute(2, 0, 1)[None].float() / 255


def test_deblurring_a_photograph_leaves_no_ringing_at_the_border(scene, regularizer):
    clean = scene[..., 3:-3, 3:-3]
    y = add_noise(blur_unknown_border(KERNEL, scene.device).A(scene), 0.01, 0)
    found = deblur(y, regularizer, KERNEL)
    assert found.sigma == pytest.approx(0.01, rel=0.2)
    assert found.image.shape == y.shape
    gain = psnr(found.image, clean) - psnr(y, clean)
    assert gain > 2
    wrapped = deblur(y, regularizer, KERNEL, border="circular")
    frame = torch.ones(72, 72, dtype=torch.bool)
    frame[8:-8, 8:-8] = False
    at_border = [psnr(z.image[..., frame], clean[..., frame]).item() for z in (found, wrapped)]
    assert at_border[0] > at_border[1] + 1


def test_inpainting_fills_what_is_missing(scene, regularizer):
    known = torch.rand(78, 78, generator=torch.Generator().manual_seed(0)) > 0.5
    y = add_noise(scene, 0.02, 1)
    found = inpaint(torch.where(known, y, torch.nan), regularizer, known, sigma=0.02)
    start = fill(torch.where(known, y, 0), known)
    assert psnr(found.image, scene) > psnr(start, scene) + 1


def test_upscaling_beats_bicubic(scene, regularizer):
    y = add_noise(downsampling(2, 0.5, (3, 78, 78), scene.device).A(scene), 0.01, 2)
    found = upscale(y, regularizer, 2, antialiasing=0.5)
    assert found.image.shape == scene.shape
    bicubic = F.interpolate(y, scale_factor=2, mode="bicubic")
    assert psnr(found.image, scene) > psnr(bicubic, scene) + 1


def test_upscaling_suits_images_that_were_made_small_by_a_mean(scene):
    """They are sharper than the Gaussian that is assumed: edges must not get rims."""
    y = F.avg_pool2d(scene, 2)
    found = upscale(y, locreg.load("denoise-rgb"), 2, sigma=0.005)
    bicubic = F.interpolate(y, scale_factor=2, mode="bicubic")
    assert psnr(found.image, scene) > psnr(bicubic, scene) + 0.2


def test_weights_whose_lam_does_not_follow_from_sigma_need_no_sigma(scene, regularizer):
    calibration = replace(
        regularizer.calibration, lam_polynomial=(math.log(1e-4),), sigma_range=(1.0, 1.0)
    )
    fixed = locreg.LocalRegularizer(
        locreg.Weights(critic=regularizer.critic, calibration=calibration)
    )
    found = deblur(scene, fixed, KERNEL, solver=AdamOptions(steps=1))
    assert found.sigma is None
    assert found.lam == pytest.approx(0.4 * 1e-4)  # deblurring takes a share


def test_a_factor_below_two_is_wrong_usage(scene, regularizer):
    with pytest.raises(UsageError, match="factor"):
        upscale(scene, regularizer, 1)
    with pytest.raises(UsageError, match="antialiasing must be from"):
        upscale(scene, regularizer, 2, antialiasing=0.0)


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
    filled = fill(y, known)
    assert torch.equal(filled[..., known], y[..., known])
    assert filled.min() >= y[..., known].min() - 1e-12
    assert filled.max() <= y[..., known].max() + 1e-12
    constant = fill(torch.full_like(y, value), known)
    torch.testing.assert_close(constant, torch.full_like(y, value))


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_the_noise_level_is_found_where_half_of_the_pixels_are_missing(photograph, sigma):
    x = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255
    known = torch.rand(512, 512, generator=torch.Generator().manual_seed(0)) > 0.5
    hidden = torch.where(known, add_noise(x, sigma, 0), 7.0)
    assert estimate_sigma_of_known(hidden, known) == pytest.approx(sigma, rel=0.25)


def test_too_few_known_neighbours_are_said():
    with pytest.raises(LocregError, match="sigma: give it"):
        estimate_sigma_of_known(torch.zeros(1, 1, 20, 20), torch.eye(20) > 0)


def shrinking(y, observed=None):
    """Denoising with R = |x|^2 / 2: x = y / (1 + lam)."""

    def solve(lam, observation):
        return lbfgs(Objective(observation, Quadratic(), lam), observation, LBFGSOptions())

    return Inversion(y, solve, lambda x: x, observed)


@given(sigma=st.floats(0.05, 0.4), first=st.floats(0.01, 10))
def test_the_discrepancy_principle_finds_its_closed_form(sigma, first):
    """|x - y| = lam / (1 + lam) |y| = sigma sqrt(n), up to the 10% that the search leaves."""
    y = random_image(1, 1, 12, 12)
    ratio = sigma * math.sqrt(y.numel()) / y.norm().item()
    expected = ratio / (1 - ratio)

    chosen = lam_by_discrepancy(shrinking(y), sigma, first)
    assert chosen.lam == pytest.approx(expected, rel=0.1)
    torch.testing.assert_close(chosen.solution.image, y / (1 + chosen.lam), rtol=0, atol=1e-3)


def test_missing_values_take_no_part_in_the_discrepancy():
    y = random_image(1, 1, 12, 12)
    known = torch.rand(12, 12, generator=torch.Generator().manual_seed(0)) < 0.3
    y = torch.where(known, y, 0)
    chosen = lam_by_discrepancy(shrinking(y, known), 0.2, 1.0)
    removed = (y - chosen.solution.image)[..., known].square().mean().sqrt().item()
    assert removed == pytest.approx(0.2, rel=0.1)


@given(sigma=st.floats(0.1, 0.5), first=st.floats(0.05, 5))
def test_steins_estimate_finds_its_closed_form(sigma, first):
    """|y|^2 (lam/(1+lam))^2 + 2 sigma^2 n / (1+lam) is least at lam = n sigma^2 / (|y|^2 - n s^2).

    (James and Stein's shrinkage.) The divergence n / (1 + lam) comes from a random probe, hence
    the tolerance.
    """
    y = 1.5 * random_image(1, 1, 40, 40)
    noise = y.numel() * sigma**2
    expected = noise / (y.square().sum().item() - noise)
    chosen = lam_by_sure(shrinking(y), sigma, first)
    assert chosen.lam == pytest.approx(expected, rel=0.15)


def test_steins_estimate_is_close_to_the_oracle(scene, regularizer):
    y = add_noise(scene, 0.1, 0)
    solver = AdamOptions(steps=25)
    found = restore(y, regularizer, sigma=0.1, lam="sure", solver=solver)
    calibrated = restore(y, regularizer, sigma=0.1, solver=solver).lam
    oracle = max(
        psnr(restore(y, regularizer, lam=calibrated * 1.5**k, solver=solver).image, scene).item()
        for k in range(-3, 4)
    )
    assert psnr(found.image, scene).item() > oracle - 0.15


def test_the_score_principle_meets_the_clean_score(scene, regularizer):
    y = add_noise(scene, 0.1, 0)
    found = restore(y, regularizer, sigma=0.1, lam="score", solver=AdamOptions(steps=20))
    median = regularizer.calibration.clean_images[3]
    above, at, below = (
        restore(y, regularizer, lam=found.lam * f, solver=AdamOptions(steps=20)).image
        for f in (0.85, 1, 1.18)
    )
    scores = [regularizer.score_map(x).mean().item() for x in (above, at, below)]
    assert scores[0] > median > scores[2]


@pytest.mark.parametrize("lam", [np.float32(0.01), torch.tensor(0.01), 0.01])
def test_numbers_of_any_kind_are_lams(scene, regularizer, lam):
    found = restore(scene, regularizer, lam=lam, solver=AdamOptions(steps=1))
    assert found.lam == pytest.approx(0.01)


def test_a_mask_may_hold_any_numbers_above_zero(scene, regularizer):
    known = torch.rand(scene.shape[-2:], generator=torch.Generator().manual_seed(0)) < 0.5
    given = {"sigma": 0.02, "solver": AdamOptions(steps=2)}
    expected = inpaint(scene, regularizer, known, **given).image
    for mask in (known.float(), 255 * known.to(torch.uint8)):
        assert torch.equal(inpaint(scene, regularizer, mask, **given).image, expected)


@pytest.mark.parametrize("weights", ["alr-rgb", "denoise-rgb"])
@pytest.mark.parametrize("solver", [None, LBFGSOptions(steps=4)])
def test_holes_of_an_image_without_noise_are_filled_by_the_regularizer(scene, weights, solver):
    known = torch.ones(scene.shape[-2:], dtype=torch.bool)
    known[30:34, 20:60] = False
    found = inpaint(scene, locreg.load(weights), known, sigma=0.0, solver=solver)
    first = fill(torch.where(known, scene, 0), known)
    assert found.sigma == 0
    assert found.lam > 0
    assert (found.image - first)[..., ~known].abs().max() > 1e-4


def test_wrong_shapes_are_said(scene, regularizer):
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
    given = {"sigma": 0.02, "solver": AdamOptions(steps=2)}
    tasks = {
        "denoise": lambda y: restore(y, grey, **given),
        "deblur": lambda y: deblur(y, grey, KERNEL, **given),
        "inpaint": lambda y: inpaint(y, grey, torch.ones(y.shape[-2:]), **given),
        "upscale": lambda y: upscale(y, grey, 2, **given),
    }
    for task in tasks.values():
        found = task(scene)
        for channel in range(3):
            alone = task(scene[:, channel : channel + 1])
            torch.testing.assert_close(found.image[:, channel : channel + 1], alone.image)
            torch.testing.assert_close(found.residual[:, channel : channel + 1], alone.residual)


def test_weights_of_one_lam_can_use_a_principle(scene, regularizer):
    calibration = replace(
        regularizer.calibration, lam_polynomial=(math.log(1e-3),), sigma_range=(1.0, 1.0)
    )
    fixed = locreg.LocalRegularizer(
        locreg.Weights(critic=regularizer.critic, calibration=calibration)
    )
    y = add_noise(scene, 0.1, 0)
    solver = AdamOptions(steps=5)
    assert restore(y, fixed, sigma=0.1, lam="discrepancy", solver=solver).lam != 1e-3
    assert restore(y, fixed, sigma="auto", lam="discrepancy", solver=solver).sigma > 0.05


def test_principles_that_cannot_work_say_why(scene, regularizer):
    for rule in ("discrepancy", "sure"):
        with pytest.raises(LocregError, match="above 0"):
            restore(scene, regularizer, sigma=0.0, lam=rule)
    with pytest.raises(UsageError, match="sure, discrepancy, score, got 'best'"):
        restore(scene, regularizer, sigma=0.1, lam="best")
    bare = locreg.LocalRegularizer(regularizer.critic)
    with pytest.raises(LocregError, match="calibration"):
        lam_by_score(shrinking(scene), bare, 1.0)
    with pytest.raises(LocregError, match="satisfies the principle"):
        restore(
            scene,
            regularizer,
            sigma=1.0,
            lam="discrepancy",
            solver=GradientDescentOptions(steps=1, step_size=1e-9),
        )
