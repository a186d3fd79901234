"""Test problems: the noise can be repeated, and observations are those of their operators."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import random_image, small_critic
from locreg.evaluation.simulation import (
    Photograph,
    deblurring,
    denoising,
    inpainting_at_random,
    observe,
    seed_of,
    tomography,
    upscaling,
)
from locreg.regularizer.local_regularizer import LocalRegularizer


def test_noise_depends_on_name_and_level_alone():
    """Not on the folder, the method or the other images: published numbers can be repeated."""
    assert seed_of("x.png", 0.1) == 1787450339
    x = random_image(1, 3, 8, 9, dtype=torch.float32)
    one, same, other = (
        denoising(Photograph(x, name), sigma).y
        for name, sigma in (("x.png", 0.1), ("x.png", 0.1), ("y.png", 0.1))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(one, observe(Photograph(x, "x.png"), None, 0.1))


@settings(max_examples=20)
@given(sigma=st.floats(0.01, 0.4), seed=st.integers(0, 3))
def test_problems_hold_what_their_operator_observes(sigma, seed):
    x = random_image(1, 3, 24, 25, seed=seed, dtype=torch.float32)
    photograph = Photograph(x, str(seed))
    kernel = np.full((3, 3), 1 / 9, dtype=np.float32)
    problems = [
        deblurring(photograph, sigma, kernel),
        inpainting_at_random(photograph, sigma, 0.3),
        upscaling(photograph, sigma, 2),
    ]
    for problem in problems:
        assert problem.start.shape == problem.clean.shape
        noise = problem.y - problem.operator.A(problem.clean)
        seen = noise[noise != 0]
        assert 0.8 * sigma < seen.std() < 1.2 * sigma
    assert problems[2].clean.shape == (1, 3, 24, 24)
    missing = (problems[1].y == 0).float().mean().item()
    assert abs(missing - 0.3) < 0.1


def test_every_problem_is_restored_with_a_regularizer():
    photograph = Photograph(random_image(1, 1, 24, 24, dtype=torch.float32), "x")
    kernel = np.full((3, 3), 1 / 9, dtype=np.float32)
    problems = [
        denoising(photograph, 0.1),
        deblurring(photograph, 0.1, kernel),
        inpainting_at_random(photograph, 0.1, 0.3),
        upscaling(photograph, 0.1, 2),
        tomography(photograph, 0.1, angles=12),
    ]
    regularizer = LocalRegularizer(small_critic("silu").float())
    for problem in problems:
        found = problem.restore(regularizer, 0.01)
        assert found.image.shape == problem.clean.shape == problem.start.shape
        assert (found.lam, found.sigma) == (0.01, 0.1)
        assert found.solution.history[-1].energy < found.solution.history[0].energy


def test_tomography_observes_the_projections_with_noise():
    x = random_image(1, 1, 32, 32, dtype=torch.float32)
    problem = tomography(Photograph(x, "x"), 0.2, angles=20)
    noise = problem.y - problem.operator.A(x)
    assert 0.18 < noise.std() < 0.22
    assert problem.y.shape[-1] == 20
