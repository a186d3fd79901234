"""Denoise images by gradient steps on a denoising energy, on arrays: this needs no PyTorch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from locreg.arrays import Array, as_array
from locreg.degradation.noise import check_sigma
from locreg.errors import UsageError
from locreg.regularizer.trained_regularizer import TrainedRegularizer
from locreg.restoration.batch import each_image, of_batch
from locreg.restoration.channels import conversion, expanded, like_channels
from locreg.restoration.defaults import calibrated_lam, plan_solver, takes_gradient_steps
from locreg.restoration.find_noise import find_noise
from locreg.restoration.inputs import as_image_arrays, check_finite
from locreg.restoration.options import RestoreOptions
from locreg.restoration.other_noise import NoisyImages, way_of
from locreg.restoration.result import Restoration
from locreg.solvers.options import step_sizes
from locreg.solvers.solution import Iterate, OnStep, Solution, Status

if TYPE_CHECKING:
    from locreg.restoration.inputs import Observation

_ROWS = 64  # rows of an image that are computed with at a time


def denoise(
    y: Observation,
    energy: TrainedRegularizer,
    options: RestoreOptions = RestoreOptions(),
    *,
    observed: Array | None = None,
    on_step: OnStep | None = None,
) -> Restoration:
    """Remove noise by gradient steps on 1/2 |x - y|^2 + lam R(x; sigma): see `gradient_steps`.

    Args:
        y: the images (B, C, H, W) in [0, 1]; avoid clipping their noise. An energy for grey images
            denoises colour images channel by channel.
        energy: R, such as ``locreg.load_energy("denoise-rgb")``.
        options: noise, strength, lam and steps.
        observed: mask that expands to the shape of y, True (or not 0) where y was observed.
            Elsewhere the residual is NaN.
        on_step: called with the step number and the `Iterate` of every step, to report progress.

    Returns:
        A `Restoration` whose values are arrays.

    Raises:
        UsageError: when y does not hold floats, or the options need another solver than gradient
            steps.
        LocregError: when y has the wrong shape or non-finite pixels, or the noise level is far from
            those of the training.
    """
    y = as_image_arrays(y)
    mask = None if observed is None else as_array(observed).astype(bool)
    if not takes_gradient_steps(options, energy):
        raise UsageError(
            "Denoising without PyTorch takes gradient steps on a denoising energy, with a given or "
            "calibrated lam: for other solvers and rules use locreg.restore."
        )

    def of_images(which: slice, options: RestoreOptions) -> Restoration:
        seen = of_batch(mask, y.ndim, which)
        return denoise_alike(y[which], energy, options=options, observed=seen, on_step=on_step)

    return each_image(of_images, len(y), options, energy)


def denoise_alike(
    y: Array,
    regularizer: TrainedRegularizer,
    *,
    options: RestoreOptions,
    start: Array | None = None,
    observed: Array | None = None,
    on_step: OnStep | None = None,
) -> Restoration:
    """Denoise images of one noise level: `denoise`, but an estimate is the mean over the images."""
    begin = time.perf_counter()
    check_finite(y)
    assert start is None  # gradient steps start at y
    if y.shape[1] != regularizer.in_channels:
        return _denoise_other_channels(y, regularizer, options, observed, on_step)
    if options.sigma == "auto" and regularizer.learned_level is not None:
        options = replace(options, sigma=regularizer.learned_level)
    noise = find_noise(y, options)
    images = NoisyImages(denoise_alike, y, regularizer, options, noise, None, observed, on_step)
    if way := way_of(images):
        return way(images)
    plan = plan_solver(options, regularizer, noise, denoising=True)
    assert plan.sigma is not None  # the noise is known
    assert plan.solver.steps is not None  # `plan_solver` chose them
    lam = options.lam
    if not isinstance(lam, float):
        lam = plan.share * calibrated_lam(regularizer, plan.level)
    check_sigma(plan.sigma)
    solution = gradient_steps(y, regularizer, lam, plan.sigma, plan.solver.steps, on_step)
    return Restoration(
        image=solution.image,
        sigma=plan.sigma,
        noise=noise,
        lam=lam,
        solution=solution,
        seconds=time.perf_counter() - begin,
        observation=y,
        observed=expanded(observed, y.shape),
    )


def gradient_steps(
    y: Array,
    energy: TrainedRegularizer,
    lam: float,
    sigma: float,
    steps: int,
    on_step: OnStep | None = None,
) -> Solution:
    """Gradient steps of sizes eta = 1, 1/2, 1/4, ...; `locreg.gradient_steps` where A = 1.

    z = x - eta (x - y),   x = z - eta lam grad R(z; eta sigma)
    """
    x, history = y, list[Iterate]()
    for eta in step_sizes(steps):
        z = x
        if x is not y:
            for part, of_y in _strips(x, y):
                part -= eta * (part - of_y)
        value, gradient = energy.array_gradient(z, eta * sigma)
        at_z = _iterate(z, y, lam, value, gradient, eta)
        history.append(at_z)
        if on_step is not None:
            on_step(len(history) - 1, at_z)
        if not np.isfinite(at_z.energy).all():
            return Solution(z, Status.FAILED, tuple(history), len(history))
        gradient *= -eta * lam  # in place, since images may be large
        gradient += z
        x = gradient
    finite = all(np.isfinite(part).all() for (part,) in _strips(x))
    status = Status.MAXIMUM_STEPS if finite else Status.FAILED
    return Solution(x, status, tuple(history), len(history))


def _iterate(
    z: Array, y: Array, lam: float, value: NDArray[np.float64], gradient: Array, eta: float
) -> Iterate:
    data_term, squares = np.zeros(len(z)), np.zeros(len(z))
    for index in range(len(z)):
        for part, of_y, slope in _strips(z[index], y[index], gradient[index]):
            residual = part - of_y
            data_term[index] += 0.5 * np.square(residual).sum(dtype=float)
            residual += np.asarray(lam, z.dtype) * slope
            squares[index] += np.square(residual).sum(dtype=float)
    return Iterate(
        energy=data_term + lam * value,
        data_term=data_term,
        regularizer=value,
        gradient_norm=np.sqrt(squares),
        step_size=np.full(len(z), eta),
    )


def _strips(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Views of the same few rows of arrays (..., H, W), since whole images need much memory."""
    for top in range(0, arrays[0].shape[-2], _ROWS):
        yield tuple(array[..., top : top + _ROWS, :] for array in arrays)


def _denoise_other_channels(
    y: Array,
    energy: TrainedRegularizer,
    options: RestoreOptions,
    observed: Array | None,
    on_step: OnStep | None,
) -> Restoration:
    """Denoise colour images with a grey energy, or grey ones with one for both."""

    def of_channels(channels: Array) -> Restoration:
        seen = like_channels(observed, y, channels)
        return denoise_alike(channels, energy, options=options, observed=seen, on_step=on_step)

    return conversion(energy, y)(of_channels, y)
