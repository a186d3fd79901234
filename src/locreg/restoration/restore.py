"""Restore an observation: minimise the energy, with noise level and lam chosen automatically."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from locreg.arrays import Array, as_array
from locreg.degradation.measure_noise import MeasuredNoise
from locreg.degradation.operators import LinearOperator, apply_operator, check_operator
from locreg.errors import LocregError, UsageError
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.batch import each_image, estimates_noise, of_batch
from locreg.restoration.channels import conversion, expanded, like_channels
from locreg.restoration.choose_lam import Inversion, choose_lam
from locreg.restoration.defaults import SolverPlan, plan_solver, takes_gradient_steps
from locreg.restoration.denoise import denoise
from locreg.restoration.find_noise import check_estimate, find_noise
from locreg.restoration.inputs import Observation, as_images, as_observation, check_finite
from locreg.restoration.options import RestoreOptions
from locreg.restoration.other_noise import NoisyImages, way_of
from locreg.restoration.result import Restoration, in_arrays, iterate_with, with_values
from locreg.solvers.objective import ConditionedObjective, Objective
from locreg.solvers.registry import solve, solver_of
from locreg.solvers.solution import Iterate, OnStep, Solution


def restore(
    y: Observation,
    regularizer: LocalRegularizer,
    operator: LinearOperator | None = None,
    options: RestoreOptions = RestoreOptions(),
    *,
    start: Tensor | None = None,
    observed: Tensor | None = None,
    estimate: Callable[[Tensor], float] | None = None,
    on_step: OnStep | None = None,
) -> Restoration:
    """Minimise 1/2 |Ax - y|^2 + lam R(x): Prost et al. (2021), eq. (2), section 3.3 and eq. (5).

    Args:
        y: the observation (B, C, H, W) in [0, 1], a tensor or an array of floats; avoid clipping
            its noise. With an operator it is (B, ...), in the shape that A returns. The result
            holds tensors. Without an operator, a grey regularizer restores
            a colour image channel by channel, and a colour regularizer that was trained on grey
            images too restores three copies of a grey one.
        regularizer: R, such as ``locreg.load("denoise-rgb")``.
        operator: A, any object with ``A`` and ``A_adjoint``; None is the identity (denoising).
        options: noise level, lam and solver. With an operator, a noise level below `LEAST_SIGMA` is
            replaced by it: without noise lam would be 0, and what A does not observe would stay
            unchanged. If each image has a level of its own, given in a list or estimated, each is
            restored by itself, and A must take a batch of one.
        start: where the solver starts, in the operator's domain; by default A*y. Without an
            operator the default is y, and gradient steps accept no other start.
        observed: mask that expands to the shape of y, True (or not 0) where y was observed; by
            default everywhere. Elsewhere y and the output of A must be 0.
        estimate: maps one observation (1, ...) to its noise level; by default the noise is measured
            by `find_noise`. With an operator there is no default, so give either this or sigma.
        on_step: called with the step number and the `Iterate` of every step, to report progress.

    Raises:
        UsageError: when y does not hold floats, options are missing or do not fit the regularizer,
            or lam needs a calibration that the weights do not hold.
        LocregError: when y has the wrong shape or non-finite pixels, the noise level is far from
            those of the training, a rule finds no lam, the operator fails or returns wrong shapes,
            or ``A_adjoint`` is not the adjoint of ``A``.
    """
    y = as_images(y, regularizer) if operator is None else as_observation(y, regularizer)
    if observed is not None:
        observed = torch.as_tensor(observed, device=y.device) != 0
    if operator is None and takes_gradient_steps(options, regularizer):
        return _denoise(y, regularizer, options, start, observed, estimate, on_step)

    def of_images(which: slice, options: RestoreOptions) -> Restoration:
        return restore_alike(
            y[which],
            regularizer,
            operator,
            options,
            start=of_batch(start, y.dim(), which),
            observed=of_batch(observed, y.dim(), which),
            estimate=estimate,
            on_step=on_step,
        )

    return each_image(of_images, len(y), options, regularizer)


def _denoise(
    y: Tensor,
    regularizer: LocalRegularizer,
    options: RestoreOptions,
    start: Tensor | None,
    observed: Tensor | None,
    estimate: Callable[[Tensor], float] | None,
    on_step: OnStep | None,
) -> Restoration:
    """`locreg.denoise`, on tensors."""
    if start is not None:
        raise _no_other_start()
    learned = regularizer.learned_level is not None
    if estimate is not None and not learned and estimates_noise(options, regularizer):
        levels = [estimate(image[None]) for image in y]
        for level in levels:
            check_estimate(level)
        options = replace(options, sigma=levels if len(levels) > 1 else levels[0])
    seen = None if observed is None else as_array(observed)

    def in_tensor(number: int, point: Iterate) -> None:
        assert on_step is not None  # it is the caller's condition
        on_step(number, iterate_with(point, torch.from_numpy))

    called = None if on_step is None else in_tensor
    found = denoise(as_array(y), regularizer, options, observed=seen, on_step=called)
    return in_tensors(found, y)


def restore_alike(
    y: Tensor,
    regularizer: LocalRegularizer,
    operator: LinearOperator | None = None,
    options: RestoreOptions = RestoreOptions(),
    *,
    start: Tensor | None = None,
    observed: Tensor | None = None,
    estimate: Callable[[Tensor], float] | None = None,
    on_step: OnStep | None = None,
) -> Restoration:
    """Restore images of one noise level: `restore`, but an estimate is the mean over the images."""
    begin = time.perf_counter()
    denoising = operator is None
    check_finite(y)
    if not denoising and options.describes_noise:
        raise UsageError("noise, gain and read_noise are for denoising: leave them out.")
    if denoising and y.shape[1] != regularizer.in_channels:
        arguments = (start, observed, estimate, on_step)
        return _denoise_other_channels(y, regularizer, options, *arguments)
    options = _with_learned_sigma(options, regularizer, denoising)
    noise = _noise(y, options, regularizer, estimate, denoising)
    if denoising and noise is not None:
        images = NoisyImages(
            restore=_on_arrays(y),
            y=as_array(y),
            regularizer=regularizer,
            options=options,
            noise=noise,
            start=None if start is None else as_array(start),
            observed=None if observed is None else as_array(observed),
            on_step=on_step,
        )
        if way := way_of(images):
            return in_tensors(way(images), y)
    plan = plan_solver(options, regularizer, noise, denoising=denoising)
    first = _first(y, operator, start, plan)
    from_observation = first is y
    row, fixed = solver_of(plan.solver), regularizer
    if plan.level is not None and regularizer.depends_on_level and not row.conditioned:
        fixed = regularizer.at(plan.level)  # here, and not again for every lam that a rule tries

    def invert(lam: float, observation: Tensor) -> Solution:
        origin = observation if from_observation else first
        energy: Objective | ConditionedObjective
        if row.conditioned:
            assert plan.level is not None  # checked by `plan_solver`
            energy = ConditionedObjective(observation, fixed, lam, plan.level, operator)
        else:
            energy = Objective(observation, fixed, lam, operator)
        return solve(energy, origin, plan.solver, on_step=on_step)

    forward = _identity if operator is None else operator.A
    inversion = Inversion(y, invert, forward, observed)
    chosen = choose_lam(
        options.lam, inversion, regularizer, plan.level, share=plan.share, denoising=denoising
    )
    return Restoration(
        image=chosen.solution.image,
        sigma=plan.sigma,
        noise=noise if denoising else None,
        lam=chosen.lam,
        solution=chosen.solution,
        seconds=time.perf_counter() - begin,
        observation=y,
        observed=expanded(observed, y.shape),
        fitted=None if denoising else forward(chosen.solution.image),
    )


def in_tensors(restoration: Restoration, like: Tensor) -> Restoration:
    """A restoration whose values are tensors, with the dtype and device of images like these."""

    def tensor(values: Tensor | Array) -> Tensor:
        if isinstance(values, np.ndarray):
            # PyTorch warns of arrays that cannot be written, such as an expanded mask.
            values = torch.from_numpy(values if values.flags.writeable else values.copy())
        if values.dtype == torch.bool:
            return values.to(like.device)
        return values if values.dim() == 1 else values.to(like)

    return with_values(restoration, tensor)


def _on_arrays(like: Tensor) -> Callable[..., Restoration]:
    """`restore_alike` for arrays, on the device of images like these."""

    def tensor(x: Array | None) -> Tensor | None:
        return None if x is None else torch.from_numpy(np.ascontiguousarray(x)).to(like.device)

    def restored(
        y: Array,
        regularizer: LocalRegularizer,
        *,
        options: RestoreOptions,
        start: Array | None,
        observed: Array | None,
        on_step: OnStep | None,
    ) -> Restoration:
        images = torch.from_numpy(np.ascontiguousarray(y)).to(like)
        found = restore_alike(
            images,
            regularizer,
            options=options,
            start=tensor(start),
            observed=tensor(observed),
            on_step=on_step,
        )
        return in_arrays(found)

    return restored


def _denoise_other_channels(
    y: Tensor,
    regularizer: LocalRegularizer,
    options: RestoreOptions,
    start: Tensor | None,
    observed: Tensor | None,
    estimate: Callable[[Tensor], float] | None,
    on_step: OnStep | None,
) -> Restoration:
    """Denoise colour images with a grey regularizer, or grey ones with one for both."""
    return conversion(regularizer, y)(
        lambda channels: restore_alike(
            channels,
            regularizer,
            options=options,
            start=like_channels(start, y, channels),
            observed=like_channels(observed, y, channels),
            estimate=estimate,
            on_step=on_step,
        ),
        y,
    )


def _with_learned_sigma(
    options: RestoreOptions, regularizer: LocalRegularizer, denoising: bool
) -> RestoreOptions:
    """For denoising, sigma "auto" is the learned level of weights learned from a folder."""
    learned = regularizer.learned_level
    # Through an operator, `plan_solver` refuses weights for learned noise, whatever sigma is.
    own = denoising or regularizer.learned_noise
    if own and options.sigma == "auto" and learned is not None:
        return replace(options, sigma=learned)
    return options


def _noise(
    y: Tensor,
    options: RestoreOptions,
    regularizer: LocalRegularizer,
    estimate: Callable[[Tensor], float] | None,
    denoising: bool,
) -> MeasuredNoise | None:
    """The given noise, or what is measured if something depends on it; None if nothing does."""
    level, calibration = options.level, regularizer.calibration
    fixed = calibration is not None and not calibration.depends_on_sigma
    if level is not None and fixed and options.lam is None:
        raise UsageError("For these weights lam does not depend on sigma: leave sigma out.")
    if level is None and not estimates_noise(options, regularizer):
        return None
    if denoising and estimate is None:
        return find_noise(as_array(y), options)
    if level is not None:
        return MeasuredNoise(kind="white", level=level)
    if estimate is None:
        raise UsageError(
            "Without an estimate function, the noise level can be estimated for denoising only: "
            "give sigma."
        )
    estimated = sum(estimate(image[None]) for image in y) / len(y)
    check_estimate(estimated)
    return MeasuredNoise(kind="white", level=estimated)


def _first(
    y: Tensor, operator: LinearOperator | None, start: Tensor | None, plan: SolverPlan
) -> Tensor:
    """Where the solver starts. Also checks the operator, at this image."""
    if operator is None:
        if start is not None and plan.starts_at_observation:
            raise _no_other_start()
        if start is not None and start.shape != y.shape:
            raise LocregError(
                f"start must have the shape of the image, {tuple(y.shape)}, got "
                f"{tuple(start.shape)}."
            )
        return y if start is None else start
    first = apply_operator(operator.A_adjoint, "A_adjoint", y) if start is None else start
    check_operator(operator, first, y)
    return first


def _identity(x: Tensor) -> Tensor:
    return x


def _no_other_start() -> UsageError:
    return UsageError(
        "Gradient steps start at the image itself: leave start out, or choose another solver."
    )
