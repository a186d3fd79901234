"""Compare our numbers with the paper's, cell by cell, and check its findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from locreg.evaluation.measurements import Row
from locreg.evaluation.paper import printed
from locreg.evaluation.tables import numbers


def means(
    rows: Sequence[Row], methods: Sequence[str], sigmas: Sequence[float], column: str
) -> NDArray[np.float64]:
    """Means over the images as an array (methods, noise levels); NaN where a value is missing."""
    table = np.full((len(methods), len(sigmas)), np.nan)
    for i, method in enumerate(methods):
        for j, sigma in enumerate(sigmas):
            cells = [
                row for row in rows if row["method"] == method and float(row["sigma"]) == sigma
            ]
            values = numbers(cells, column)
            if len(values) == len(cells) > 0:
                table[i, j] = values.mean()
    return table


def compare_table1(rows: Sequence[Row], methods: Sequence[str]) -> str:
    """Ours (the paper's, the difference), for five critics and five noise levels of the image."""
    ours = means(rows, methods, printed.TABLE1_SIGMAS, "psnr")
    theirs = np.array(printed.TABLE1)
    head = [f"image at {sigma:g}" for sigma in printed.TABLE1_SIGMAS]
    names = [
        f"{noise.low:g}" if noise.one_level else f"[{noise.low:g}, {noise.high:g}]"
        for noise in printed.TRAINING_NOISE
    ]
    lines = _table("trained at", head, names, ours, theirs, digits=2)
    below = int((ours < theirs).sum())
    single = ours[:4]
    spread = single.max(0) - single.min(0)
    # A critic of weaker noise, compared with the critic of the image's noise level.
    gains = [single[0, 2] - single[2, 2], single[1, 2] - single[2, 2],
             single[0, 4] - single[3, 4], single[1, 4] - single[3, 4]]  # fmt: skip
    ahead = ours[4, 3:] - single[:, 3:].max(0)
    findings = [
        f"Cells below the paper's: {below} of {ours.size}.",
        "Finding 1, training on weak noise generalises to stronger noise: on images at 0.2, the "
        "critics trained at 0.05 and 0.1 differ from the critic trained at 0.2 by "
        f"{gains[0]:+.2f} and {gains[1]:+.2f} dB; on images at 0.4, they differ from the critic "
        f"trained at 0.4 by {gains[2]:+.2f} and {gains[3]:+.2f} dB. In every column, the four "
        f"critics trained at one noise level lie within {spread.max():.2f} dB (the paper: 1 dB).",
        "Finding 2, the critic trained on varied noise wins at 0.3 and 0.4: "
        f"{'yes' if (ahead > 0).all() else 'NO'}, by {ahead[0]:+.2f} and {ahead[1]:+.2f} dB over "
        "the best of the others.",
    ]
    return "\n\n".join(["\n".join(lines), *findings])


def compare_table2(
    rows: Sequence[Row], methods: Mapping[str, str], versions: Mapping[str, str]
) -> str:
    """Ours (the paper's, the difference), for PSNR and LPIPS.

    Args:
        rows: rows of `locreg.evaluation.evaluate.Evaluation`.
        methods: our name of each method, by the paper's name.
        versions: version of each method, by our name.
    """
    head = [f"at {sigma:g}" for sigma in printed.TABLE2_SIGMAS]
    unknown = (np.nan,) * len(head)
    parts = []
    for column, table, digits in (
        ("psnr", printed.TABLE2_PSNR, 2),
        ("lpips", printed.TABLE2_LPIPS, 3),
    ):
        ours = means(rows, list(methods.values()), printed.TABLE2_SIGMAS, column)
        theirs = np.array([table.get(name, unknown) for name in methods])
        parts.append("\n".join(_table(column.upper(), head, list(methods), ours, theirs, digits)))
    listed = ", ".join(f"{name}: {versions[method]}" for name, method in methods.items())
    parts.append(
        f"Ours (the paper's, the difference). Versions: {listed}. "
        "The paper ran EPLL and BM3D with settings that are weak for colour images. Here BM3D is "
        "its colour version with the default settings of the package named above, and EPLL uses "
        "colour patches, so the ranking may differ from the paper's."
    )
    return "\n\n".join(parts)


def _table(
    corner: str,
    head: list[str],
    names: list[str],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    digits: int,
) -> list[str]:
    lines = [f"| {corner} | {' | '.join(head)} |", "| --- " * (len(head) + 1) + "|"]
    for name, our_row, their_row in zip(names, ours, theirs, strict=True):
        cells = [_cell(a, b, digits) for a, b in zip(our_row, their_row, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(ours: float, theirs: float, digits: int) -> str:
    if np.isnan(ours):
        return "not measured" if np.isnan(theirs) else f"not measured ({theirs:.2f})"
    if np.isnan(theirs):
        return f"{ours:.{digits}f}"
    return f"{ours:.{digits}f} ({theirs:.2f}, {ours - theirs:+.{digits}f})"
