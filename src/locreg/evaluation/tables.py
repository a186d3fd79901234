"""Summarise measurements: means, paired differences with confidence intervals, markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locreg.evaluation.measurements import Row

_COVERAGE = 0.95  # coverage of the confidence intervals


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean paired difference to the reference, and its 95% interval (None for a single image)."""

    mean: float
    interval: tuple[float, float] | None
    images: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A method at a noise level.

    Attributes:
        sigma: noise level, as in the rows.
        method: name of the method.
        version: version of the method.
        images: number of finished images.
        psnr, ssim, lpips, seconds, megabytes: means over the finished images; None: not measured.
        difference: PSNR minus that of the reference, over the images that both have finished.
    """

    sigma: str
    method: str
    version: str
    images: int
    psnr: float | None
    ssim: float | None
    lpips: float | None
    seconds: float | None
    megabytes: float | None
    difference: Difference | None


def summarize(rows: Sequence[Row], reference: str) -> list[Summary]:
    """One summary per noise level and method, in the order of the rows.

    The confidence intervals are Student's, over images.

    Args:
        rows: rows of `locreg.evaluation.evaluate.Evaluation`.
        reference: the method that the others are compared with.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["sigma"], row["method"]), []).append(row)
    return [
        Summary(
            sigma=sigma,
            method=method,
            version=lines[0]["version"],
            images=len(lines),
            psnr=_mean(lines, "psnr"),
            ssim=_mean(lines, "ssim"),
            lpips=_mean(lines, "lpips"),
            seconds=_mean(lines, "seconds"),
            megabytes=_mean(lines, "megabytes"),
            difference=None
            if method == reference
            else paired_difference(lines, groups.get((sigma, reference), [])),
        )
        for (sigma, method), lines in groups.items()
    ]


def markdown(summaries: Sequence[Summary], reference: str) -> str:
    """One table per noise level, with the best PSNR, SSIM and LPIPS in bold."""
    sigmas = list(dict.fromkeys(summary.sigma for summary in summaries))
    return "\n".join(
        _table(sigma, [s for s in summaries if s.sigma == sigma], reference) for sigma in sigmas
    )


def _table(sigma: str, summaries: list[Summary], reference: str) -> str:
    lines = [
        f"Noise level {sigma}:",
        "",
        f"| method | images | PSNR | to {reference} | SSIM | LPIPS | seconds | MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    psnr = _column([s.psnr for s in summaries], 2, best=max)
    ssim = _column([s.ssim for s in summaries], 3, best=max)
    lpips = _column([s.lpips for s in summaries], 3, best=min)
    seconds = _column([s.seconds for s in summaries], 2)
    memory = _column([s.megabytes for s in summaries], 0)
    for index, s in enumerate(summaries):
        cells = [
            s.method,
            str(s.images),
            psnr[index],
            in_words(s.difference),
            ssim[index],
            lpips[index],
            seconds[index],
            memory[index],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _column(
    values: list[float | None], digits: int, best: Callable[[list[float]], float] | None = None
) -> list[str]:
    """The numbers as text, with bold for those that equal the best one after rounding."""
    texts = ["" if value is None else f"{value:.{digits}f}" for value in values]
    known = [value for value in values if value is not None]
    if best is None or len(known) < 2:
        return texts
    champion = f"{best(known):.{digits}f}"
    return [f"**{text}**" if text == champion else text for text in texts]


def in_words(difference: Difference | None) -> str:
    """A mean difference and its interval as text; empty for None."""
    if difference is None:
        return ""
    if difference.interval is None:
        return f"{difference.mean:+.2f}"
    low, high = difference.interval
    return f"{difference.mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def _mean(rows: list[Row], column: str) -> float | None:
    values = numbers(rows, column)
    return float(np.mean(values)) if len(values) else None


def numbers(rows: Sequence[Row], column: str) -> NDArray[np.float64]:
    """The values of a column, without those that are not numbers."""
    values = []
    for row in rows:
        try:
            values.append(float(row[column]))
        except ValueError:
            continue
    return np.array(values)


def paired_difference(rows: Sequence[Row], reference: Sequence[Row]) -> Difference | None:
    """Mean gain in PSNR over the reference, on the images of both; None if there are none."""
    others = {row["image"]: float(row["psnr"]) for row in reference}
    gains = np.array(
        [float(row["psnr"]) - others[row["image"]] for row in rows if row["image"] in others]
    )
    gains = gains[np.isfinite(gains)]
    if not len(gains):
        return None
    return Difference(
        mean=float(gains.mean()),
        interval=student_interval(gains) if len(gains) > 1 else None,
        images=len(gains),
    )


def student_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% confidence interval of the mean of at least two independent normal values."""
    from scipy.stats import t

    count, mean = len(values), float(values.mean())
    half = float(t.ppf((1 + _COVERAGE) / 2, count - 1) * values.std(ddof=1) / count**0.5)
    return mean - half, mean + half
