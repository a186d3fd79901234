"""Value and gradient of the sum of r over all patches of an image, by ONNX Runtime.

It computes what `tiled_gradient` does, on arrays and without PyTorch. Each tile is a call of one
session that runs in a single thread; tiles run beside each other, one on each core, so that no core
waits for another within a layer. All tiles of an image have the same size. If they do not fit, the
last ones reach beyond the image, and their scores out there do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from locreg.engine.session import run_all, session, usable_cores
from locreg.regularizer.mirror import mirror_indices
from locreg.regularizer.onnx_graph import gradient_model, scores_model
from locreg.regularizer.stored_critic import StoredCritic
from locreg.regularizer.tiles import equal_spans, score_size, window

TILE = 96  # side of a tile in scores: 128 is as fast, and takes half as much memory again
Array = NDArray[np.float32]


class OnnxGradient:
    """The sum of the scores of a critic over all patches, and its gradient.

    Args:
        critic: r.
        workers: how many tiles are computed at the same time; by default one on each core.
    """

    def __init__(self, critic: StoredCritic, workers: int | None = None) -> None:
        self.critic = critic
        self._model = gradient_model(critic)
        self._workers = workers or usable_cores()

    def value_and_gradient(
        self, x: Array, level: float | None = None, tile: int = TILE, total: Array | None = None
    ) -> tuple[NDArray[np.float64], Array]:
        """R of each image x (B, C, H, W) in [0, 1], (B,), and its gradient, in the shape of x.

        Args:
            x: images.
            level: the noise level, for a noise-conditioned critic.
            tile: side of a tile, in scores. It changes speed and memory, not the result.
            total: an array, in the shape of x, to which the gradient is added; by default a new one
                of zeros.
        """
        value = np.zeros(len(x))
        gradient = np.zeros(x.shape, np.float32) if total is None else total
        given = {} if level is None else {"level": np.asarray(level, np.float32)}
        windows = list(_windows(self.critic, x, tile))
        inputs = (
            {"window": of.pixels(image)[None], "weights": of.weights, **given}
            for image in x
            for of in windows
        )
        results = run_all(session(self._model, windows[0].sizes), inputs, self._workers)
        for number, (tile_value, tile_gradient) in enumerate(results):
            image, of = divmod(number, len(windows))
            value[image] += tile_value[0]
            windows[of].add(gradient[image], tile_gradient[0])
        return value, gradient


def score_map(critic: StoredCritic, x: Array, tile: int = TILE) -> Array:
    """The score of the patch around each pixel of an image x (C, H, W): (h, w).

    h is H divided by the stride of the critic, rounded up. The critic has no noise level as input.
    """
    windows = list(_windows(critic, x, tile))
    inputs = ({"window": of.pixels(x)[None]} for of in windows)
    scores = np.empty((windows[-1].rows.stop, windows[-1].columns.stop), np.float32)
    results = run_all(session(scores_model(critic), windows[0].sizes), inputs, usable_cores())
    for of, (result,) in zip(windows, results, strict=True):
        scores[of.rows, of.columns] = result[0, 0]
    height, width = _map_size(critic, x)
    return scores[:height, :width]


@dataclass(frozen=True)
class _Window:
    """The pixels that a tile of scores depends on, in an image that is mirrored at its borders.

    Attributes:
        rows, columns: of the tile in the score map.
        inner_rows, inner_columns: 1 for each row or column of the tile, and 0 beyond the map.
        of_rows, of_columns: rows and columns of its pixels in the image, some twice at a border.
    """

    rows: slice
    columns: slice
    inner_rows: Array
    inner_columns: Array
    of_rows: NDArray[np.int64]
    of_columns: NDArray[np.int64]

    @property
    def weights(self) -> Array:
        """1 for each score of the tile, and 0 where it reaches beyond the map."""
        return np.outer(self.inner_rows, self.inner_columns)

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """The sizes that the models leave open."""
        return (
            ("height", len(self.of_rows)),
            ("width", len(self.of_columns)),
            ("rows", len(self.inner_rows)),
            ("columns", len(self.inner_columns)),
        )

    @cached_property
    def _inside(self) -> tuple[slice, slice, slice] | None:
        """The place of the window in the image; None if it is mirrored."""
        lines = (self.of_rows, self.of_columns)
        if any((np.diff(line) != 1).any() for line in lines):
            return None
        rows, columns = (slice(int(line[0]), int(line[-1]) + 1) for line in lines)
        return slice(None), rows, columns

    def pixels(self, x: Array) -> Array:
        """The window of an image x (C, H, W)."""
        inside = self._inside
        window = x[:, self.of_rows[:, None], self.of_columns] if inside is None else x[inside]
        return np.ascontiguousarray(window, np.float32)

    def add(self, total: Array, values: Array) -> None:
        """Add the values of the window to their pixels, the adjoint of `pixels`."""
        inside = self._inside
        if inside is None:
            places = self.of_rows[:, None] * total.shape[2] + self.of_columns
            for channel, added in zip(total.reshape(len(total), -1), values, strict=True):
                np.add.at(channel, places, added)
        else:
            total[inside] += values


def _windows(critic: StoredCritic, x: Array, tile: int) -> Iterator[_Window]:
    """The windows of all tiles; they have one size."""
    of_rows, of_columns = (
        list(_lines(critic, pixels, scores, tile))
        for pixels, scores in zip(x.shape[-2:], _map_size(critic, x), strict=True)
    )
    for rows, inner_rows, row_pixels in of_rows:
        for columns, inner_columns, column_pixels in of_columns:
            yield _Window(rows, columns, inner_rows, inner_columns, row_pixels, column_pixels)


def _lines(
    critic: StoredCritic, pixels: int, scores: int, tile: int
) -> Iterator[tuple[slice, Array, NDArray[np.int64]]]:
    """For the rows (or columns) of each tile: which, 1 for those in the map, and their pixels."""
    field, stride = critic.receptive_field, critic.stride
    parts = equal_spans(scores, tile)
    mirrored = mirror_indices(pixels, field)
    beyond = max(window(parts[-1], field, stride).stop - len(mirrored), 0)
    mirrored = np.pad(mirrored, (0, beyond), mode="edge")
    for part in parts:
        inner = (np.arange(part.start, part.stop) < scores).astype(np.float32)
        yield part, inner, mirrored[window(part, field, stride)]


def _map_size(critic: StoredCritic, x: Array) -> tuple[int, int]:
    """Height and width of the score map of an image."""
    field = critic.receptive_field
    return score_size([n + field - 1 for n in x.shape[-2:]], field, critic.stride)
