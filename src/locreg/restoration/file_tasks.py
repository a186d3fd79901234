"""The tasks for an image file: denoise, deblur, inpaint, upscale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from locreg.degradation.kernels import antialiasing_kernel, read_kernel
from locreg.errors import LocregError
from locreg.images.image_file import ImageFile, read_mask
from locreg.images.sources import READABLE, list_images
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.options import ANTIALIASING, Border, RestoreOptions
from locreg.restoration.restore import restore
from locreg.restoration.result import Restoration
from locreg.restoration.tasks import check_factor, deblur, inpaint, upscale
from locreg.solvers.solution import OnStep


class RestoreImage(Protocol):
    """`locreg.restore`, or a function with the same first and last arguments."""

    def __call__(
        self,
        y: Tensor,
        regularizer: LocalRegularizer,
        *,
        options: RestoreOptions,
        on_step: OnStep | None,
    ) -> Restoration:
        """Restore the pixels y (1, C, H, W) of an image."""


def _any_image(_: ImageFile) -> None:
    """Accept every image."""


@dataclass(frozen=True, kw_only=True)
class FileTask:
    """What `restore_files` does to each image.

    Attributes:
        name: such as ``"denoise"``.
        restore: restores the pixels of an image.
        settings: parameters of the task, for the JSON record.
        factor: how many times larger the result is.
        inputs: further files that are read, and must not be overwritten.
        check: raises `LocregError` for an image that does not fit the task.
        of_file: the task for one image file, if it is another for each; raises `LocregError`.
    """

    name: str
    restore: RestoreImage
    settings: dict[str, Any] = field(default_factory=dict)
    factor: int = 1
    inputs: tuple[Path, ...] = ()
    check: Callable[[ImageFile], None] = _any_image
    of_file: Callable[[Path], FileTask] | None = None

    def of(self, source: Path) -> FileTask:
        """The task for this image file.

        Raises:
            LocregError: when there is none.
        """
        return self if self.of_file is None else self.of_file(source)

    @property
    def denoises(self) -> bool:
        """Whether the operator is the identity."""
        return self.name == "denoise"


def denoise_task() -> FileTask:
    """Remove noise: `locreg.restore`."""
    return FileTask(name="denoise", restore=restore)


def deblur_task(
    kernel: str, *, normalize_kernel: bool = False, border: Border = "unknown"
) -> FileTask:
    """Undo a known blur: `locreg.deblur`.

    Args:
        kernel: gaussian:SIZE:STD, uniform:SIZE, a .npy file or an image file (`read_kernel`).
        normalize_kernel: divide a kernel from a file by its sum.
        border: see `locreg.deblur`.

    Raises:
        LocregError: when the kernel is unfit or cannot be read.
    """
    matrix = read_kernel(kernel, normalize=normalize_kernel)
    return FileTask(
        name="deblur",
        restore=partial(deblur, kernel=matrix, border=border),
        settings={"kernel": kernel, "border": border},
        inputs=(Path(kernel),),
    )


def inpaint_task(mask: Path) -> FileTask:
    """Fill the pixels that are white in the image file ``mask``: `locreg.inpaint`.

    If ``mask`` is a folder, it holds a mask for each image, under the image's name with any suffix.

    Raises:
        LocregError: when the mask cannot be read, or marks no pixel or every pixel.
    """
    if mask.is_dir():
        return FileTask(
            name="inpaint",
            restore=restore,  # not called: each image has a task of its own
            settings={"mask": str(mask)},
            inputs=tuple(list_images(mask)),
            of_file=lambda source: inpaint_task(_mask_of(source, mask)),
        )
    missing, mask_orientation = read_mask(mask)
    known = torch.from_numpy(~missing)

    def check(image: ImageFile) -> None:
        if image.orientation != mask_orientation:
            size = image.pixels.shape[1:]
            _check_orientations(size, missing.shape, image.orientation, mask_orientation)

    return FileTask(
        name="inpaint",
        restore=partial(inpaint, known=known),
        settings={"mask": str(mask)},
        inputs=(mask,),
        check=check,
    )


def _mask_of(source: Path, masks: Path) -> Path:
    """The mask of an image: in the same subfolder of the masks, or else in the folder itself."""
    parts = source.with_suffix("").parts
    for depth in range(len(parts), 0, -1):
        name = Path(*parts[-depth:])
        for suffix in READABLE:
            found = masks / name.with_name(name.name + suffix)
            if not name.is_absolute() and found.exists():
                return found
    raise LocregError(f"{masks} holds no mask for {source}: give one named {source.stem}.png.")


def upscale_task(factor: int = 2, *, antialiasing: float = ANTIALIASING) -> FileTask:
    """Enlarge by a whole factor: `locreg.upscale`.

    Raises:
        UsageError: when the factor is below 2, or antialiasing is not from 0.1 to 1.
    """
    check_factor(factor)
    antialiasing_kernel(factor, antialiasing)  # refuses a width that cannot be meant
    return FileTask(
        name="upscale",
        restore=partial(upscale, factor=factor, antialiasing=antialiasing),
        settings={"factor": factor, "antialiasing": antialiasing},
        factor=factor,
    )


def _check_orientations(
    image: tuple[int, ...], mask: tuple[int, ...], orientation: int, mask_orientation: int
) -> None:
    """Refuse a mask whose EXIF orientation differs, unless its size shows how it is meant.

    Otherwise a mask drawn over the photograph, as a viewer shows it, would fill the wrong place.
    """
    on_its_side = (orientation >= 5) != (mask_orientation >= 5)
    if on_its_side and image[0] != image[1] and image == mask:
        return
    raise LocregError(
        "the image and its mask have different EXIF orientations "
        f"({orientation} and {mask_orientation}): save both upright, without this tag."
    )
