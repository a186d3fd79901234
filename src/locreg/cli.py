"""The command line: parse, call, show. No mathematics, and no heavy import before it is needed."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from locreg.cli_common import (
    DONE,
    FAILED,
    WRONG_USAGE,
    Device,
    Output,
    critic_name,
    discard_output,
    load_regularizer,
    out_of_memory_is,
    say,
    scores_of,
)
from locreg.cli_evaluate import Evaluate
from locreg.cli_reproduce import FitEpll, Reproduce
from locreg.cli_restore import Deblur, Denoise, Inpaint, Upscale
from locreg.cli_train import Refine, Restore, Train, TrainDenoiser, TrainRidge
from locreg.errors import LocregError, UsageError
from locreg.version import __version__


@dataclass(frozen=True, kw_only=True)
class Score:
    """Show where the critic finds an image damaged: a score map with a colour bar."""

    input: Positional[Path]
    """Image."""
    output: Output
    """Picture to write: png, jpg, pdf or svg."""
    weights: str = "auto"
    """Packaged weights or a file; auto is alr-rgb for colour images and alr-gray for grey ones."""
    white: float | None = None
    """Pixel value that counts as 1; by default the largest that the file can hold."""
    device: Device = "auto"
    """Where to compute."""
    json: bool = False
    """Print one machine-readable record."""

    def run(self) -> int:
        """Draw the map, and print the mean score beside those of clean and degraded images."""
        from locreg.images import read_image
        from locreg.pictures import check_picture_name, draw_score_map

        check_picture_name(self.output)
        if self.output.exists() and self.input.exists() and self.output.samefile(self.input):
            raise UsageError(f"{self.output} is the input itself, which is never overwritten.")
        image = read_image(self.input, self.white)
        name = critic_name(self.weights, image.pixels)
        regularizer = load_regularizer(name, self.device)
        try:
            scores = scores_of(image.pixels, regularizer)
        except LocregError as error:
            raise LocregError(f"{self.input}: {error}") from None
        mean = float(scores.mean(dtype="float64"))
        calibration = regularizer.calibration
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
class ImportLocalreg:
    """Convert the regularizer that the paper's authors released into a weight file."""

    input: Positional[Path]
    """Folder with params.json and checkpoint_last.pt."""
    output: Output
    """Weight file to write (.safetensors)."""
    clean: Path | None = None
    """Folder of clean images to fit lam on; without it, restoring needs --lam."""

    def run(self) -> int:
        """Convert, calibrate if asked to, write."""
        from locreg.import_localreg import calibrated, import_localreg
        from locreg.training_files import check_new_output
        from locreg.weights import save_weights

        check_new_output(self.output)
        weights = import_localreg(self.input)
        if self.clean is not None:
            weights = calibrated(weights, self.clean)
        save_weights(weights, self.output)
        critic = weights.critic
        print(
            f"{self.output}: receptive field {critic.receptive_field}x{critic.receptive_field}, "
            f"stride {critic.stride}"
        )
        if self.clean is None:
            say("lam is not fitted: restore with --lam, or import with --clean FOLDER.")
        return DONE


@dataclass(frozen=True, kw_only=True)
class Info:
    """Show what a weight file holds: layers, criterion, training record, calibration."""

    input: Positional[str]
    """Packaged weights or a file."""
    json: bool = False
    """Print one machine-readable record."""

    def run(self) -> int:
        """Print the header."""
        from locreg.records import outline, weights_record
        from locreg.weights import load_weights

        weights = load_weights(self.input)
        record = weights_record(self.input, weights)
        print(json.dumps(record) if self.json else outline(record))
        return DONE


_TOO_LARGE = (
    "the memory of the device does not suffice: choose smaller images, --batch, --patch-size or "
    "--filters, or another --device."
)
_COMMANDS: dict[str, Callable[..., Any]] = {
    "denoise": Denoise,
    "deblur": Deblur,
    "inpaint": Inpaint,
    "upscale": Upscale,
    "restore": Restore,
    "score": Score,
    "train": Train,
    "train-ridge": TrainRidge,
    "train-denoiser": TrainDenoiser,
    "refine": Refine,
    "import-localreg": ImportLocalreg,
    "info": Info,
    "evaluate": Evaluate,
    "fit-epll": FitEpll,
    "reproduce": Reproduce,
}


def main() -> None:
    """Entry point of the ``locreg`` command. Exit status: 0 done, 1 something failed, 2 usage."""
    _keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Batch systems end a job so: what Ctrl+C leaves in order, they should too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.argv[1:] == ["--version"]:
        print(f"locreg {__version__}")
        sys.exit(DONE)
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            _COMMANDS,
            prog="locreg",
            description="Learned local regularization for image restoration. What is installed is "
            "told by `locreg --version`.",
        )
        with out_of_memory_is(_TOO_LARGE):
            status = command.run()
    except UsageError as error:
        say(f"error: {error}")
        status = WRONG_USAGE
    except LocregError as error:
        say(f"error: {error}")
        status = FAILED
    except BrokenPipeError:  # whoever read the output, such as head, has read enough
        discard_output()
        status = DONE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror or error}.")
        status = FAILED
    except KeyboardInterrupt:
        say("interrupted.")
        status = 130
    sys.exit(status)


def _keep_freed_memory() -> None:
    """Ask glibc not to hand freed memory back to the system between two layers of a critic.

    Mapping it anew each time costs a quarter of the time of a gradient. It concerns the whole
    process, so the command does it and the library does not.
    """
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            trim_threshold, mmap_threshold = -1, -3
            mallopt(mmap_threshold, 32 << 20)
            mallopt(trim_threshold, 2**31 - 1)
