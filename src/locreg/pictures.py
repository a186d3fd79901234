"""Pictures that explain: the score map of an image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.files import write_atomically
from locreg.weights import Calibration

PICTURE_FORMATS = (".jpg", ".jpeg", ".pdf", ".png", ".svg")


def check_picture_name(path: Path) -> None:
    """Refuse a name that no picture can be written to, before any work is done.

    Raises:
        LocregError: when the suffix is not a picture format or the folder does not exist.
    """
    if path.suffix.lower() not in PICTURE_FORMATS:
        raise LocregError(f"{path} is not a picture name ({' '.join(PICTURE_FORMATS)}).")
    if not path.parent.is_dir():
        raise LocregError(f"{path.parent} does not exist: make this folder first.")


def draw_score_map(
    path: Path,
    pixels: NDArray[np.float32],
    scores: NDArray[np.float32],
    calibration: Calibration | None,
    title: str,
) -> None:
    """The image beside its score map, with a colour bar and the scores of clean images marked.

    Args:
        pixels: (C, H, W) in [0, 1].
        scores: (H', W'), one per patch; high means degraded.
        calibration: gives the colour range: the middle 98% of clean and degraded training patches.
    """
    figure, axes = _two_panels(pixels.shape[1] / pixels.shape[2])
    image = pixels.transpose(1, 2, 0).clip(0, 1)
    axes[0].imshow(image if image.shape[2] == 3 else image[:, :, 0], cmap="gray", vmin=0, vmax=1)
    axes[0].set_title("image")
    if calibration is None:
        low, high = np.quantile(scores, (0.01, 0.99))
    else:
        low, high = calibration.clean_patches[0], calibration.degraded_patches[-1]
    shown = axes[1].imshow(scores, cmap="magma", vmin=low, vmax=high)
    axes[1].set_title(title)
    for axis in axes:
        axis.set_axis_off()
    bar = figure.colorbar(shown, ax=axes, shrink=0.9, aspect=30, pad=0.02, extend="both")
    bar.set_label("score of the patch (high: degraded)")
    if calibration is not None:
        for name, quantiles in (
            ("clean", calibration.clean_patches),
            ("degraded", calibration.degraded_patches),
        ):
            median = quantiles[len(quantiles) // 2]
            bar.ax.axhline(median, color="deepskyblue", linewidth=2)
            bar.ax.annotate(
                f"median {name}",
                (0, median),
                (-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7,
                color="black",
                xycoords=bar.ax.get_yaxis_transform(),
            )
    _save(figure, path)


def _two_panels(aspect: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    width = 5.0
    figure = Figure(figsize=(2 * width + 1.2, width * aspect + 0.5), layout="constrained")
    return figure, figure.subplots(1, 2)


def _save(figure: Any, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=150)
    write_atomically(path, content.getvalue())
