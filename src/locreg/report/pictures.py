"""Pictures of a restoration: score map, residual, correlations, before and after."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.images.files import write_atomically
from locreg.regularizer.stored_weights import Calibration

_DETAIL = 256  # side of a detail, in pixels
PICTURE_FORMATS = (".jpg", ".jpeg", ".pdf", ".png", ".svg")


def check_picture_name(path: Path) -> None:
    """Check, before any work is done, that a picture can be written under this name.

    Raises:
        LocregError: when the suffix is not that of a picture format or the folder does not exist.
    """
    if path.suffix.lower() not in PICTURE_FORMATS:
        raise LocregError(
            f"{path} does not end in the suffix of a picture: use one of "
            f"{', '.join(PICTURE_FORMATS)}."
        )
    if not path.parent.is_dir():
        raise LocregError(f"{path.parent} does not exist: make this folder first.")


def draw_score_map(
    path: Path,
    pixels: NDArray[np.float32],
    scores: NDArray[np.float32],
    calibration: Calibration | None,
    title: str,
) -> None:
    """Write the picture of `picture_of_scores` to a file, in the format of its suffix."""
    kind = path.suffix[1:].lower()
    write_atomically(path, picture_of_scores(pixels, scores, calibration, title, kind))


def picture_of_scores(
    pixels: NDArray[np.float32],
    scores: NDArray[np.float32],
    calibration: Calibration | None,
    title: str,
    kind: str = "png",
) -> bytes:
    """The image next to its score map; the colour bar marks the median clean and degraded scores.

    Args:
        pixels: (C, H, W) in [0, 1].
        scores: (H', W'), one per patch; high means degraded.
        calibration: gives the colour range, from the 1% quantile of clean training patches to the
            99% quantile of degraded ones. None: the same quantiles of these scores.
        title: title of the score map.
        kind: format of the picture, such as png or pdf.
    """
    figure, axes = _two_panels(_aspect(pixels))
    show_pixels(axes[0], pixels)
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
    return encode(figure, kind)


def picture_of_images(left: NDArray[np.float32], right: NDArray[np.float32]) -> bytes:
    """Two images (C, H, W) side by side, at the same size, as PNG."""
    figure, axes = _two_panels(_aspect(left))
    for axis, pixels in zip(axes, (left, right), strict=True):
        show_pixels(axis, pixels)
        axis.set_axis_off()
    return encode(figure)


def picture_of_details(
    before: NDArray[np.float32], after: NDArray[np.float32], deviation: float
) -> bytes:
    """Two details of an image (C, H, W) as PNG, one pixel for each pixel of the image.

    The first detail has the most structure, the second the least. Each row shows the input, the
    result, and their difference on the scale of `picture_of_residual`.
    """
    removed = 0.5 + (before - after) / (6 * max(deviation, 1e-12))
    rows = []
    for top, left in _places_of_details(after):
        window = (..., slice(top, top + _DETAIL), slice(left, left + _DETAIL))
        rows.append(np.concatenate([x[window] for x in (before, after, removed)], axis=2))
    picture = np.concatenate(rows, axis=1).clip(0, 1).transpose(1, 2, 0)
    image = pyvips.Image.new_from_array((255 * picture).round().astype(np.uint8))
    png: bytes = image.pngsave_buffer()
    return png


def _places_of_details(pixels: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Top and left of the square of most structure and of that of least, on a coarse grid.

    Squares that are clipped for the most part are left out. An image of one square has one place.
    """
    grey = pixels.mean(0)
    clipped = ((grey <= 0.01) | (grey >= 0.99)).astype(np.float32)
    changes = np.abs(np.diff(grey, axis=0, append=grey[-1:]))
    changes += np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    places = [
        (int(top), int(left))
        for top in np.unique(np.linspace(0, max(grey.shape[0] - _DETAIL, 0), 8).astype(int))
        for left in np.unique(np.linspace(0, max(grey.shape[1] - _DETAIL, 0), 8).astype(int))
    ]

    def mean(values: NDArray[np.float32], place: tuple[int, int]) -> float:
        top, left = place
        return float(values[top : top + _DETAIL, left : left + _DETAIL].mean())

    usable = [place for place in places if mean(clipped, place) < 0.5] or places
    usable.sort(key=lambda place: mean(changes, place))
    return [usable[-1], usable[0]] if len(usable) > 1 else usable


def picture_of_residual(residual: NDArray[np.float32], deviation: float) -> bytes:
    """A residual (C, H, W) as PNG: 0 is middle grey, three standard deviations are black and white.

    NaN, where nothing was observed, is middle grey too.
    """
    from matplotlib.figure import Figure

    shown = 0.5 + np.nan_to_num(residual) / (6 * max(deviation, 1e-12))
    figure = Figure(figsize=(8, 8 * _aspect(residual)), layout="constrained")
    axis = figure.subplots()
    show_pixels(axis, shown)
    axis.set_axis_off()
    return encode(figure)


def picture_of_correlation(correlation: NDArray[np.float64]) -> bytes:
    """A table of correlations by lag, coloured, as PNG; the one in the middle is 1."""
    from matplotlib.figure import Figure

    reach = len(correlation) // 2
    figure = Figure(figsize=(7, 6), layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(
        correlation,
        cmap="RdGy_r",
        vmin=-0.3,
        vmax=0.3,
        extent=(-reach - 0.5, reach + 0.5, reach + 0.5, -reach - 0.5),
    )
    for (row, column), value in np.ndenumerate(correlation):
        text = f"{round(value, 2) + 0:.2f}"  # + 0 turns -0 into 0
        axis.text(column - reach, row - reach, text, ha="center", va="center", fontsize=6)
    axis.set_xlabel("pixels to the right")
    axis.set_ylabel("pixels down")
    figure.colorbar(shown, ax=axis, extend="both", label="correlation")
    return encode(figure)


def show_pixels(axis: Any, pixels: NDArray[np.float32]) -> None:
    """Draw an image (C, H, W) on an axis, black at 0 and white at 1."""
    image = pixels.transpose(1, 2, 0).clip(0, 1)
    axis.imshow(image if image.shape[2] == 3 else image[:, :, 0], cmap="gray", vmin=0, vmax=1)


def _aspect(pixels: NDArray[np.float32]) -> float:
    """Height divided by width of an image (C, H, W), limited to what a figure can show."""
    return float(np.clip(pixels.shape[1] / pixels.shape[2], 0.1, 4))


def _two_panels(aspect: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    width = 5.0
    figure = Figure(figsize=(2 * width + 1.2, width * aspect + 0.5), layout="constrained")
    return figure, figure.subplots(1, 2)


def encode(figure: Any, kind: str = "png", resolution: int = 150) -> bytes:
    """The bytes of a figure as a file of the given format and dots per inch."""
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=resolution)
    return content.getvalue()
