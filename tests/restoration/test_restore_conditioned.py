"""Restoration with noise-conditioned energies: the solver, its steps and lam that are chosen."""

import pytest
import torch

from conftest import Scaling, conditioned_regularizer, random_image
from locreg.degradation.deepinv_operators import blur_circular, blur_unknown_border
from locreg.degradation.kernels import gaussian_kernel
from locreg.degradation.measure_noise import MeasuredNoise, growing_noise
from locreg.degradation.noise import NoiseRange
from locreg.degradation.stabilize_variance import Stabilisation
from locreg.errors import LocregError, UsageError
from locreg.regularizer.criterion_record import DenoisingRecord
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.weights import Weights
from locreg.restoration.defaults import default_solver, usual_steps
from locreg.restoration.find_noise import with_noise
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.restoration.tasks import deblur
from locreg.solvers.options import AdamOptions, AnnealingOptions, GradientStepOptions, LBFGSOptions

CPU = torch.device("cpu")


def test_denoising_is_one_gradient_step_of_the_noise_level():
    regularizer = conditioned_regularizer()
    y = random_image(2, 1, 9, 9, dtype=torch.float32)
    found = restore(y, regularizer, options=RestoreOptions(sigma=0.2))
    torch.testing.assert_close(found.image, y - 0.2 * regularizer.grad(y, 0.2))
    assert (found.lam, found.solution.gradients, found.solution.steps) == (0.2, 1, 1)
    weaker = restore(y, regularizer, options=RestoreOptions(sigma=0.2, lam=0.1))
    torch.testing.assert_close(weaker.image, y - 0.1 * regularizer.grad(y, 0.2))


def test_without_noise_the_input_comes_back():
    y = random_image(1, 1, 9, 9, dtype=torch.float32)
    restoration = restore(y, conditioned_regularizer(), options=RestoreOptions(sigma=0))
    assert torch.equal(restoration.image, y)


@pytest.mark.parametrize("make", [blur_circular, blur_unknown_border])
def test_other_operators_are_annealed(make):
    kernel = gaussian_kernel(5, 1.0)
    operator = blur_unknown_border(kernel, CPU)
    if make is blur_circular:
        operator = blur_circular(kernel, (1, 16, 16), CPU)
    y = operator.A(random_image(1, 1, 16, 16, dtype=torch.float32))
    found = restore(y, conditioned_regularizer(), operator, options=RestoreOptions(sigma=0.05))
    assert len(found.solution.history) == AnnealingOptions().steps + 1
    assert found.solution.history[-1].data_term < found.solution.history[0].data_term


def test_annealing_denoises_where_there_is_no_noise():
    y = random_image(1, 1, 9, 9, dtype=torch.float32)
    found = restore(
        y,
        conditioned_regularizer(),
        options=RestoreOptions(sigma=0.0, solver=AnnealingOptions(steps=2)),
    )
    assert found.sigma == 0
    assert torch.isfinite(found.image).all()


def test_any_minimiser_works_at_the_observations_level():
    y = random_image(1, 1, 9, 9, dtype=torch.float32)
    found = restore(
        y,
        conditioned_regularizer(),
        options=RestoreOptions(sigma=0.1, solver=LBFGSOptions(steps=30)),
    )
    assert found.solution.history[-1].energy < found.solution.history[0].energy


def test_the_noise_level_is_estimated_even_if_lam_is_given():
    y = random_image(1, 1, 32, 32, dtype=torch.float32)
    with pytest.raises(UsageError, match="for denoising only"):
        restore(y, conditioned_regularizer(), Scaling(2.0), options=RestoreOptions(lam=0.1))
    assert restore(y, conditioned_regularizer(), options=RestoreOptions(lam=0.1)).sigma > 0.1
    kernel = gaussian_kernel(3, 1.0)
    found = deblur(
        y,
        conditioned_regularizer(),
        kernel,
        options=RestoreOptions(lam=0.1, solver=AnnealingOptions(steps=1)),
    )
    assert found.sigma > 0.1


@pytest.mark.parametrize(
    ("sigma", "lam", "chosen"), [(0.1, None, 0.04), (0.0, None, 0.0008), (0.1, 0.02, 0.02)]
)
def test_lam_of_other_operators_follows_from_sigma(sigma, lam, chosen):
    operator = blur_circular(gaussian_kernel(3, 1.0), (1, 12, 12), CPU)
    y = random_image(1, 1, 12, 12, dtype=torch.float32)
    options = RestoreOptions(sigma=sigma, lam=lam)
    restoration = restore(y, conditioned_regularizer(), operator, options=options)
    assert restoration.lam == (pytest.approx(chosen) if lam is None else lam)


def test_lam_of_other_operators_must_be_positive():
    operator = blur_circular(gaussian_kernel(3, 1.0), (1, 12, 12), CPU)
    y = random_image(1, 1, 12, 12, dtype=torch.float32)
    options = RestoreOptions(sigma=0.1, lam=0.0)
    with pytest.raises(UsageError, match="lam must be positive"):
        restore(y, conditioned_regularizer(), operator, options=options)


def test_gradient_steps_refuse_noise_levels_below_the_training():
    strong = NoiseRange(low=0.2, high=0.5)
    regularizer, y = (
        conditioned_regularizer(noise=strong),
        random_image(1, 1, 12, 12, dtype=torch.float32),
    )
    restore(y, regularizer, options=RestoreOptions(sigma=0.4, solver=GradientStepOptions(steps=2)))
    with pytest.raises(LocregError, match="take fewer steps"):
        restore(
            y, regularizer, options=RestoreOptions(sigma=0.4, solver=GradientStepOptions(steps=3))
        )
    regularizer = conditioned_regularizer(noise=strong, steps=3)
    assert restore(y, regularizer, options=RestoreOptions(sigma=0.4)).solution.gradients == 3
    with pytest.raises(UsageError, match="start at the image itself"):
        restore(y, regularizer, start=y, options=RestoreOptions(sigma=0.4))


def test_a_damage_is_removed_in_the_one_step_that_its_strength_was_found_with():
    regularizer = conditioned_regularizer(
        name="damage", level=0.3, noise=NoiseRange(low=0, high=0.5), steps=2
    )
    y = random_image(1, 1, 12, 12, dtype=torch.float32)
    assert restore(y, regularizer).solution.gradients == 1


def test_learned_noise_is_removed_in_one_step():
    regularizer = conditioned_regularizer(level=0.2)
    y = random_image(1, 1, 12, 12, dtype=torch.float32)
    one, two = (RestoreOptions(solver=GradientStepOptions(steps=steps)) for steps in (1, 2))
    assert restore(y, regularizer, options=one).solution.gradients == 1
    with pytest.raises(UsageError, match="single gradient step"):
        restore(y, regularizer, options=two)
    with pytest.raises(UsageError, match="denoising alone"):
        restore(y, regularizer, Scaling(1.0))


@pytest.mark.parametrize(
    ("trained", "noise", "sigma", "steps"),
    [(1, (0, 0.5), 0.1, 1), (1, (0, 0.5), 0.4, 2), (1, (0.3, 0.5), 0.4, 1), (1, None, 0.4, 1),
     (3, (0, 0.5), 0.1, 3)],
)  # fmt: skip
def test_a_second_step_is_taken_where_the_noise_is_strong(trained, noise, sigma, steps):
    levels = None if noise is None else NoiseRange(low=noise[0], high=noise[1])
    regularizer = conditioned_regularizer(noise=levels, steps=trained)
    y = random_image(1, 1, 12, 12, dtype=torch.float32)
    assert usual_steps(regularizer, sigma) == steps
    found = restore(y, regularizer, options=RestoreOptions(sigma=sigma))
    given = restore(
        y, regularizer, options=RestoreOptions(sigma=sigma, solver=GradientStepOptions(steps=steps))
    )
    assert found.solution.gradients == steps
    assert torch.equal(found.image, given.image)


@pytest.mark.parametrize("solver", [GradientStepOptions(), AnnealingOptions()])
def test_a_critic_is_refused_by_solvers_that_need_a_noise_level(solver):
    critic = PatchCritic(standard_layers((4,) * 6), in_channels=1).requires_grad_(False)
    regularizer = LocalRegularizer(critic)
    with pytest.raises(UsageError, match="need weights of a denoising energy"):
        restore(
            torch.zeros(1, 1, 8, 8), regularizer, options=RestoreOptions(lam=0.1, solver=solver)
        )
    assert default_solver(regularizer, denoising=True) == AdamOptions()


def test_strength_is_the_length_of_the_step_or_a_factor_of_the_level():
    regularizer = conditioned_regularizer()
    y = random_image(1, 1, 9, 9, dtype=torch.float32)

    def at(strength):
        return restore(y, regularizer, options=RestoreOptions(sigma=0.1, strength=strength)).image

    assert torch.equal(at(0), y)
    torch.testing.assert_close(at(0.3), y + 0.3 * (at(1) - y))
    torch.testing.assert_close(at(2), y - 0.2 * regularizer.grad(y, 0.2))


def test_noise_that_grows_with_brightness_is_made_white_first():
    regularizer = conditioned_regularizer()
    y = random_image(1, 1, 20, 20, dtype=torch.float32)
    transform = Stabilisation.of(y.numpy(), 0.02, 0.05)
    z = torch.from_numpy(transform.forward(y.numpy()))
    white = restore(z, regularizer, options=RestoreOptions(sigma=transform.level)).image
    found = restore(y, regularizer, options=RestoreOptions(gain=0.02, read_noise=0.05))
    assert found.noise.kind == "poisson-gaussian"
    torch.testing.assert_close(found.image.numpy(), transform.inverse(white.numpy()))
    torch.testing.assert_close(found.residual, y - found.image)
    assert found.sigma == pytest.approx(float((0.02 * y.mean() + 0.05**2).sqrt()))


def colour_regularizer(**criterion):
    critic = PatchCritic(standard_layers((4,) * 3, "silu"), noise_conditioned=True)
    weights = Weights(critic=critic.requires_grad_(False), criterion=DenoisingRecord(**criterion))
    return LocalRegularizer(weights)


def test_a_grey_image_is_restored_as_three_equal_channels():
    y = random_image(2, 1, 12, 9, dtype=torch.float32)
    options = RestoreOptions(sigma=0.1)
    found = restore(y, colour_regularizer(kinds="real"), options=options)
    colour = restore(y.expand(-1, 3, -1, -1), colour_regularizer(kinds="real"), options=options)
    torch.testing.assert_close(found.image, colour.image.mean(1, keepdim=True))
    torch.testing.assert_close(found.residual, y - found.image)
    with pytest.raises(LocregError, match="image is grey"):
        restore(y, colour_regularizer(), options=options)
    ruled = RestoreOptions(sigma=0.1, lam="discrepancy")
    assert restore(y, colour_regularizer(kinds="real"), options=ruled).image.shape == y.shape


def test_a_learned_level_comes_before_an_estimate():
    y = random_image(1, 3, 12, 9, dtype=torch.float32)
    found = restore(y, colour_regularizer(level=0.1), estimate=lambda _: 0.2)
    assert found.sigma == 0.1
    assert found.parts == ()
    steps = []
    restore(y, colour_regularizer(level=0.1), on_step=lambda _, point: steps.append(point))
    assert isinstance(steps[0].energy, torch.Tensor)


def test_known_noise_is_not_measured_again():
    y = random_image(1, 1, 9, 9, dtype=torch.float32)  # too small to measure
    for noise in (MeasuredNoise(kind="camera", level=0.2), growing_noise(y.numpy(), 0.1, 0.05)):
        options = with_noise(RestoreOptions(strength=0.5), noise)
        found = restore(y, conditioned_regularizer(), options=options)
        assert found.noise == noise
        assert found.sigma == noise.level


@pytest.mark.parametrize("given", [{"noise": "camera"}, {"gain": 0.01}, {"read_noise": 0.01}])
def test_a_kind_of_noise_is_for_denoising(given):
    y = random_image(1, 1, 9, 9, dtype=torch.float32)
    with pytest.raises(UsageError, match="are for denoising"):
        restore(y, conditioned_regularizer(), Scaling(2.0), options=RestoreOptions(**given))
