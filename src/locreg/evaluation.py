"""Methods, images and noise levels: every cell measured once, in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from locreg.errors import LocregError, UsageError
from locreg.evaluation_options import EvaluationOptions
from locreg.images import list_images, read_samples, to_channels, to_unit_range
from locreg.kernels import read_kernel
from locreg.lpips import LEAST_SIDE, Distance, find_weights, load_lpips
from locreg.measurements import Measurements, Row
from locreg.methods import Method, check_method, find_method
from locreg.problems import (
    Photograph,
    Problem,
    deblurring,
    denoising,
    inpainting_at_random,
    upscaling,
)

KEY = ["folder", "task", "setting", "channels", "sigma", "method", "version", "image"]
VALUES = ["lam", "psnr", "ssim", "lpips", "seconds", "megabytes"]
TOO_SMALL = "too small"


@dataclass(frozen=True)
class Cell:
    """One number of the table: a method on an image at a noise level."""

    path: Path
    name: str
    sigma: float
    method: str


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        rows: one line per finished cell, in the order of levels, methods and images.
        failures: cells that failed, as sentences.
        channels: 1 or 3.
        versions: of the methods.
        informed: methods that chose their parameter in view of the clean image.
    """

    rows: list[Row]
    failures: list[str]
    channels: int
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

    Noise comes from a seed that depends on the file's name and the level alone: all methods see the
    same observation. It is not clipped, and what is restored is clipped before it is measured.

    Args:
        options: what to measure.
        csv: one line per cell; lines that are there already are not computed again.
        processes: how many cells are computed at once, each with its share of the cores. Seconds
            are worth comparing within one run.
        on_cells: called with the numbers of cells that are done and of all, after each.

    Raises:
        UsageError: when a method is unknown, not installed, or does not serve the task.
        LocregError: when the folder holds no images, or weights or images cannot be read.
    """
    for name in options.methods:
        check_method(name, options.task)
    methods = {name: find_method(name) for name in options.methods}
    files = _files(options)
    channels = options.channels or _channels(files)
    _check_channels(methods, channels)
    if options.task == "deblur":
        read_kernel(options.degradation.kernel)
    lpips = find_weights(options.lpips)
    if lpips is not None:
        load_lpips(lpips)
    known = Measurements(csv, KEY, VALUES)
    cells = {
        cell: _key(cell, options, channels, methods[cell.method].version)
        for cell in (
            Cell(path, path.relative_to(options.test).as_posix(), sigma, name)
            for sigma in options.sigmas
            for name in options.methods
            for path in files
        )
    }
    # The slowest last would leave cores idle; by image, all methods go on at the same pace.
    waiting = sorted(
        (cell for cell, key in cells.items() if _unfinished(known.find(key), lpips)),
        key=lambda cell: cell.name,
    )
    failures, done = [], len(cells) - len(waiting)
    for cell, found in _measured(waiting, options, channels, lpips, processes):
        if isinstance(found, str):
            failures.append(found)
        else:
            known.add(cells[cell] | found)
        done += 1
        if on_cells is not None:
            on_cells(done, len(cells))
    rows = [row for key in cells.values() if (row := known.find(key)) is not None]
    return Evaluation(
        rows,
        failures,
        channels,
        {name: method.version for name, method in methods.items()},
        tuple(name for name, method in methods.items() if method.informed),
    )


def _key(cell: Cell, options: EvaluationOptions, channels: int, version: str) -> Row:
    return {
        "folder": options.test.resolve().name,
        "task": options.task,
        "setting": options.setting,
        "channels": str(channels),
        "sigma": f"{cell.sigma:g}",
        "method": cell.method,
        "version": version,
        "image": cell.name,
    }


def _unfinished(row: Row | None, lpips: Path | None) -> bool:
    """Whether a line is missing, or was measured without the LPIPS that can be had now."""
    return row is None or (row["lpips"] == "" and lpips is not None)


def _measured(
    cells: list[Cell],
    options: EvaluationOptions,
    channels: int,
    lpips: Path | None,
    processes: int,
) -> Iterator[tuple[Cell, Row | str]]:
    """Cells with their values, or with what failed, as they are finished."""
    if processes == 1:
        for cell in cells:
            yield cell, measure(cell, options, channels, lpips)
        return
    threads = max((os.cpu_count() or 1) // processes, 1)
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_limit_threads,
        initargs=(threads,),
    )
    try:
        waiting = {pool.submit(measure, cell, options, channels, lpips): cell for cell in cells}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BrokenProcessPool:
        raise LocregError(
            "A worker process died, perhaps for want of memory: run the same command again with "
            "fewer --processes; finished cells are kept."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _limit_threads(threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for libraries that are loaded later
    torch.set_num_threads(threads)


def measure(cell: Cell, options: EvaluationOptions, channels: int, lpips: Path | None) -> Row | str:
    """The values of one cell; a sentence, where it failed."""
    try:
        problem = _problem(cell, options, channels)
        method = _find_method(cell.method)
        with _peak_memory() as megabytes:
            begin = time.perf_counter()
            found = method.restore(problem)
            seconds = time.perf_counter() - begin
        image = found.image.float().clamp(0, 1)
        if not torch.isfinite(image).all():
            raise LocregError("the result is not finite.")
        distance = None if lpips is None else _load_lpips(lpips)
        return {
            "lam": "" if found.lam is None else f"{found.lam:.4g}",
            **_quality(image, problem.clean, distance),
            "seconds": f"{seconds:.2f}",
            "megabytes": megabytes(),
        }
    except Exception as error:  # of a peer, whatever it may be: the other cells go on
        reason = (
            str(error) if isinstance(error, LocregError) else f"{type(error).__name__}: {error}"
        )
        return f"{cell.method} on {cell.name} at {cell.sigma:g}: {reason}"


_find_method: Callable[[str], Method] = cache(find_method)
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


def _problem(cell: Cell, options: EvaluationOptions, channels: int) -> Problem:
    pixels = to_unit_range(to_channels(read_samples(cell.path), channels))
    photograph = Photograph(_crop(torch.from_numpy(pixels)[None], options.crop), cell.path.name)
    degradation = options.degradation
    match options.task:
        case "denoise":
            return denoising(photograph, cell.sigma)
        case "deblur":
            return deblurring(photograph, cell.sigma, read_kernel(degradation.kernel))
        case "inpaint":
            return inpainting_at_random(photograph, cell.sigma, degradation.missing)
        case "upscale":
            return upscaling(photograph, cell.sigma, degradation.factor)


def _crop(x: Tensor, size: int | None) -> Tensor:
    """The centre of images; whole where they are smaller."""
    if size is None:
        return x
    top, left = (max(n - size, 0) // 2 for n in x.shape[-2:])
    return x[..., top : top + size, left : left + size].contiguous()


def _files(options: EvaluationOptions) -> list[Path]:
    if not options.names:
        return list_images(options.test)
    files = [options.test / name for name in options.names]
    for file in files:
        if not file.is_file():
            raise LocregError(f"{file} does not exist.")
    return files


def _channels(files: list[Path]) -> int:
    """3 if any of the images is in colour."""
    return 3 if any(read_samples(path).shape[2] >= 3 for path in files) else 1


def _check_channels(methods: dict[str, Method], channels: int) -> None:
    for method in methods.values():
        if channels == 1 and method.channels == 3:
            raise UsageError(
                f"{method.name} is for colour images and these are grey: use weights for grey "
                "images, or --channels 3."
            )


@contextmanager
def _peak_memory() -> Iterator[Callable[[], str]]:
    """The most memory that this process held inside, in MB; where the system tells (Linux)."""
    status = Path("/proc/self/status")
    known = sys.platform == "linux"
    if known:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        except OSError:
            known = False

    def megabytes() -> str:
        if not known:
            return ""
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return f"{int(line.split()[1]) / 1000:.0f}"

    yield megabytes
