"""lam for one observation, without a ground truth: discrepancy, Stein's estimate, and the score."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import locreg
from conftest import Quadratic, random_image
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError, UsageError
from locreg.images.metrics import psnr
from locreg.restoration.choose_lam import Inversion, lam_by_discrepancy, lam_by_score, lam_by_sure
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.solvers.lbfgs import lbfgs
from locreg.solvers.objective import Objective
from locreg.solvers.options import AdamOptions, GradientDescentOptions, LBFGSOptions


@pytest.fixture(scope="module")
def regularizer():
    return locreg.load("alr-rgb")


def shrinking(y, observed=None):
    """Denoising with R = |x|^2 / 2: x = y / (1 + lam)."""

    def solve(lam, observation):
        return lbfgs(Objective(observation, Quadratic(), lam), observation, LBFGSOptions())

    return Inversion(y, solve, lambda x: x, observed)


@settings(max_examples=20)
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


@settings(max_examples=20)
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


def test_restore_finds_lam_by_steins_estimate(scene):
    clean = scene[:, 1:2, :32, :32]
    y = add_noise(clean, 0.1, 0)
    options = RestoreOptions(sigma=0.1, lam="sure")
    found = restore(y, locreg.load("denoise-gray"), options=options)
    assert psnr(found.image, clean) > psnr(y, clean) + 3


@pytest.mark.slow
def test_steins_estimate_is_close_to_the_oracle(scene, regularizer):
    y = add_noise(scene, 0.1, 0)
    solver = AdamOptions(steps=25)
    found = restore(y, regularizer, options=RestoreOptions(sigma=0.1, lam="sure", solver=solver))
    calibrated = restore(y, regularizer, options=RestoreOptions(sigma=0.1, solver=solver)).lam
    oracle = max(
        psnr(
            restore(
                y, regularizer, options=RestoreOptions(lam=calibrated * 1.5**k, solver=solver)
            ).image,
            scene,
        ).item()
        for k in range(-3, 4)
    )
    assert psnr(found.image, scene).item() > oracle - 0.15


@pytest.mark.slow
def test_the_score_principle_meets_the_clean_score(scene, regularizer):
    y = add_noise(scene[..., 9:37, 9:37], 0.1, 0)
    found = restore(
        y, regularizer, options=RestoreOptions(sigma=0.1, lam="score", solver=AdamOptions(steps=20))
    )
    median = regularizer.calibration.clean_images[3]
    above, at, below = (
        restore(
            y, regularizer, options=RestoreOptions(lam=found.lam * f, solver=AdamOptions(steps=20))
        ).image
        for f in (0.85, 1, 1.18)
    )
    scores = [regularizer.score_map(x).mean().item() for x in (above, at, below)]
    assert scores[0] > median > scores[2]


def test_a_principle_replaces_the_one_lam_of_weights(scene, regularizer):
    scene = scene[..., 9:45, 9:45]
    calibration = replace(
        regularizer.calibration, lam_polynomial=(math.log(1e-3),), sigma_range=(1.0, 1.0)
    )
    fixed = locreg.LocalRegularizer(
        locreg.Weights(critic=regularizer.critic, calibration=calibration)
    )
    y = add_noise(scene, 0.1, 0)
    solver = AdamOptions(steps=5)
    assert (
        restore(y, fixed, options=RestoreOptions(sigma=0.1, lam="discrepancy", solver=solver)).lam
        != 1e-3
    )
    assert (
        restore(
            y, fixed, options=RestoreOptions(sigma="auto", lam="discrepancy", solver=solver)
        ).sigma
        > 0.05
    )


def test_principles_that_cannot_work_say_why(scene, regularizer):
    for rule in ("discrepancy", "sure"):
        with pytest.raises(LocregError, match="above 0"):
            restore(scene, regularizer, options=RestoreOptions(sigma=0.0, lam=rule))
    with pytest.raises(UsageError, match="sure, discrepancy or score, got 'best'"):
        restore(scene, regularizer, options=RestoreOptions(sigma=0.1, lam="best"))
    bare = locreg.LocalRegularizer(regularizer.critic)
    with pytest.raises(LocregError, match="calibration"):
        lam_by_score(shrinking(scene), bare, 1.0)
    with pytest.raises(LocregError, match="satisfies the principle"):
        restore(
            scene,
            regularizer,
            options=RestoreOptions(
                sigma=1.0, lam="discrepancy", solver=GradientDescentOptions(steps=1, step_size=1e-9)
            ),
        )
