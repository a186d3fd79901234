"""What to evaluate: tasks, noise levels and methods, checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from locreg.errors import UsageError
from locreg.options import check_sigma

Task = Literal["denoise", "deblur", "inpaint", "upscale"]


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The degradation that is undone, beside white noise.

    Attributes:
        kernel: deblur: gaussian:SIZE:STD, uniform:SIZE, or a .npy or image file; the blur wraps
            around.
        missing: inpaint: share of the pixels that are missing, at random.
        factor: upscale: how many times smaller the observation is.
    """

    kernel: str = "gaussian:7:3"
    missing: float = 0.5
    factor: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.missing < 1:
            raise UsageError(f"missing must be between 0 and 1, got {self.missing:g}.")
        if self.factor < 2:
            raise UsageError(f"factor must be at least 2, got {self.factor}.")


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
        if self.crop is not None and self.crop < 16:
            raise UsageError(f"crop must be at least 16, got {self.crop}.")

    def with_methods(self, methods: tuple[str, ...]) -> EvaluationOptions:
        """The same for other methods."""
        return replace(self, methods=methods)

    @property
    def setting(self) -> str:
        """The constant of the task and the crop, as words for the table."""
        constant = {
            "denoise": "",
            "deblur": self.degradation.kernel,
            "inpaint": f"{self.degradation.missing:g} missing",
            "upscale": f"x{self.degradation.factor}",
        }[self.task]
        crop = "" if self.crop is None else f"centre {self.crop}x{self.crop}"
        return ", ".join(word for word in (constant, crop) if word)
