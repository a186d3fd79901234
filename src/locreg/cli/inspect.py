"""The commands for weight files and score maps: info, export, score."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from locreg.cli.console import DONE
from locreg.cli.settings import Output
from locreg.errors import LocregError, UsageError


@dataclass(frozen=True, kw_only=True)
class Score:
    """Show where an image looks damaged to a critic, as a score map with a colour bar."""

    input: Positional[Path]
    """Image to score."""
    output: Output
    """Picture to write: png, jpg, pdf or svg."""
    weights: str = "auto"
    """Critic: packaged weights or a weight file; auto: alr-rgb for colour images, alr-gray for grey
    ones."""
    white: float | None = None
    """Pixel value that counts as 1; by default the largest that the file can hold, or 1 in float
    files."""
    json: bool = False
    """Print one JSON record."""

    def run(self) -> int:
        """Draw the map, and print the mean score and those of clean and degraded images."""
        from locreg.images.image_file import read_image
        from locreg.images.samples import is_grey
        from locreg.regularizer.packaged import packaged_critic
        from locreg.regularizer.scores import scores_of
        from locreg.regularizer.stored_weights import read_weights
        from locreg.report.pictures import check_picture_name, draw_score_map

        check_picture_name(self.output)
        if self.output.exists() and self.input.exists() and self.output.samefile(self.input):
            raise UsageError(
                f"{self.output} is the input itself, and inputs are never overwritten: give "
                "another output."
            )
        image = read_image(self.input, self.white)
        name = self.weights
        if name == "auto":
            name = packaged_critic(grey=is_grey(image.pixels))
        weights = read_weights(name)
        try:
            scores = scores_of(image.pixels, weights)
        except LocregError as error:
            raise LocregError(f"{self.input}: {error}") from None
        mean = float(scores.mean(dtype="float64"))
        calibration = weights.calibration
        draw_score_map(self.output, image.pixels, scores, calibration, f"mean score {mean:.4f}")
        record: dict[str, Any] = {
            "input": str(self.input),
            "output": str(self.output),
            "weights": name,
            "mean_score": mean,
        }
        if calibration is not None:
            record["quantile_levels"] = calibration.quantile_levels
            record["clean_images"] = calibration.clean_images
            record["degraded_images"] = calibration.degraded_images
        if self.json:
            print(json.dumps(record))
            return DONE
        print(f"{self.input}: mean score {mean:.4f}; map in {self.output}")
        if calibration is not None:
            for kind, quantiles in (
                ("clean", calibration.clean_images),
                ("degraded", calibration.degraded_images),
            ):
                low, high = quantiles[1], quantiles[-2]
                print(f"  90% of {kind} training images score {low:.4f} to {high:.4f}")
        return DONE


@dataclass(frozen=True, kw_only=True)
class Info:
    """Show what a weight file holds: layers, criterion, training record, calibration."""

    input: Positional[str]
    """Packaged weights or a weight file."""
    json: bool = False
    """Print one JSON record."""

    def run(self) -> int:
        """Print the header of the weight file."""
        from locreg.regularizer.stored_weights import read_weights
        from locreg.report.records import outline, weights_record

        weights = read_weights(self.input)
        record = weights_record(self.input, weights)
        print(json.dumps(record) if self.json else outline(record))
        return DONE


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a denoising energy as an ONNX file, which other programs run without locreg.

    Its inputs are ``image`` (1, C, H, W) in [0, 1] and ``level``, the standard deviation of the
    noise on that scale; its output is ``denoised``. Any size works, in tiles, with the result of
    `locreg denoise --noise white --sigma LEVEL`.
    """

    input: Positional[str]
    """Packaged weights or a weight file of a denoising energy."""
    output: Output
    """File to write: .onnx."""
    steps: int | None = None
    """Gradient steps; by default the number that the energy was trained for."""

    def run(self) -> int:
        """Write the file."""
        from locreg.regularizer.export_denoiser import export_denoiser

        export_denoiser(self.input, self.output, self.steps)
        return DONE
