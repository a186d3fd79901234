"""The commands that restore images: denoise, deblur, inpaint, upscale."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional

from locreg.cli_common import (
    DONE,
    FAILED,
    Output,
    Progress,
    critic_name,
    out_of_memory_is,
    say,
    scores_of,
    show,
    torch_device,
)
from locreg.cli_settings import Settings
from locreg.errors import LocregError, UsageError
from locreg.options import ANTIALIASING, LEAST_NOISE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from locreg.batch import Job
    from locreg.options import SolverOptions
    from locreg.regularizer import LocalRegularizer
    from locreg.restoration import Lam, Restoration
    from locreg.solvers import OnStep


@dataclass(frozen=True, kw_only=True)
class Given:
    """What every task is told beside the observation: arguments of `locreg.restore`."""

    sigma: float | Literal["auto"]
    lam: Lam
    solver: SolverOptions
    on_step: OnStep
    orientation: int
    """How the file says it has to be turned for a viewer, as EXIF counts; 1 is not at all."""


# From an observation, its regularizer and what all tasks take, to a restoration.
Task = Callable[["Tensor", "LocalRegularizer", Given], "Restoration"]


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
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def run(self) -> int:
        """Denoise every image that is not there yet."""

        def denoise(y: Tensor, regularizer: LocalRegularizer, given: Given) -> Restoration:
            from locreg.restoration import restore

            return restore(
                y,
                regularizer,
                sigma=given.sigma,
                lam=given.lam,
                solver=given.solver,
                on_step=given.on_step,
            )

        record = {"task": "denoise"}
        return restore_files(self.input, self.output, self.settings, denoise, record)


@dataclass(frozen=True, kw_only=True)
class Deblur:
    """Undo a known blur of an image, or of all images of a folder.

    What lies beyond the border of a photograph took part in its blur and is estimated too, so that
    no ringing starts there. Exit status 0: done; 1: something failed; 2: wrong usage.
    """

    input: Positional[Path]
    """Image, or folder of images."""
    output: Output
    """Image to write, or folder; an input is never overwritten."""
    kernel: str
    """gaussian:SIZE:STD, uniform:SIZE, a .npy file with a matrix, or a grey image file."""
    normalize_kernel: bool = False
    """Divide a kernel from a file by its sum, as that of an image file needs."""
    border: Literal["unknown", "circular"] = "unknown"
    """circular: the image is taken for wrapped around, as in benchmarks."""
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def run(self) -> int:
        """Deblur every image that is not there yet."""
        from locreg.kernels import read_kernel

        kernel = read_kernel(self.kernel, normalize=self.normalize_kernel)

        def deblur(y: Tensor, regularizer: LocalRegularizer, given: Given) -> Restoration:
            from locreg import tasks

            return tasks.deblur(
                y,
                regularizer,
                kernel,
                border=self.border,
                sigma=given.sigma,
                lam=given.lam,
                solver=given.solver,
                on_step=given.on_step,
            )

        record = {"task": "deblur", "kernel": self.kernel, "border": self.border}
        return restore_files(
            self.input, self.output, self.settings, deblur, record, (Path(self.kernel),)
        )


@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Fill the missing pixels of an image, or of all images of a folder.

    Known pixels are denoised along the way. Exit status 0: done; 1: something failed; 2: wrong
    usage.
    """

    input: Positional[Path]
    """Image, or folder of images."""
    output: Output
    """Image to write, or folder; an input is never overwritten."""
    mask: Path
    """Image of the same size, white where pixels are missing and black where they are known."""
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def run(self) -> int:
        """Fill every image that is not there yet."""
        from locreg.images import read_mask

        missing, mask_orientation = read_mask(self.mask)

        def inpaint(y: Tensor, regularizer: LocalRegularizer, given: Given) -> Restoration:
            import torch

            from locreg import tasks

            if given.orientation != mask_orientation:
                _check_turns(y.shape[2:], missing.shape, given.orientation, mask_orientation)
            return tasks.inpaint(
                y,
                regularizer,
                torch.from_numpy(~missing),
                sigma=given.sigma,
                lam=given.lam,
                solver=given.solver,
                on_step=given.on_step,
            )

        record = {"task": "inpaint", "mask": str(self.mask)}
        return restore_files(self.input, self.output, self.settings, inpaint, record, (self.mask,))


@dataclass(frozen=True, kw_only=True)
class Upscale:
    """Enlarge an image, or all images of a folder, by a whole factor.

    The small image is taken for a Gaussian average of the large one. Exit status 0: done; 1:
    something failed; 2: wrong usage.
    """

    input: Positional[Path]
    """Image, or folder of images."""
    output: Output
    """Image to write, or folder; an input is never overwritten."""
    factor: int = 2
    """How many times larger."""
    antialiasing: float = ANTIALIASING
    """Width of what the small image averaged over, as the standard deviation of a Gaussian in its
    pixels, from 0.1 to 1. Larger values sharpen more, and give edges rims where the image was
    sharp already."""
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def run(self) -> int:
        """Enlarge every image that is not there yet."""
        if self.factor < 2:
            raise UsageError(f"factor must be a whole number of at least 2, got {self.factor}.")

        def upscale(y: Tensor, regularizer: LocalRegularizer, given: Given) -> Restoration:
            from locreg import tasks

            return tasks.upscale(
                y,
                regularizer,
                self.factor,
                antialiasing=self.antialiasing,
                sigma=given.sigma,
                lam=given.lam,
                solver=given.solver,
                on_step=given.on_step,
            )

        record = {"task": "upscale", "factor": self.factor, "antialiasing": self.antialiasing}
        return restore_files(self.input, self.output, self.settings, upscale, record)


def restore_files(
    source: Path,
    target: Path,
    settings: Settings,
    task: Task,
    record: dict[str, Any],
    others: tuple[Path, ...] = (),
) -> int:
    """Restore what is not there yet; in a folder, one failure does not stop the others.

    Args:
        record: of the task, for the records of the images.
        others: files that are read beside the images.
    """
    from locreg.batch import plan

    settings.noise_and_lam()  # what is wrong with all images shows before any is read
    torch_device(settings.device)
    regularizers: dict[str, LocalRegularizer] = {}
    if settings.weights != "auto":  # a wrong name shows before any image is read
        regularizers[settings.weights] = settings.load(settings.weights)
    jobs = plan(source, target, settings.report, others=others)
    several = source.is_dir()
    waiting = [job for job in jobs if not (several and job.finished)]
    if len(waiting) < len(jobs):
        say(f"{len(jobs) - len(waiting)} of {len(jobs)} images are done already: skipped.")
    failures = 0
    for job in waiting:
        too_large = (
            f"{job.source} does not fit into the memory of the device {settings.device}: choose "
            "another --device, or cut the image into parts."
        )
        try:
            with out_of_memory_is(too_large):
                done = _restore_file(job, settings, task, regularizers, record)
                if job.page is not None:
                    _write_page(job.page, done, settings, regularizers)
        except UsageError:
            raise  # the same for every image
        except (LocregError, OSError) as error:
            if not several:
                raise
            failures += 1
            say(f"error: {error}")
    if failures:
        say(f"{failures} of {len(jobs)} images failed.")
    return FAILED if failures else DONE


def _restore_file(
    job: Job,
    settings: Settings,
    task: Task,
    regularizers: dict[str, LocalRegularizer],
    task_record: dict[str, Any],
) -> _Done:
    import torch

    from locreg.images import check_writable, hint_at_unused_range, read_image, write_image
    from locreg.records import history_record, restoration_record, sentence
    from locreg.solvers import Status

    sigma, lam = settings.noise_and_lam()
    image = read_image(job.source, settings.white)
    hint = hint_at_unused_range(float(image.pixels.max()))
    if hint is not None and image.sample_type == "uint16" and settings.white is None:
        say(f"{job.source}: {hint}")
    check_writable(job.target, image, task_record.get("factor", 1))
    name = settings.weights_for(image.pixels)
    if name not in regularizers:
        regularizers[name] = settings.load(name)
    try:
        denoising = task_record["task"] == "denoise"
        solver = settings.solver_options(regularizers[name], denoising=denoising)
        with Progress(job.source.name, solver.steps) as on_step:
            given = Given(
                sigma=sigma,
                lam=lam,
                solver=solver,
                on_step=on_step,
                orientation=image.orientation,
            )
            y = torch.from_numpy(image.pixels)[None].to(torch_device(settings.device))
            found = task(y, regularizers[name], given)
    except LocregError as error:
        raise type(error)(f"{job.source}: {error}") from None
    if found.solution.status is Status.FAILED:
        raise LocregError(f"{job.source}: the energy grew without bound; use a smaller lam.")
    if denoising and settings.sigma == "auto" and found.sigma is not None:
        _say_when_hardly_any_noise_was_found(job.source, found.sigma)
    pixels = found.image[0].cpu().numpy()
    factor = pixels.shape[1] // image.pixels.shape[1]
    write_image(job.target, pixels, image.enlarged(factor))
    record = restoration_record(job, name, regularizers[name], found)
    record |= {"white": settings.white, **task_record}
    if settings.json:
        show(json.dumps({**record, "history": history_record(found.solution)}))
    else:
        show(sentence(record))
    return _Done(image.pixels, pixels, found, record)


def _check_turns(image: Sequence[int], mask: Sequence[int], turn: int, mask_turn: int) -> None:
    """Refuse a mask of another orientation than the image, unless its size shows how it is meant.

    What was drawn over a photograph as a viewer shows it would be filled in another place.
    """
    on_its_side = (turn >= 5) != (mask_turn >= 5)
    if on_its_side and image[0] != image[1] and tuple(image) == tuple(mask):
        return
    raise LocregError(
        f"the image and its mask are not turned alike (EXIF orientation {turn} and {mask_turn}): "
        "save both upright, without this tag."
    )


def _say_when_hardly_any_noise_was_found(source: Path, sigma: float) -> None:
    """Noise of JPEG files and of cameras that smooth is not white: the estimate passes it by."""
    if sigma < LEAST_NOISE:
        say(
            f"{source}: hardly any white noise was found (sigma {sigma:.4f}). If you see noise, it "
            "is of another kind, as after JPEG: give --sigma, such as 0.03, or let locreg restore "
            "learn it."
        )


@dataclass(frozen=True)
class _Done:
    """One image before and after, for the report."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    found: Restoration
    record: dict[str, Any]


def _write_page(
    page: Path, done: _Done, settings: Settings, regularizers: dict[str, LocalRegularizer]
) -> None:
    """The page of `locreg.report`; a denoising energy has no scores, so a critic gives them."""
    from locreg.report import write_report
    from locreg.residuals import whiteness

    name = done.record["weights"]
    if regularizers[name].noise_conditioned:
        name = critic_name("auto", done.before)
    if name not in regularizers:
        regularizers[name] = settings.load(name)
    residual = done.found.residual[0].cpu()
    try:
        found = whiteness(residual)
    except LocregError:  # nothing was removed, or the image is tiny
        found = None
    write_report(
        page,
        done.record,
        done.before,
        done.after,
        residual.numpy(),
        found,
        scores_of(done.after, regularizers[name]),
        name,
        regularizers[name].calibration,
    )
