"""What fits a regularizer: its solver, its steps, its noise levels, and the packaged weights."""

import numpy as np
import pytest
import torch

from conftest import conditioned_regularizer, random_image, small_critic
from locreg.degradation.deepinv_operators import inpainting
from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError, UsageError
from locreg.regularizer.local_regularizer import LocalRegularizer, load
from locreg.restoration.defaults import (
    calibrated_lam,
    default_solver,
    default_weights,
    takes_coarse_step,
    usual_steps,
)
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.solvers.options import (
    AdamOptions,
    AnnealingOptions,
    GradientDescentOptions,
    GradientStepOptions,
    LBFGSOptions,
)


def test_levels_far_from_those_of_the_training_are_refused():
    energy = conditioned_regularizer(noise=NoiseRange(low=0.05, high=0.1))
    y = random_image(1, 1, 9, 9).float()
    for sigma in (0.02, 0.2, np.float32(0.2)):
        with pytest.raises(LocregError, match=r"trained for noise in 0\.05:0\.1"):
            restore(y, energy, options=RestoreOptions(sigma=sigma))
    assert restore(y, energy, options=RestoreOptions(sigma=0.12)).sigma == 0.12
    identity = inpainting(torch.ones(9, 9, dtype=torch.bool), (1, 9, 9), y.device)
    with pytest.raises(LocregError, match=r"trained for noise in 0\.05:0\.1"):
        restore(y, energy, identity, options=RestoreOptions(sigma=0.2))
    annealed = restore(
        y, energy, identity, options=RestoreOptions(sigma=0.01, solver=AnnealingOptions(steps=3))
    )
    sizes = [iterate.step_size for iterate in annealed.solution.history]
    weight = annealed.lam * 0.01  # tau = s / lam_s = s^2 / (lam sigma)
    levels = [(float(size) * weight) ** 0.5 for size in sizes[:-1]]
    assert levels == pytest.approx([0.1, (0.1 * 0.05) ** 0.5, 0.05], rel=1e-3)


def test_the_solver_is_the_one_that_the_weights_were_made_for():
    critic, energy = LocalRegularizer(small_critic()), conditioned_regularizer()
    for denoising in (True, False):
        assert default_solver(critic, denoising=denoising) == AdamOptions()
    assert default_solver(energy, denoising=True) == GradientStepOptions()
    assert default_solver(energy, denoising=False) == AnnealingOptions()


@pytest.mark.parametrize(("sigma", "steps"), [(0.05, 1), (0.14, 1), (0.15, 2), (0.4, 2)])
def test_strong_noise_takes_two_steps(sigma, steps):
    energy = conditioned_regularizer(noise=NoiseRange(low=0.0, high=0.5))
    assert usual_steps(energy, sigma) == steps
    y = random_image(1, 1, 9, 9).float()
    assert restore(y, energy, options=RestoreOptions(sigma=sigma)).solution.steps == steps


def test_a_second_step_needs_a_level_of_the_training():
    energy = conditioned_regularizer(noise=NoiseRange(low=0.1, high=0.5))
    assert [usual_steps(energy, sigma) for sigma in (0.15, 0.2)] == [1, 2]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (RestoreOptions(), "denoise"),
        (RestoreOptions(sigma=0.1, steps=2), "denoise"),
        (RestoreOptions(solver=GradientStepOptions()), "denoise"),
        (RestoreOptions(solver=AnnealingOptions()), "denoise"),
        (RestoreOptions(lam="sure"), "denoise"),
        (RestoreOptions(lam="score"), "ridge"),
        (RestoreOptions(solver=AdamOptions()), "ridge"),
        (RestoreOptions(solver=GradientDescentOptions()), "ridge"),
        (RestoreOptions(solver=LBFGSOptions()), "ridge"),
    ],
)
def test_the_packaged_weights_fit_the_options(options, kind):
    assert default_weights(options, grey=True) == f"{kind}-gray"
    assert default_weights(options, grey=False) == f"{kind}-rgb"
    assert load(f"{kind}-gray").noise_conditioned == (kind == "denoise")


def test_only_energies_for_white_noise_take_a_coarse_step():
    energy, critic = conditioned_regularizer(), load("alr-gray")
    assert takes_coarse_step(RestoreOptions(), energy)
    assert takes_coarse_step(RestoreOptions(steps=2), energy)
    assert not takes_coarse_step(RestoreOptions(lam=0.1), energy)
    assert not takes_coarse_step(RestoreOptions(lam="discrepancy"), energy)
    assert not takes_coarse_step(RestoreOptions(solver=AnnealingOptions()), energy)
    assert not takes_coarse_step(RestoreOptions(), critic)


def test_lam_of_an_operator_is_a_share_of_that_of_denoising():
    energy, critic = conditioned_regularizer(), load("alr-gray")
    assert calibrated_lam(energy, 0.1) == 0.1
    for regularizer in (energy, critic):
        lam = calibrated_lam(regularizer, 0.1)
        assert calibrated_lam(regularizer, 0.1, denoising=False) == pytest.approx(0.4 * lam)
    with pytest.raises(UsageError, match="give sigma or lam"):
        calibrated_lam(critic, None)
    with pytest.raises(UsageError, match="no calibration: give lam"):
        calibrated_lam(LocalRegularizer(small_critic()), 0.1)


@pytest.mark.parametrize("solver", [GradientStepOptions(), AnnealingOptions()])
def test_a_critic_takes_no_solver_of_a_noise_conditioned_energy(solver):
    critic = LocalRegularizer(small_critic())
    with pytest.raises(UsageError, match="choose another solver"):
        restore(random_image(1, 1, 9, 9), critic, options=RestoreOptions(sigma=0.1, solver=solver))
