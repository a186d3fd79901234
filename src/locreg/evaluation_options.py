"""What to evaluate: tasks, noise levels and methods, checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from locreg.errors import UsageError
from locreg.options import check_at_least, check_sigma

Task = Literal["denoise", "deblur", "inpaint", "upscale"]


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The degradation that is undone, beside white noise; None takes the default, by `of_task`.

    Attributes:
        kernel: deblur: gaussian:SIZE:STD (default gaussian:7:3), uniform:SIZE, or a .npy or image
            file; the blur wraps around.
        normalize_kernel: deblur: divide a kernel from a file by its sum, as that of an image file
            needs.
        missing: inpaint: share of the pixels that are missing, at random (default 0.5).
        factor: upscale: how many times smaller the observation is (default 2).
    """

    kernel: str | None = None
    normalize_kernel: bool = False
    missing: float | None = None
    factor: int | None = None

    def __post_init__(self) -> None:
        if self.missing is not None and not 0 < self.missing < 1:
            raise UsageError(f"missing must be between 0 and 1, got {self.missing:g}.")
        if self.factor is not None:
            check_at_least(2, "factor", self.factor)

    def of_task(self, task: Task) -> TaskOptions:
        """These with the task's defaults where nothing is given.

        Raises:
            UsageError: when a constant of another task is given, which would be ignored.
        """
        given = {
            "kernel": ("deblur", self.kernel is not None),
            "normalize-kernel": ("deblur", self.normalize_kernel),
            "missing": ("inpaint", self.missing is not None),
            "factor": ("upscale", self.factor is not None),
        }
        for name, (owner, is_given) in given.items():
            if is_given and owner != task:
                raise UsageError(f"{name} belongs to --task {owner}, and the task is {task}.")
        return replace(
            self,
            kernel=self.kernel or ("gaussian:7:3" if task == "deblur" else None),
            missing=0.5 if self.missing is None and task == "inpaint" else self.missing,
            factor=self.factor or (2 if task == "upscale" else None),
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """A table to fill: every method on every image at every noise level.

    Attributes:
        test: folder of clean images.
        task: what is done.
        sigmas: noise levels.
        methods: names, as `locreg.methods` knows them.
        degradation: constants of the task.
        channels: 1 or 3; None takes colour unless all images are grey.
        names: of the images to take, relative to the folder; empty takes all.
        crop: side of the centre crops that stand for the images; None takes them whole.
        lpips: file with the weights of AlexNet; None looks for an installed package.
    """

    test: Path
    task: Task = "denoise"
    sigmas: tuple[float, ...]
    methods: tuple[str, ...]
    degradation: TaskOptions = TaskOptions()
    channels: Literal[1, 3] | None = None
    names: tuple[str, ...] = ()
    crop: int | None = None
    lpips: Path | None = None

    def __post_init__(self) -> None:
        if not self.sigmas or not self.methods:
            raise UsageError("Give at least one noise level and one method.")
        for name, values in (("sigma", self.sigmas), ("methods", self.methods)):
            if len(set(values)) < len(values):
                raise UsageError(f"{name} names the same twice.")
        for sigma in self.sigmas:
            check_sigma(sigma)
            if sigma == 0 and self.task == "denoise":
                raise UsageError("Without noise there is nothing to denoise: give sigma above 0.")
        self.degradation.of_task(self.task)
        if self.crop is not None:
            check_at_least(16, "crop", self.crop)
