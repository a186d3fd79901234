"""Denoise images whose noise is not white, or that white does not bound: by restoring others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from locreg.arrays import Array
from locreg.degradation.measure_noise import MeasuredNoise
from locreg.degradation.stabilize_variance import Stabilisation
from locreg.restoration.channels import expanded
from locreg.restoration.defaults import (
    CAUTIOUS_BELOW,
    COARSE_SHARE,
    FINE_SHARE,
    takes_coarse_step,
)
from locreg.restoration.find_noise import brightest_noise, has_highlights, with_noise
from locreg.restoration.options import RestoreOptions
from locreg.restoration.result import Restoration
from locreg.solvers.options import GradientStepOptions
from locreg.solvers.solution import OnStep, Solution


class Restore(Protocol):
    """How images like these are denoised."""

    def __call__(
        self,
        y: Array,
        regularizer: Any,
        *,
        options: RestoreOptions,
        start: Array | None,
        observed: Array | None,
        on_step: OnStep | None,
    ) -> Restoration:
        """Denoise the images y (B, C, H, W)."""


@dataclass(frozen=True)
class NoisyImages:
    """Images to denoise, as given to `locreg.restore`, and their noise.

    Attributes:
        restore: by which other images are denoised in place of these; its results hold arrays.
        y, regularizer, options, start, observed, on_step: see `locreg.restore`; arrays.
        noise: the noise of y.
    """

    restore: Restore
    y: Array
    regularizer: Any
    options: RestoreOptions
    noise: MeasuredNoise
    start: Array | None
    observed: Array | None
    on_step: OnStep | None

    def denoised(self, options: RestoreOptions) -> Restoration:
        """Denoise these images with other options."""
        return self.restore(
            self.y,
            self.regularizer,
            options=options,
            start=self.start,
            observed=self.observed,
            on_step=self.on_step,
        )

    def mapped(self, change: Callable[[Array], Array]) -> NoisyImages:
        """The same after a change of all pixel values."""
        start = None if self.start is None else change(self.start)
        return replace(self, y=change(self.y), start=start)

    def result(self, found: Restoration, image: Array) -> Restoration:
        """The result of denoising these images, from that of denoising others."""
        return replace(
            found,
            image=image,
            sigma=self.noise.level,
            noise=self.noise,
            observation=self.y,
            observed=expanded(self.observed, self.y.shape),
        )


def way_of(images: NoisyImages) -> Callable[[NoisyImages], Restoration] | None:
    """How these images are denoised; None: by the energy itself, as white noise is removed."""
    if has_highlights(images.y, images.noise.level):
        return around_highlights
    if images.noise.gain:
        return stabilised
    if images.noise.kind == "camera" and takes_coarse_step(images.options, images.regularizer):
        return coarse_first
    return None


def around_highlights(images: NoisyImages) -> Restoration:
    """Denoise images with pixels far above white, such as the sun in a float image.

    No training has seen such values. What white and its noise do not explain stays as it is, and
    counts as white for the other pixels.
    """
    highest = brightest_noise(images.noise.level)
    dimmed = images.mapped(lambda x: np.minimum(x, highest))
    found = dimmed.denoised(with_noise(images.options, images.noise))
    return images.result(found, np.where(images.y > highest, images.y, found.image))


def coarse_first(images: NoisyImages) -> Restoration:
    """Denoise images whose noise is alike in neighbouring pixels, by an energy for white noise.

    A gradient step on 4 R(A x), where A halves the resolution, is followed by the steps on R. The
    noise of A x is nearer to white. If R has several scales, the second step is on the finest
    alone, since the first one has seen the others.
    """
    level, regularizer, on_step = images.noise.level, images.regularizer, images.on_step
    caution = min(level / CAUTIOUS_BELOW, 1.0)
    highest = regularizer.noise_range.high if regularizer.noise_range else 1.0

    def at(share: float) -> RestoreOptions:
        sigma = min(caution * share * level, highest)
        return replace(images.options, sigma=sigma, noise="white")

    once = replace(at(COARSE_SHARE), solver=GradientStepOptions(steps=1), steps=None)
    coarsened = replace(images, regularizer=regularizer.coarsened(), start=None, observed=None)
    coarse = coarsened.denoised(once)
    first, seconds = coarse.image, coarse.seconds
    begun = replace(coarse.solution, image=None)
    later = on_step and (lambda number, point: on_step(begun.steps + number, point))
    again = replace(images, y=first, regularizer=regularizer.finest(), observed=None, on_step=later)
    found = again.denoised(at(FINE_SHARE))
    solution = _one_after_the_other(begun, found.solution)
    return replace(
        images.result(found, found.image), solution=solution, seconds=seconds + found.seconds
    )


def stabilised(images: NoisyImages) -> Restoration:
    """Denoise images whose noise grows with brightness, after making it white."""
    gain, read_noise = images.noise.gain, images.noise.read_noise
    assert gain is not None  # it is the caller's condition
    assert read_noise is not None
    transform = Stabilisation.of(images.y, gain, read_noise)
    white = replace(
        images.options, sigma=transform.level, noise="white", gain=None, read_noise=None
    )
    found = images.mapped(transform.forward).denoised(white)
    return images.result(found, transform.inverse(found.image))


def _one_after_the_other(first: Solution, second: Solution) -> Solution:
    return replace(
        second,
        history=first.history + second.history,
        gradients=first.gradients + second.gradients,
    )
