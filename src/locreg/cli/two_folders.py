"""``locreg restore``: learn from two folders, and restore the images of one of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from locreg.arguments import Device, check_at_least, torch_device
from locreg.cli.console import say
from locreg.cli.restore import Denoise
from locreg.cli.settings import Output, Settings


@dataclass(frozen=True, kw_only=True)
class Restore:
    """Learn from two folders how the images of one differ from clean ones, and restore them.

    The folders need not show the same scenes. What was learned is written next to the output
    folder: OUTPUT.safetensors is for `locreg denoise`, and OUTPUT.critic.safetensors (with --damage
    any) is for `locreg score`. After an interruption the same command continues. Exit status 0:
    done; 1: something failed; 2: wrong usage.
    """

    clean: tuple[Path, ...]
    """Clean images of the same kind, in folders or tar files: at least six. For noise they need a
    width and height of at least 192 pixels."""
    degraded: Path
    """Folder of the images to restore. For noise one image is enough, with a width and height of at
    least 216 pixels. For any other damage, both folders should hold a hundred images of at least 60
    pixels."""
    output: Output
    """Folder for the restored images."""
    damage: Literal["noise", "any"] = "noise"
    """noise: for grain, stripes and sensor noise; learns the strength of the noise, its correlation
    and its growth with brightness. any: for any damage, such as JPEG; a critic learns what damaged
    patches look like, and decides how strongly to smooth the images (blur stays). If both are
    possible, noise is better."""
    iterations: int | None = None
    """Number of training iterations; by default 1000 for noise, 600 for any."""
    white: float | None = None
    """Pixel value that counts as 1 in all images, such as 4095 in the 16-bit files of a 12-bit
    camera; by default the largest that a file can hold, or 1 in float files."""
    device: Device = "auto"
    """Where to compute; auto: on a CUDA GPU if there is one."""
    json: bool = False
    """Print one JSON record per image, with the energy at every step."""

    def run(self) -> int:
        """Train if that has not been done, and restore every image that is not there yet."""
        from locreg.restoration.jobs import check_folders
        from locreg.training.learn_from_folders import learn_from_folders
        from locreg.training.output import TrainingRun, shell_command

        if self.iterations is not None:
            check_at_least(1, "iterations", self.iterations)
        for folder in (self.degraded, *(path for path in self.clean if path.is_dir())):
            check_folders(folder, self.output)
        weights = self.output.parent / f"{self.output.resolve().name}.safetensors"
        learn_from_folders(
            self.clean,
            self.degraded,
            TrainingRun(
                output=weights,
                device=torch_device(self.device),
                command=shell_command(sys.argv[1:]),
            ),
            damage=self.damage,
            iterations=self.iterations,
            white=self.white,
            message=say,
        )
        settings = Settings(
            weights=str(weights), white=self.white, device=self.device, json=self.json
        )
        return Denoise(input=(self.degraded,), output=self.output, settings=settings).run()
