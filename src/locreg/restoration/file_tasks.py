"""The tasks for an image file: denoise, deblur, inpaint, upscale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from locreg.arrays import Array
from locreg.degradation.kernels import antialiasing_kernel, read_kernel
from locreg.errors import LocregError
from locreg.images.image_file import ImageFile, read_mask
from locreg.images.mask import Mask
from locreg.images.orientation import as_stored
from locreg.images.sources import list_images
from locreg.regularizer.trained_regularizer import TrainedRegularizer
from locreg.restoration.defaults import takes_gradient_steps
from locreg.restoration.denoise import denoise
from locreg.restoration.options import ANTIALIASING, Border, RestoreOptions
from locreg.restoration.result import Restoration, in_arrays
from locreg.solvers.solution import OnStep


class RestoreImage(Protocol):
    """`locreg.denoise`, or a function with the same arguments."""

    def __call__(
        self,
        y: Array,
        regularizer: TrainedRegularizer,
        *,
        options: RestoreOptions,
        on_step: OnStep | None,
    ) -> Restoration:
        """Restore the pixels y (1, C, H, W) of an image."""


@dataclass(frozen=True, kw_only=True)
class FileTask:
    """What `restore_files` does to each image.

    Attributes:
        name: such as ``"denoise"``.
        restore_of: how an image file is restored; raises `LocregError` if it does not fit the task.
        mask_file: the file with the mask of an image file; raises `LocregError` if there is none.
            None: no pixel is missing.
        settings: parameters of the task, for the JSON record.
        factor: how many times larger the result is.
        inputs: further files that are read, and must not be overwritten.
    """

    name: str
    restore_of: Callable[[ImageFile], RestoreImage]
    mask_file: Callable[[Path], Path] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    factor: int = 1
    inputs: tuple[Path, ...] = ()

    def mask(self, source: Path) -> Mask | None:
        """The mask of the missing pixels of an image file; None if no pixel is missing.

        Raises:
            LocregError: when there is none, or it cannot be read.
        """
        return None if self.mask_file is None else read_mask(self.mask_file(source))

    @property
    def denoises(self) -> bool:
        """Whether the operator is the identity."""
        return self.name == "denoise"


def denoise_task() -> FileTask:
    """Remove noise: `locreg.denoise`, or `locreg.restore` with other solvers and rules."""

    def denoised(
        y: Array,
        regularizer: TrainedRegularizer,
        *,
        options: RestoreOptions,
        on_step: OnStep | None,
    ) -> Restoration:
        if takes_gradient_steps(options, regularizer):
            return denoise(y, regularizer, options, on_step=on_step)
        from locreg.restoration.restore import restore

        return _on_tensors(restore)(y, regularizer, options=options, on_step=on_step)

    return FileTask(name="denoise", restore_of=lambda _: denoised)


def _on_tensors(restore: Callable[..., Restoration]) -> RestoreImage:
    """A function of tensors, such as `locreg.restore`, as one of arrays."""

    def restored(
        y: Array,
        regularizer: TrainedRegularizer,
        *,
        options: RestoreOptions,
        on_step: OnStep | None,
    ) -> Restoration:
        import torch

        from locreg.regularizer.local_regularizer import LocalRegularizer

        assert isinstance(regularizer, LocalRegularizer)  # `LoadedWeights` gives tasks what fits
        device = next(regularizer.critic.parameters()).device
        pixels = torch.from_numpy(np.ascontiguousarray(y)).to(device)
        return in_arrays(restore(pixels, regularizer, options=options, on_step=on_step))

    return restored


def deblur_task(
    kernel: str, *, normalize_kernel: bool = False, border: Border = "unknown"
) -> FileTask:
    """Undo a known blur: `locreg.deblur`.

    Args:
        kernel: gaussian:SIZE:STD, uniform:SIZE, a .npy file or an image file (`read_kernel`), as
            viewers show the blur in the image.
        normalize_kernel: divide a kernel from a file by its sum.
        border: see `locreg.deblur`.

    Raises:
        LocregError: when the kernel is unfit or cannot be read.
    """
    from locreg.restoration.tasks import deblur

    matrix = read_kernel(kernel, normalize=normalize_kernel)

    def restore_of(image: ImageFile) -> RestoreImage:
        turned = as_stored(matrix, image.orientation)
        return _on_tensors(partial(deblur, kernel=turned, border=border))

    return FileTask(
        name="deblur",
        restore_of=restore_of,
        settings={"kernel": kernel, "border": border},
        inputs=(Path(kernel),),
    )


def inpaint_task(mask: Path) -> FileTask:
    """Fill the pixels that are white in the image file ``mask``: `locreg.inpaint`.

    If ``mask`` is a folder, it holds a mask for each image, under the image's name with any suffix.

    Raises:
        LocregError: when the mask cannot be read, or marks no pixel or every pixel.
    """
    from torch import from_numpy

    from locreg.restoration.tasks import inpaint

    def restore_of(image: ImageFile) -> RestoreImage:
        assert image.known is not None  # it was read with its mask
        return _on_tensors(partial(inpaint, known=from_numpy(image.known)))

    settings = {"mask": str(mask)}
    if not mask.is_dir():
        read_mask(mask)  # refuses it before any image is read
        return FileTask(
            name="inpaint",
            restore_of=restore_of,
            mask_file=lambda source: _other_than(source, mask),
            settings=settings,
            inputs=(mask,),
        )
    masks = list_images(mask)
    return FileTask(
        name="inpaint",
        restore_of=restore_of,
        mask_file=lambda source: _mask_in(mask, masks, source),
        settings=settings,
        inputs=tuple(masks),
    )


def _other_than(source: Path, mask: Path) -> Path:
    """The mask, if it is not the image itself."""
    if source.exists() and mask.samefile(source):
        raise LocregError(f"{mask} is the image itself: give another file as its mask.")
    return mask


def _mask_in(folder: Path, masks: Sequence[Path], source: Path) -> Path:
    """The mask of an image: in the same subfolder of the masks, or else in the folder itself."""
    parts = source.absolute().with_suffix("").parts
    names = [found.relative_to(folder).with_suffix("").parts for found in masks]
    for depth in range(len(parts), 0, -1):
        fitting = [
            found
            for found, name in zip(masks, names, strict=True)
            if name == parts[-depth:] and not (source.exists() and found.samefile(source))
        ]
        if len(fitting) > 1:
            raise LocregError(
                f"{fitting[0]} and {fitting[1]} are both masks for {source}: leave one of them."
            )
        if fitting:
            return fitting[0]
    raise LocregError(f"{folder} holds no mask for {source}: give one named {source.stem}.png.")


def upscale_task(factor: int = 2, *, antialiasing: float = ANTIALIASING) -> FileTask:
    """Enlarge by a whole factor: `locreg.upscale`.

    Raises:
        UsageError: when the factor is below 2, or antialiasing is not from 0.1 to 1.
    """
    from locreg.restoration.tasks import check_factor, upscale

    check_factor(factor)
    antialiasing_kernel(factor, antialiasing)  # refuses a width that cannot be meant
    return FileTask(
        name="upscale",
        restore_of=lambda _: _on_tensors(
            partial(upscale, factor=factor, antialiasing=antialiasing)
        ),
        settings={"factor": factor, "antialiasing": antialiasing},
        factor=factor,
    )
