"""A batch of images whose noise differs: each image is restored by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from locreg.errors import UsageError
from locreg.regularizer.trained_regularizer import TrainedRegularizer
from locreg.restoration.options import RestoreOptions
from locreg.restoration.result import Restoration, joined

_ALL = slice(None)


def each_image(
    restore: Callable[[slice, RestoreOptions], Restoration],
    number: int,
    options: RestoreOptions,
    regularizer: TrainedRegularizer,
) -> Restoration:
    """Restore a batch image by image if each image has a noise level of its own, else at once.

    Args:
        restore: restores the images of the batch that a slice selects.
        number: of the images.
        options: their sigma is one level, a list, or "auto": then each level is estimated, if
            something depends on it.
        regularizer: R.

    Raises:
        UsageError: when the list has another length than the batch, or the batch is empty.
    """
    if number == 0:
        raise UsageError("The batch holds no image: give at least one.")
    sigma = options.sigma
    if isinstance(sigma, Sequence) and not isinstance(sigma, str):
        if len(sigma) != number:
            raise UsageError(
                f"sigma has {len(sigma)} levels for {number} images: give one for each."
            )
        each = [replace(options, sigma=level) for level in sigma]
    elif number > 1 and estimates_noise(options, regularizer):
        each = [options] * number
    else:
        return restore(_ALL, options)
    return joined([restore(slice(n, n + 1), chosen) for n, chosen in enumerate(each)], axis=0)


def estimates_noise(options: RestoreOptions, regularizer: TrainedRegularizer) -> bool:
    """Whether something depends on a noise level that is not given."""
    if options.sigma != "auto":
        return False
    if regularizer.depends_on_level or options.lam in ("discrepancy", "sure"):
        return True
    calibration = regularizer.calibration
    fixed = calibration is not None and not calibration.depends_on_sigma
    return not fixed and options.lam in (None, "score")


def of_batch(x: Any, dims: int, which: slice) -> Any:
    """The part for some images of x, if it expands to a batch with so many dimensions."""
    if x is None or x.ndim < dims or len(x) <= 1:
        return x
    return x[which]
