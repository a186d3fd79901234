"""How fast locreg is on this machine, beside the processor's rate, PyTorch and whole commands.

    python benchmarks/speed.py OUT.csv [--parts gradient command size] [--largest 64]
    python benchmarks/speed.py OUT.csv --parts quality --photographs FOLDER --picture OUT.png
        [--peer "NAME=COMMAND {input} {output} {sigma}" ...]

Commands are measured in turns. Seconds are medians, PSNR is a mean.

    gradient   the rate of matrix products in the same process, as the limit of what convolutions
               can reach; value and gradient of each packaged energy beside it, and by plain
               autograd if PyTorch is installed
    command    whole commands as processes
    size       time and memory from 0.1 megapixels on
    quality    PSNR and seconds of whole commands on every eighth photograph of a folder, with
               white noise of level 0.1 in 8-bit files: locreg in several settings, bm3d if it is
               installed, and the commands that are given as peers
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata, util
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.engine.session import usable_cores
from locreg.images.sources import list_images
from locreg.regularizer.denoising_energy import load_energy
from locreg.regularizer.stored_critic import StoredCritic

ENERGIES = ("denoise-rgb", "denoise-gray")
SIZES = ((321, 481), (2048, 2048))  # height and width
MATRIX = 2048
PACKAGES = ("numpy", "onnxruntime", "onnx", "torch", "bm3d")
LEVEL = 0.1


def seconds(do: Callable[[], Any]) -> float:
    """The time that something takes."""
    begin = time.perf_counter()
    do()
    return time.perf_counter() - begin


def in_turns(turns: int, *things: Callable[[], Any]) -> list[float]:
    """The median time of each thing; all are done once before."""
    for do in things:
        do()

    def rested(do: Callable[[], Any]) -> float:
        time.sleep(0.3)  # the threads of matrix products keep the cores busy for a while
        return seconds(do)

    times = [[rested(do) for do in things] for _ in range(turns)]
    return [median(column) for column in zip(*times, strict=True)]


def operations(scales: tuple[StoredCritic, ...], height: int, width: int) -> float:
    """Floating point operations of value and gradient: twice those of the convolutions."""
    total = 0.0
    for k, critic in enumerate(scales):
        inputs = critic.in_channels
        for layer in critic.layers:
            total += 2 * layer.kernel**2 * inputs * layer.channels / 4**k
            inputs = layer.outputs
    return 2 * total * height * width


def machine() -> dict[str, str]:
    """The processor, its vector instructions, and versions."""
    facts = {"processor": platform.processor() or platform.machine(), "cores": str(usable_cores())}
    information = Path("/proc/cpuinfo")
    if information.exists():
        text = information.read_text()
        names = [line for line in text.splitlines() if line.startswith("model name")]
        facts["processor"] = names[0].partition(":")[2].strip() if names else ""
        known = ("avx2", "avx512f", "avx512_bf16", "amx_tile")
        facts["vectors"] = " ".join(name for name in known if f" {name}" in text)
    for name in PACKAGES:
        if util.find_spec(name) is not None:
            facts[name] = metadata.version(name)
    return facts


def gradient_rows(turns: int) -> list[dict[str, str]]:
    """Value and gradient of each energy beside matrix products."""
    rows = []
    matrix = np.random.default_rng(0).random((MATRIX, MATRIX), dtype=np.float32)
    for name in ENERGIES:
        energy = load_energy(name)
        for height, width in SIZES:
            x = np.random.default_rng(1).random(
                (1, energy.in_channels, height, width), dtype=np.float32
            )
            large = height * width > 1_000_000
            things: list[Callable[[], Any]] = [
                partial(np.matmul, matrix, matrix),
                partial(energy.array_gradient, x, LEVEL),
            ]
            if util.find_spec("torch") is not None and not large:  # its memory has no bound
                things.append(by_autograd(name, x))
            product, own, *others = in_turns(2 if large else turns, *things)
            rate = 2 * MATRIX**3 / product
            work = operations(energy.scales, height, width)
            rows.append(
                {
                    "part": "gradient",
                    "what": f"{name} {width}x{height}",
                    "seconds": f"{own:.3f}",
                    "matrix_products_gflops": f"{rate / 1e9:.0f}",
                    "gflops": f"{work / own / 1e9:.0f}",
                    "share_of_rate": f"{work / own / rate:.2f}",
                    "autograd_seconds": f"{others[0]:.3f}" if others else "",
                }
            )
            print(rows[-1], flush=True)
    return rows


def by_autograd(name: str, x: NDArray[np.float32]) -> Callable[[], Any]:
    """Value and gradient by PyTorch's autograd, the whole image at once."""
    import torch

    from locreg.regularizer.local_regularizer import load

    critics = [part.at(LEVEL).requires_grad_(False) for part in load(name).critic.parts()]

    def run() -> Any:
        y = torch.from_numpy(x).requires_grad_()
        for critic in critics:
            torch.autograd.backward(critic(y).sum())
        return y.grad

    return run


def process(*command: object) -> tuple[float, float]:
    """Seconds and peak megabytes of a command as a process of its own."""
    begin = time.perf_counter()
    done = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(done.pid, 0)
    if status != 0:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def photograph(folder: Path, megapixels: float) -> Path:
    """A PNG file with a smooth scene and noise, 3 wide to 2 high."""
    from PIL import Image

    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    width = round(1.5 * height)
    rows, columns = np.linspace(0, 9, height)[:, None], np.linspace(0, 13, width)[None]
    random = np.random.default_rng(0)
    planes = [
        127 + 90 * np.sin(rows + phase) * np.cos(columns) + random.normal(0, 20, (height, width))
        for phase in (0, 1, 2)
    ]
    pixels = np.stack([plane.clip(0, 255).astype(np.uint8) for plane in planes], axis=-1)
    path = folder / f"{megapixels:g}.png"
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


def command_rows(turns: int, folder: Path) -> list[dict[str, str]]:
    """Whole commands in turns, beside the time that PyTorch takes to load."""
    small = photograph(folder, 321 * 481 / 1e6)
    locreg = (sys.executable, "-m", "locreg")
    commands: dict[str, tuple[object, ...]] = {
        "locreg denoise, 481x321": (*locreg, "denoise", small, "-o", folder / "out.png"),
        "locreg --help": (*locreg, "--help"),
        "python -c pass": (sys.executable, "-c", "pass"),
    }
    if util.find_spec("torch") is not None:
        commands["import torch"] = (sys.executable, "-c", "import torch")
    measured = [[process(*command) for command in commands.values()] for _ in range(turns + 1)]
    rows = []
    for name, column in zip(commands, zip(*measured[1:], strict=True), strict=True):
        times, memory = zip(*column, strict=True)
        rows.append(
            {
                "part": "command",
                "what": name,
                "seconds": f"{median(times):.2f}",
                "megabytes": f"{median(memory):.0f}",
            }
        )
        print(rows[-1], flush=True)
    return rows


def size_rows(largest: float, folder: Path) -> list[dict[str, str]]:
    """Time and memory of the command from 0.1 megapixels on."""
    rows = []
    for megapixels in (0.1, 0.4, 1.5, 6, 12, 24, 64):
        if megapixels > largest:
            break
        path = photograph(folder, megapixels)
        command = (sys.executable, "-m", "locreg", "denoise", path, "-o", folder / "out.png")
        taken, memory = process(*command)
        rows.append(
            {
                "part": "size",
                "what": f"locreg denoise, {megapixels:g} megapixels",
                "seconds": f"{taken:.1f}",
                "megabytes": f"{memory:.0f}",
            }
        )
        print(rows[-1], flush=True)
    return rows


def denoisers(peers: list[str]) -> dict[str, str]:
    """Commands that denoise a file, by name."""
    locreg = f"{sys.executable} -m locreg denoise {{input}} -o {{output}}"
    known = f"{locreg} --noise white --sigma {{sigma}}"
    commands = {"level estimated": locreg, "level given": known, "3 steps": f"{known} --steps 3"}
    commands["ensemble"] = f"{known} --ensemble"
    if util.find_spec("torch") is not None:
        commands |= {name: f"{known} --weights {name}" for name in ("ridge-rgb", "alr-rgb")}
    commands = {f"locreg, {name}": command for name, command in commands.items()}
    if util.find_spec("bm3d") is not None:
        script = Path(__file__).with_name("denoise_by_bm3d.py")
        commands["bm3d"] = f"{sys.executable} {script} {{input}} {{output}} {{sigma}}"
    return commands | dict(peer.split("=", 1) for peer in peers)


def quality_rows(photographs: Path, peers: list[str], folder: Path) -> list[dict[str, str]]:
    """Mean PSNR and seconds of whole commands on photographs with white noise."""
    from PIL import Image

    noisy, result = folder / "noisy.png", folder / "result.png"
    measured: dict[str, list[tuple[float, float]]] = {}
    for number, path in enumerate(list_images(photographs)[::8]):
        clean = np.asarray(Image.open(path).convert("RGB")) / 255
        noise = np.random.default_rng(number).normal(0, LEVEL, clean.shape)
        Image.fromarray(np.rint(255 * (clean + noise).clip(0, 1)).astype(np.uint8)).save(noisy)
        for name, command in denoisers(peers).items():
            words = shlex.split(command.format(input=noisy, output=result, sigma=LEVEL))
            taken, _ = process(*words)
            error = np.mean((np.asarray(Image.open(result)) / 255 - clean) ** 2)
            measured.setdefault(name, []).append((taken, -10 * math.log10(error)))
            result.unlink()
    rows = []
    for name, values in measured.items():
        times, qualities = zip(*values, strict=True)
        rows.append(
            {
                "part": "quality",
                "what": name,
                "seconds": f"{median(times):.2f}",
                "psnr": f"{sum(qualities) / len(qualities):.2f}",
                "images": str(len(values)),
            }
        )
        print(rows[-1], flush=True)
    return rows


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw PSNR against seconds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    points = {row["what"]: (float(row["seconds"]), float(row["psnr"])) for row in rows}
    for name, (x, y) in points.items():
        axes.plot(x, y, "o", color="tab:blue" if name.startswith("locreg") else "tab:orange")
        others = [point for other, point in points.items() if other != name]
        # Of two neighbours, one name is above and one below, or they would cover each other.
        nearest = min(others, key=lambda point: abs(math.log(point[0] / x)), default=(x, y))
        place = (0, 8 if y > nearest[1] else -16)
        axes.annotate(name, (x, y), place, textcoords="offset points", fontsize=9, ha="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.2, y=0.15)
    axes.set_xlabel("seconds, from the command to the file")
    axes.set_ylabel("PSNR in dB")
    axes.set_title(f"White noise of level {LEVEL}, mean of {rows[0]['images']} photographs")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure the parts that were asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", default=["gradient", "command", "size"])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--largest", type=float, default=12, help="megapixels")
    parser.add_argument("--photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--picture", type=Path, help="file for the picture of PSNR and seconds")
    parser.add_argument("--peer", action="append", default=[], help="NAME=COMMAND")
    arguments = parser.parse_args()
    if "quality" in arguments.parts and arguments.photographs is None:
        parser.error("--parts quality needs --photographs FOLDER")
    if not all("=" in peer for peer in arguments.peer):
        parser.error('--peer must be "NAME=COMMAND {input} {output} {sigma}"')
    print(facts := machine(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        # Commands come first: a process counts the memory of the one that started it.
        if "command" in arguments.parts:
            rows += command_rows(arguments.turns, Path(name))
        if "size" in arguments.parts:
            rows += size_rows(arguments.largest, Path(name))
        if "quality" in arguments.parts:
            quality = quality_rows(arguments.photographs, arguments.peer, Path(name))
            if arguments.picture is not None:
                draw(quality, arguments.picture)
            rows += quality
        if "gradient" in arguments.parts:
            rows += gradient_rows(arguments.turns)
    text = "; ".join(f"{key} {value}" for key, value in facts.items())
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*fields, "machine"], restval="")
        writer.writeheader()
        writer.writerows({**row, "machine": text} for row in rows)


if __name__ == "__main__":
    main()
