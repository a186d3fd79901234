"""The command line: parse, call, show. No mathematics, and no heavy import before it is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from locreg.errors import LocregError, UsageError
from locreg.options import (
    AdamOptions,
    CriticOptions,
    DataOptions,
    GradientDescentOptions,
    NoiseRange,
    Recipe,
    TrainingOptions,
    check_lam,
    check_sigma,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from locreg.batch import Job
    from locreg.regularizer import LocalRegularizer
    from locreg.solvers import Iterate, OnStep

DONE, FAILED, WRONG_USAGE = 0, 1, 2

Output = Annotated[Path, arg(aliases=["-o"])]


@dataclass(frozen=True, kw_only=True)
class Denoise:
    """Remove noise from an image, or from all images of a folder.

    Bit depth, colour profile, EXIF and transparency are kept. In a folder, images that are already
    in the output folder are skipped. Exit status 0: done; 1: something failed; 2: wrong usage.
    """

    input: Positional[Path]
    """Image, or folder of images."""
    output: Output
    """Image to write, or folder; an input is never overwritten."""
    weights: str = "auto"
    """Packaged weights or a file; auto is alr-rgb for colour images and alr-gray for grey ones."""
    sigma: str = "auto"
    """Standard deviation of the noise on the [0, 1] scale (0.1 is 25.5 of 255), or auto."""
    lam: str = "auto"
    """Weight of the regularizer, or auto: from sigma, by the calibration in the weights."""
    solver: Literal["adam", "gradient-descent"] = "adam"
    """adam: the paper's 50 steps; gradient-descent: eq. (5)."""
    steps: int | None = None
    """Number of steps; by default 50 for adam, at most 200 for gradient-descent."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: bool = False
    """Print one machine-readable record per image."""

    def run(self) -> int:
        """Denoise every image that is not there yet; a failure does not stop the others."""
        from locreg.batch import plan

        sigma, lam = _number_or_auto("sigma", self.sigma), _number_or_auto("lam", self.lam)
        solver = _solver(self.solver, self.steps)
        if sigma != "auto":
            check_sigma(sigma)
        if lam != "auto":
            check_lam(lam)
        regularizers: dict[str, LocalRegularizer] = {}
        _device(self.device)
        if self.weights != "auto":  # a wrong name shows before any image is read
            regularizers[self.weights] = _load(self.weights, self.device)
        jobs = plan(self.input, self.output)
        several = self.input.is_dir()
        waiting = [job for job in jobs if not (several and job.finished)]
        if len(waiting) < len(jobs):
            _say(f"{len(jobs) - len(waiting)} of {len(jobs)} images are done already: skipped.")
        failures = 0
        for job in waiting:
            try:
                self._denoise(job, regularizers, sigma, lam, solver)
            except (LocregError, OSError) as error:
                if not several:
                    raise
                failures += 1
                _say(f"error: {error}")
        if failures:
            _say(f"{failures} of {len(jobs)} images failed.")
        return FAILED if failures else DONE

    def _denoise(
        self,
        job: Job,
        regularizers: dict[str, LocalRegularizer],
        sigma: float | Literal["auto"],
        lam: float | Literal["auto"],
        solver: AdamOptions | GradientDescentOptions,
    ) -> None:
        import torch

        from locreg.images import check_writable, read_image, write_image
        from locreg.records import restoration_record, sentence
        from locreg.restoration import restore
        from locreg.solvers import Status

        image = read_image(job.source)
        check_writable(job.target, image)
        name = _weights_name(self.weights, image.pixels)
        if name not in regularizers:
            regularizers[name] = _load(name, self.device)
        regularizer = regularizers[name]
        y = torch.from_numpy(image.pixels)[None].to(_device(self.device))
        try:
            with _Progress(job.source.name, solver.steps) as on_step:
                found = restore(
                    y,
                    regularizer,
                    sigma=None if sigma == "auto" and lam != "auto" else sigma,
                    lam=None if lam == "auto" else lam,
                    solver=solver,
                    on_step=on_step,
                )
        except LocregError as error:
            raise type(error)(f"{job.source}: {error}") from None
        if found.solution.status is Status.FAILED:
            raise LocregError(f"{job.source}: the energy grew without bound; use a smaller lam.")
        write_image(job.target, found.image[0].cpu().numpy(), image)
        record = restoration_record(job, name, found)
        print(json.dumps(record) if self.json else sentence(record))


@dataclass(frozen=True, kw_only=True)
class Score:
    """Show where the critic finds an image damaged: a score map with a colour bar."""

    input: Positional[Path]
    """Image."""
    output: Output
    """Picture to write: png, jpg, pdf or svg."""
    weights: str = "auto"
    """Packaged weights or a file; auto is alr-rgb for colour images and alr-gray for grey ones."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: bool = False
    """Print one machine-readable record."""

    def run(self) -> int:
        """Draw the map, and print the mean score beside those of clean and degraded images."""
        import torch

        from locreg.images import read_image
        from locreg.pictures import check_picture_name, draw_score_map

        check_picture_name(self.output)
        if self.output.exists() and self.input.exists() and self.output.samefile(self.input):
            raise UsageError(f"{self.output} is the input itself, which is never overwritten.")
        image = read_image(self.input)
        name = _weights_name(self.weights, image.pixels)
        regularizer = _load(name, self.device)
        pixels = image.pixels
        if regularizer.in_channels < len(pixels):
            pixels = pixels.mean(axis=0, keepdims=True)
        if regularizer.in_channels != len(pixels):
            raise LocregError(f"{self.input} is grey and {name} is for colour images.")
        x = torch.from_numpy(pixels)[None].to(_device(self.device))
        scores = regularizer.score_map(x)[0, 0].cpu().numpy()
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
class Train:
    """Learn a regularizer from a folder of clean and a folder of degraded images, unpaired.

    Instead of degraded images a noise level can be given. A log (NAME.log.jsonl) and, until the
    end, a checkpoint (NAME.checkpoint) lie beside the weight file; an interrupted run goes on with
    --resume.
    """

    clean: Path
    """Folder of clean images."""
    degraded: Path | None = None
    """Folder of degraded images of other scenes."""
    noise: str | None = None
    """Standard deviation S, or range LO:HI, of white noise to add, on the [0, 1] scale."""
    output: Output
    """Weight file to write (.safetensors)."""
    resume: bool = False
    """Continue an interrupted run; all other options must be the same."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: bool = False
    """Print one machine-readable record."""
    critic: OmitArgPrefixes[CriticOptions] = field(default_factory=CriticOptions)
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    training: OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)

    def run(self) -> int:
        """Train, calibrate, write."""
        recipe = Recipe(
            clean=self.clean,
            degraded=self.degraded,
            noise=None if self.noise is None else NoiseRange.parse(self.noise),
            critic=self.critic,
            data=self.data,
            training=self.training,
        )
        from locreg.recipes import shell_command, train_from_folders

        weights = train_from_folders(
            self.output,
            recipe,
            resume=self.resume,
            device=_device(self.device),
            command=shell_command(sys.argv[1:]),
        )
        if self.json:
            print(json.dumps({"output": str(self.output), "training": weights.training}))
        else:
            print(f"{self.output}: {weights.training['iterations_done']} iterations")
        if weights.training["skipped_files"]:
            _say(f"{weights.training['skipped_files']} files could not be used, named above.")
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


_COMMANDS: dict[str, Callable[..., Any]] = {
    "denoise": Denoise,
    "score": Score,
    "train": Train,
    "info": Info,
}


def main() -> None:
    """Entry point of the ``locreg`` command. Exit status: 0 done, 1 something failed, 2 usage."""
    _keep_freed_memory()
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            _COMMANDS,
            prog="locreg",
            description="Learned local regularization for image restoration.",
        )
        status = command.run()
    except UsageError as error:
        _say(f"error: {error}")
        status = WRONG_USAGE
    except LocregError as error:
        _say(f"error: {error}")
        status = FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _say(f"error: {where}{error.strerror or error}.")
        status = FAILED
    except KeyboardInterrupt:
        _say("interrupted.")
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


def _say(sentence: str) -> None:
    print(f"locreg: {sentence}", file=sys.stderr)


def _number_or_auto(name: str, text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{name} must be a number or auto, got {text!r}.") from None


def _solver(name: str, steps: int | None) -> AdamOptions | GradientDescentOptions:
    if name == "adam":
        return AdamOptions() if steps is None else AdamOptions(steps=steps)
    return GradientDescentOptions() if steps is None else GradientDescentOptions(steps=steps)


def _weights_name(weights: str, pixels: NDArray[np.float32]) -> str:
    """The packaged weights for pixels (C, H, W); a grey image may be stored as three channels."""
    if weights != "auto":
        return weights
    return "alr-gray" if (pixels == pixels[0]).all() else "alr-rgb"


def _device(name: str) -> torch.device:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise LocregError("No CUDA device was found: use --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _load(name: str, device: str) -> LocalRegularizer:
    from locreg.regularizer import load

    return load(name).to(_device(device))


class _Progress:
    """A bar over the solver's steps, on a terminal only."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps

    def __enter__(self) -> OnStep:
        from tqdm import tqdm

        self.bar = tqdm(
            total=self.steps,
            desc=self.name,
            unit="step",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        return self._on_step

    def _on_step(self, step: int, _: Iterate) -> None:
        self.bar.update(min(step, self.steps) - self.bar.n)

    def __exit__(self, *_: object) -> None:
        self.bar.close()
