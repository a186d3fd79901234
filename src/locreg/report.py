"""A page that shows whether to trust a restoration: pictures, the residual, the score map."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.files import write_atomically
from locreg.pictures import (
    picture_of_correlation,
    picture_of_images,
    picture_of_residual,
    picture_of_scores,
)
from locreg.records import sentence
from locreg.residuals import Whiteness
from locreg.weights import Calibration

_SIGNIFICANT = 0.01  # p-values below it speak against white noise
_NEARLY_WHITE = 0.1  # a largest correlation; in a large photograph tiny ones are significant

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ width: 100%; }} h2 {{ margin-top: 2.5rem; }} td {{ padding: 0 1rem 0 0; }}
</style></head><body>
<h1>{title}</h1>
<p>{done}</p>
{sections}
</body></html>
"""
_SECTION = '<h2>{title}</h2>\n<p>{text}</p>\n<img alt="{title}" src="data:image/png;base64,{png}">'


def write_report(
    path: Path,
    record: dict[str, Any],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    residual: NDArray[np.float32],
    found: Whiteness | None,
    scores: NDArray[np.float32],
    critic: str,
    calibration: Calibration | None,
) -> None:
    """Write one HTML file that holds its pictures.

    Args:
        path: the page.
        record: what was done, from `locreg.records`.
        before, after: images (C, H, W) in [0, 1].
        residual: observation minus prediction (C, h, w), NaN where nothing was observed.
        found: the whiteness of the residual; None where too little was removed to tell.
        scores: a critic's score map of the result.
        critic: the name of its weights.
        calibration: of this critic.

    Raises:
        LocregError: when the page cannot be written.
    """
    mean = float(scores.mean(dtype=np.float64))
    sections = [
        _section(
            "Before and after",
            "Left what was given, right what was made of it.",
            picture_of_images(before, after),
        ),
        *_residual_sections(residual, found, record["sigma"], white=not record["learned"]),
        _section(
            "Where the result still looks damaged",
            f"The score that {critic} gives to every patch of the result; bright is damaged. "
            f"{_score_sentence(mean, calibration)}",
            picture_of_scores(after, scores, calibration, f"mean score {mean:.4f}"),
        ),
    ]
    page = _PAGE.format(
        title=html.escape(Path(record["output"]).name),
        done=html.escape(f"{record['task']}, {sentence(record)}, weights {record['weights']}."),
        sections="\n".join(sections),
    )
    write_atomically(path, page.encode(errors="replace"))  # of a name that is no UTF-8


def _residual_sections(
    residual: NDArray[np.float32], found: Whiteness | None, sigma: float | None, *, white: bool
) -> list[str]:
    if found is None:
        return ["<h2>What was removed</h2>\n<p>Too little to be looked at.</p>"]
    expected = (
        f"For pure noise all squares but the middle one are white. {whiteness_sentence(found)}"
        if white
        else "These weights remove damage with a pattern of its own, which shows here; it says "
        "nothing of lost detail."
    )
    return [
        _section(
            "What was removed",
            "The difference between what was given and what the result would give if it were "
            "photographed again. It should look like noise: where you can make out the scene, "
            f"detail was lost. {_deviation_sentence(found, sigma if white else None)}",
            picture_of_residual(residual, found.deviation),
        ),
        _section(
            "Is the removed part noise?",
            f"How much a pixel of the difference above has to do with its neighbours. {expected}",
            picture_of_correlation(found.correlation.numpy()),
        ),
    ]


def whiteness_sentence(found: Whiteness) -> str:
    """The outcome of the whiteness test for a person."""
    size = f"neighbours are correlated by at most {100 * found.largest:.1f}%"
    chance = f"white noise shows as much with probability {found.p_value:.2g}"
    if found.p_value > _SIGNIFICANT:
        return f"It is white: {size}; {chance}."
    if found.largest < _NEARLY_WHITE:
        return f"It is nearly white: {size}; {chance}."
    return (
        f"It is not white: neighbours are correlated by up to {100 * found.largest:.1f}%; "
        f"{chance}. Either the noise itself has a structure (as after JPEG or demosaicing), or "
        "parts of the scene were removed."
    )


def _deviation_sentence(found: Whiteness, sigma: float | None) -> str:
    size = f"Its standard deviation is {found.deviation:.4f}"
    if not sigma:
        return f"{size}."
    share = found.deviation / sigma
    verdict = "as it should be"
    if share > 1.1:
        verdict = "more than noise was removed: try a smaller lam"
    elif share < 0.8:
        verdict = "some noise may be left: try a larger lam"
    return f"{size}, the noise level {sigma:.4f}: {verdict}."


def _score_sentence(mean: float, calibration: Calibration | None) -> str:
    if calibration is None:
        return f"Its mean is {mean:.4f}; the weights do not say what is usual."
    clean, degraded = calibration.clean_images, calibration.degraded_images
    return (
        f"Its mean is {mean:.4f}; 90% of clean images have {clean[1]:.4f} to {clean[-2]:.4f}, "
        f"of degraded ones {degraded[1]:.4f} to {degraded[-2]:.4f}."
    )


def _section(title: str, text: str, png: bytes) -> str:
    return _SECTION.format(
        title=html.escape(title), text=html.escape(text), png=base64.b64encode(png).decode()
    )
