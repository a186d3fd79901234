"""An HTML page that shows whether to trust a restoration: images, residual and score map."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.arrays import Array
from locreg.errors import LocregError
from locreg.images.files import write_atomically
from locreg.images.samples import is_grey
from locreg.regularizer.packaged import packaged_critic
from locreg.regularizer.scores import scores_of
from locreg.regularizer.stored_weights import Calibration, read_weights
from locreg.report.pictures import (
    picture_of_correlation,
    picture_of_details,
    picture_of_images,
    picture_of_residual,
    picture_of_scores,
)
from locreg.report.records import sentence
from locreg.report.residuals import Whiteness, whiteness
from locreg.restoration.restore_image_file import RestoredFile

_SIGNIFICANT = 0.01  # p-value up to which the residual is not called white

# Correlations below this count as nearly white, since in a large photograph tiny correlations are
# significant.
_NEARLY_WHITE = 0.1

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ width: 100%; }} img.exact {{ width: auto; }} h2 {{ margin-top: 2.5rem; }}
td {{ padding: 0 1rem 0 0; }}
</style></head><body>
<h1>{title}</h1>
<p>{done}</p>
{sections}
</body></html>
"""

_SECTION = (
    "<h2>{title}</h2>\n<p>{text}</p>\n"
    '<img alt="{title}" class="{style}" src="data:image/png;base64,{png}">'
)


def write_restoration_page(path: Path, record: dict[str, Any], file: RestoredFile) -> None:
    """Write the page as one HTML file, with its pictures inside.

    Args:
        path: the page.
        record: what was done, from `locreg.report.records`.
        file: the restored file. The critic that scores the result is that of the restoration or,
            after a denoising energy, which has no scores, a packaged critic.

    Raises:
        LocregError: when the page cannot be written.
    """
    shown = slice(None) if file.before.colour else slice(1)  # the first of measured channels
    before, after = file.before.pixels[shown], file.after[shown]
    residual = file.restoration.residual[0, shown]
    critic = file.weights
    if file.regularizer.noise_conditioned:
        critic = packaged_critic(grey=is_grey(before))
    weights = read_weights(critic)
    calibration, scores = weights.calibration, scores_of(after, weights)
    mean = float(scores.mean(dtype=np.float64))
    sections = [
        _section(
            "Before and after", "Left: input. Right: result.", picture_of_images(before, after)
        ),
        *_detail_sections(before, after),
        *_residual_sections(residual, file.restoration.sigma, white=not record["learned"]),
        _section(
            "Where the result still looks damaged",
            f"The critic {critic} scores every patch of the result: the brighter, the more it "
            f"looks damaged. {_score_sentence(mean, calibration)}",
            picture_of_scores(after, scores, calibration, f"mean score {mean:.4f}"),
        ),
    ]
    page = _PAGE.format(
        title=html.escape(Path(record["output"]).name),
        done=html.escape(
            f"{record['task']}, {sentence(record)}, weights {record['weights']}.{_part(file)}"
        ),
        sections="\n".join(sections),
    )
    write_atomically(path, page.encode(errors="replace"))  # file names may be invalid UTF-8


def _part(file: RestoredFile) -> str:
    """Which part of a file the page shows, if not all of it."""
    parts = [f"the first of {file.planes} planes"] * (file.planes > 1)
    channels = len(file.before.pixels)
    parts += [f"the first of {channels} channels"] * (channels > 1 and not file.before.colour)
    return f" Shown: {', '.join(parts)}." if parts else ""


def _detail_sections(before: NDArray[np.float32], after: NDArray[np.float32]) -> list[str]:
    """Details of an image whose size is kept; nothing if it changed."""
    if before.shape != after.shape:
        return []
    deviation = float((before - after).std())
    return [
        _section(
            "Pixel by pixel",
            "The places with the most and the least structure, not enlarged. Left: input. Middle: "
            "result. Right: what was removed, with three standard deviations as black and white.",
            picture_of_details(before, after, deviation),
            "exact",
        )
    ]


def _residual_sections(residual: Array, sigma: float | None, *, white: bool) -> list[str]:
    try:
        test = whiteness(residual)
    except LocregError:  # nothing was removed, or the image is tiny
        return ["<h2>What was removed</h2>\n<p>Too little was removed to show.</p>"]
    expected = (
        f"For pure noise, every square but the middle one is white. {whiteness_sentence(test)}"
        if white
        else "These weights remove damage that has a pattern of its own. That pattern shows here, "
        "and does not mean that detail was lost."
    )
    return [
        _section(
            "What was removed",
            "The difference between the input and the result. (After blur, missing pixels or "
            "upscaling, the result is first degraded again in the same way.) It should look like "
            "noise: where you can make out the scene, detail was lost. "
            f"{_deviation_sentence(test, sigma if white else None)}",
            picture_of_residual(residual, test.deviation),
        ),
        _section(
            "Is the removed part noise?",
            "How strongly the pixels of the difference above are correlated with their "
            f"neighbours. {expected}",
            picture_of_correlation(test.correlation),
        ),
    ]


def whiteness_sentence(test: Whiteness) -> str:
    """The outcome of the whiteness test, for a person."""
    size = f"neighbours are correlated by at most {100 * test.largest:.1f}%"
    chance = f"pure white noise shows this much with probability {test.p_value:.2g}"
    if test.p_value > _SIGNIFICANT:
        return f"It is white: {size}; {chance}."
    if test.largest < _NEARLY_WHITE:
        return f"It is nearly white: {size}; {chance}."
    return (
        f"It is not white: neighbours are correlated by up to {100 * test.largest:.1f}%; "
        f"{chance}. Either the noise itself has a structure (as after JPEG or demosaicing), or "
        "parts of the scene were removed."
    )


def _deviation_sentence(test: Whiteness, sigma: float | None) -> str:
    size = f"Its standard deviation is {test.deviation:.4f}"
    if not sigma:
        return f"{size}."
    share = test.deviation / sigma
    verdict = "as it should be"
    if share > 1.1:
        verdict = "more than noise was removed, so try a smaller lam"
    elif share < 0.8:
        verdict = "some noise may be left, so try a larger lam"
    return f"{size} at the noise level {sigma:.4f}: {verdict}."


def _score_sentence(mean: float, calibration: Calibration | None) -> str:
    if calibration is None:
        return f"The mean score is {mean:.4f}; these weights do not say which scores are usual."
    clean, degraded = calibration.clean_images, calibration.degraded_images
    return (
        f"The mean score is {mean:.4f}; 90% of clean images score {clean[1]:.4f} to "
        f"{clean[-2]:.4f}, and 90% of degraded images {degraded[1]:.4f} to {degraded[-2]:.4f}."
    )


def _section(title: str, text: str, png: bytes, style: str = "fitted") -> str:
    return _SECTION.format(
        title=html.escape(title),
        text=html.escape(text),
        png=base64.b64encode(png).decode(),
        style=style,
    )
