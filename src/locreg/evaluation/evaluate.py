"""Measure every method on every image at every noise level, each cell once, in processes."""

from __future__ import annotations

import multiprocessing
import os
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locreg.degradation.kernels import read_kernel
from locreg.errors import LocregError, UsageError
from locreg.evaluation.lpips import LEAST_SIDE, Distance, find_weights, load_lpips
from locreg.evaluation.measurements import Measurements, Row
from locreg.evaluation.methods import Method, check_method, find_method, label
from locreg.evaluation.options import EvaluationOptions, TaskName, TaskOptions
from locreg.evaluation.simulation import (
    Photograph,
    Problem,
    deblurring,
    denoising,
    inpainting_at_random,
    upscaling,
)
from locreg.images.files import make_folder
from locreg.images.image_file import read_pixels
from locreg.images.patches import centre
from locreg.images.sources import find_channels, list_images

KEY = ["folder", "task", "setting", "channels", "sigma", "method", "version", "image", "checksum"]
VALUES = ["lam", "psnr", "ssim", "lpips", "seconds", "megabytes"]
TOO_SMALL = "too small"


@dataclass(frozen=True)
class Cell:
    """One cell of the table: a method on an image at a noise level.

    Attributes:
        path: path of the image.
        sigma: noise level.
        method: name of the method, as it was asked for.
        version: version of the method.
    """

    path: Path
    sigma: float
    method: str
    version: str


@dataclass(frozen=True)
class Evaluation:
    """The measurements of an evaluation.

    Attributes:
        rows: one row per finished cell, ordered by noise level, method and image.
        failures: one sentence per cell that failed.
        channels: number of channels of the images, 1 or 3.
        setting: the constant of the task, and the crop.
        versions: version of each method, by its name in the rows.
        informed: methods that chose their parameter by looking at the clean image.
    """

    rows: list[Row]
    failures: list[str]
    channels: int
    setting: str
    versions: dict[str, str]
    informed: tuple[str, ...]


def evaluate(
    options: EvaluationOptions,
    csv: Path,
    *,
    processes: int = 1,
    on_cells: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure every cell that is not in the file yet.

    The noise comes from a seed that depends only on the file's name and the noise level, so all
    methods see the same observation. Observations are not clipped; restored images are clipped to
    [0, 1] before they are measured. Cells are recognised by the content of image, kernel and
    weights and by versions, not by paths.

    Args:
        options: what to measure.
        csv: file with one row per cell. Rows that it already has are not measured again. Its folder
            is made when all options have been checked.
        processes: number of processes, which share the threads. They import the program that calls
            this function, so it must keep its own work under ``if __name__ == "__main__"``.
        on_cells: called after each cell, with the number of finished cells and of all cells.

    Raises:
        UsageError: when a method is unknown, is not installed, or does not support the task.
        LocregError: when the folder holds no images, or when weights or images cannot be read.
    """
    for name in options.methods:
        check_method(name, options.task)
    methods = {name: find_method(name, options.task) for name in options.methods}
    if len({method.name for method in methods.values()}) < len(methods):
        raise UsageError("Two methods have the same name: rename one of the files.")
    files = _files(options)
    channels = options.channels or (3 if 3 in find_channels(files) else 1)
    _check_channels(methods, channels)
    setting = _setting(options)
    lpips = find_weights(options.lpips)
    if lpips is not None:
        _load_lpips(lpips)
    make_folder(csv.parent)
    known = Measurements(csv, KEY, VALUES)
    checksums = {
        path: zlib.crc32(_clean(path, options, channels).numpy().tobytes()) for path in files
    }
    cells = {
        Cell(path, sigma, name, method.version): {
            "folder": options.test.resolve().name,
            "task": options.task,
            "setting": setting,
            "channels": str(channels),
            "sigma": f"{sigma:g}",
            "method": method.name,
            "version": method.version,
            "image": path.relative_to(options.test).as_posix(),
            "checksum": f"{checksums[path]:08x}",
        }
        for sigma in options.sigmas
        for name, method in methods.items()
        for path in files
    }
    # Sorted by image, so that all methods advance at the same pace.
    waiting = sorted(
        (cell for cell, key in cells.items() if _unfinished(known.find(key), lpips)),
        key=lambda cell: cell.path,
    )
    failures, done = [], len(cells) - len(waiting)
    for cell, outcome in _measured(waiting, options, channels, lpips, processes):
        if isinstance(outcome, str):
            failures.append(outcome)
        else:
            known.add(cells[cell] | outcome)
        done += 1
        if on_cells is not None:
            on_cells(done, len(cells))
    return Evaluation(
        [row for key in cells.values() if (row := known.find(key)) is not None],
        failures,
        channels,
        setting,
        {method.name: method.version for method in methods.values()},
        tuple(method.name for method in methods.values() if method.informed),
    )


def _setting(options: EvaluationOptions) -> str:
    """The constant of the task and the crop, as text for the table."""
    words = []
    match options.degradation.of_task(options.task):
        case TaskOptions(kernel=str(text)) as degradation:
            words.append(_kernel_name(text, _kernel(degradation)))
        case TaskOptions(missing=float(missing)):
            words.append(f"{missing:g} missing")
        case TaskOptions(factor=int(factor)):
            words.append(f"x{factor}")
    if options.crop is not None:
        words.append(f"centre {options.crop}x{options.crop}")
    return ", ".join(words)


def _kernel_name(text: str, kernel: NDArray[np.float32]) -> str:
    """The kernel as it was given; for a file, its name and a checksum of the kernel."""
    if not Path(text).is_file():
        return text
    return f"{Path(text).name} {zlib.crc32(kernel.tobytes()):08x}"


def _kernel(degradation: TaskOptions) -> NDArray[np.float32]:
    assert degradation.kernel is not None
    return read_kernel(degradation.kernel, normalize=degradation.normalize_kernel)


def _unfinished(row: Row | None, lpips: Path | None) -> bool:
    """Whether a row is missing, or lacks LPIPS although its weights are available now."""
    return row is None or (row["lpips"] == "" and lpips is not None)


def _measured(
    cells: list[Cell],
    options: EvaluationOptions,
    channels: int,
    lpips: Path | None,
    processes: int,
) -> Iterator[tuple[Cell, Row | str]]:
    """Yield each cell when it is finished, with its values or a sentence that says what failed."""
    if processes == 1:
        for cell in cells:
            yield cell, measure(cell, options, channels, lpips)
        return
    threads = max(torch.get_num_threads() // processes, 1)
    with _environment("OMP_NUM_THREADS", str(threads)):  # the processes inherit this variable
        pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
        try:
            waiting = {pool.submit(measure, cell, options, channels, lpips): cell for cell in cells}
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BrokenProcessPool:
            raise LocregError(
                "A worker process died, perhaps because memory ran out: run the same command again "
                "with fewer processes; finished cells are kept. (A program that evaluates with "
                'several processes must keep its own work under if __name__ == "__main__".)'
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def measure(cell: Cell, options: EvaluationOptions, channels: int, lpips: Path | None) -> Row | str:
    """The values of one cell, or a sentence that says why it failed."""
    try:
        problem = _problem(cell, options, channels)
        method = _warmed_up(cell.method, options.task, channels)
        if method.version != cell.version:
            raise LocregError("its file has changed since the evaluation began.")
        with _growth() as megabytes:
            begin = time.perf_counter()
            restored = method.restore(problem)
            elapsed = time.perf_counter() - begin
            seconds = elapsed if restored.seconds is None else restored.seconds
        if not torch.isfinite(restored.image).all():
            raise LocregError("the result is not finite.")
        image = restored.image.float().clamp(0, 1)
        distance = None if lpips is None else _load_lpips(lpips)
        return {
            "lam": "" if restored.lam is None else f"{restored.lam:.4g}",
            **_quality(image, problem.clean, distance),
            "seconds": f"{seconds:.2f}",
            "megabytes": megabytes(),
        }
    except Exception as error:  # a peer may raise anything; the other cells must go on
        reason = (
            str(error) if isinstance(error, LocregError) else f"{type(error).__name__}: {error}"
        )
        return f"{label(cell.method)} on {cell.path.name} at {cell.sigma:g}: {reason}"


def _warmed_up(name: str, task: TaskName, channels: int) -> Method:
    """A warmed-up method, so that loading libraries is not timed."""
    method = find_method(name, task)
    if (name, method.version, task, channels) not in _warm:
        grey = torch.full((1, channels, 32, 32), 0.5)
        usual = EvaluationOptions(test=Path(), task=task, sigmas=(0.1,), methods=(name,))
        method.restore(_degrade(Photograph(grey, ""), usual, 0.1))
        _warm.add((name, method.version, task, channels))
    return method


_warm: set[tuple[str, str, TaskName, int]] = set()
_load_lpips: Callable[[Path], Distance] = cache(load_lpips)


def _quality(image: Tensor, clean: Tensor, distance: Distance | None) -> Row:
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    large = min(image.shape[-2:]) >= LEAST_SIDE
    psnr = peak_signal_noise_ratio(image.double(), clean.double(), data_range=1.0)
    ssim = structural_similarity_index_measure(image, clean, data_range=1.0)
    return {
        "psnr": f"{float(psnr):.4f}",
        "ssim": f"{float(ssim):.5f}",
        "lpips": ""
        if distance is None
        else f"{distance(image, clean):.5f}"
        if large
        else TOO_SMALL,
    }


def _clean(path: Path, options: EvaluationOptions, channels: int) -> Tensor:
    """An image (1, C, H, W) of the folder in [0, 1], or its centre crop."""
    pixels = torch.from_numpy(read_pixels(path, channels))[None]
    return pixels if options.crop is None else centre(pixels, options.crop).contiguous()


def _problem(cell: Cell, options: EvaluationOptions, channels: int) -> Problem:
    photograph = Photograph(_clean(cell.path, options, channels), cell.path.name)
    return _degrade(photograph, options, cell.sigma)


def _degrade(photograph: Photograph, options: EvaluationOptions, sigma: float) -> Problem:
    match options.degradation.of_task(options.task):
        case TaskOptions(kernel=str()) as degradation:
            return deblurring(photograph, sigma, _kernel(degradation))
        case TaskOptions(missing=float(missing)):
            return inpainting_at_random(photograph, sigma, missing)
        case TaskOptions(factor=int(factor)):
            return upscaling(photograph, sigma, factor)
        case _:
            return denoising(photograph, sigma)


def _files(options: EvaluationOptions) -> list[Path]:
    if not options.names:
        return list_images(options.test)
    files = [options.test / name for name in options.names]
    for file in files:
        if not file.is_file():
            raise LocregError(f"{file} does not exist.")
    return files


def _check_channels(methods: dict[str, Method], channels: int) -> None:
    for method in methods.values():
        if channels == 1 and method.channels == 3:
            raise UsageError(
                f"{method.name} is for colour images, but these are grey: use weights for grey "
                "images, or --channels 3."
            )


@contextmanager
def _growth() -> Iterator[Callable[[], str]]:
    """Peak growth of this process's memory in the block, in MB as text; empty except on Linux."""
    before = _resident("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    except OSError:
        before = None

    def megabytes() -> str:
        peak = _resident("VmHWM")
        return "" if before is None or peak is None else f"{(peak - before) / 1000:.0f}"

    yield megabytes


def _resident(name: str) -> int | None:
    """An entry of /proc/self/status in kB; None where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), None)
