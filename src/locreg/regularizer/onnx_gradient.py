"""Value and gradient of the sum of r over all patches of an image, by ONNX Runtime.

It computes what `tiled_gradient` does, on arrays and without PyTorch. Each tile is a call of a
session, which runs in a single thread; tiles run beside each other, one on each core, so that no
core waits for another within a layer. All tiles of a critic have the same size. If they do not
fit, the last ones reach beyond the image, and their scores out there do not count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.engine.session import run_all, session
from locreg.regularizer.mirror import mirror_indices
from locreg.regularizer.onnx_graph import gradient_model, scores_model
from locreg.regularizer.stored_critic import StoredCritic
from locreg.regularizer.tiles import equal_spans, score_size, window

TILE = 128  # side of a tile in scores: 96 takes 4% longer, and 60% of the memory
Array = NDArray[np.float32]


class OnnxGradient:
    """The sum of the scores of critics over all patches, and its gradient.

    Args:
        critics: r; the sums of several, such as those of several scales, are added.
        workers: how many tiles are computed at the same time; by default as `run_all` says.
    """

    def __init__(self, *critics: StoredCritic, workers: int | None = None) -> None:
        self._critics = critics
        self._models = [gradient_model(critic) for critic in critics]
        self._workers = workers

    def value_and_gradient(
        self, x: Array, level: float | None = None, tile: int = TILE
    ) -> tuple[NDArray[np.float64], Array]:
        """R of each image x (B, C, H, W) in [0, 1], (B,), and its gradient, in the shape of x.

        Args:
            x: images.
            level: the noise level, for noise-conditioned critics.
            tile: side of a tile, in scores. It changes speed and memory, not the result.
        """
        value, gradient = np.zeros(len(x)), np.zeros(x.shape, np.float32)
        given = {} if level is None else {"level": np.asarray(level, np.float32)}
        places = deque[tuple[int, _Window]]()

        def calls() -> Iterator[tuple[Any, dict[str, Any]]]:
            for critic, model in zip(self._critics, self._models, strict=True):
                for window in _windows(critic, x, tile):
                    of_model = session(model, window.sizes)
                    for number, image in enumerate(x):
                        places.append((number, window))
                        pixels = window.pixels(image)[None]
                        yield of_model, {"window": pixels, "weights": window.weights, **given}

        # The tiles of all critics follow each other, so that no core waits at the end of one.
        for tile_value, tile_gradient in run_all(calls(), self._workers):
            number, window = places.popleft()
            value[number] += tile_value[0]
            window.add(gradient[number], tile_gradient[0])
        return value, gradient


def score_map(critic: StoredCritic, x: Array, tile: int = TILE) -> Array:
    """The score of the patch around each pixel of an image x (C, H, W): (h, w).

    h is H divided by the stride of the critic, rounded up. The critic has no noise level as input.
    """
    windows = list(_windows(critic, x, tile))
    of_model = session(scores_model(critic), windows[0].sizes)
    calls = ((of_model, {"window": of.pixels(x)[None]}) for of in windows)
    scores = np.empty((windows[-1].rows.tile.stop, windows[-1].columns.tile.stop), np.float32)
    for of, (result,) in zip(windows, run_all(calls), strict=True):
        scores[of.rows.tile, of.columns.tile] = result[0, 0]
    height, width = _map_size(critic, x)
    return scores[:height, :width]


@dataclass(frozen=True)
class _Line:
    """The rows, or the columns, of a tile of scores, and the pixels that they depend on.

    Attributes:
        tile: in the score map.
        inner: 1 for each row of the tile, and 0 beyond the map.
        runs: pairs of slices: rows of the window, and the rows of the image that they show. At
            borders, where the image is mirrored, there are several.
        pixels: how many there are.
    """

    tile: slice
    inner: Array
    runs: tuple[tuple[slice, slice], ...]
    pixels: int


@dataclass(frozen=True)
class _Window:
    """The pixels that a tile of scores depends on, in an image that is mirrored at its borders."""

    rows: _Line
    columns: _Line

    @property
    def weights(self) -> Array:
        """1 for each score of the tile, and 0 where it reaches beyond the map."""
        return np.outer(self.rows.inner, self.columns.inner)

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """The sizes that the models leave open."""
        return (
            ("height", self.rows.pixels),
            ("width", self.columns.pixels),
            ("rows", len(self.rows.inner)),
            ("columns", len(self.columns.inner)),
        )

    def pixels(self, x: Array) -> Array:
        """The window of an image x (C, H, W)."""
        window = np.empty((len(x), self.rows.pixels, self.columns.pixels), np.float32)
        for here, there in self._pieces():
            window[here] = x[there]
        return window

    def add(self, total: Array, values: Array) -> None:
        """Add the values of the window to their pixels, the adjoint of `pixels`."""
        for here, there in self._pieces():
            total[there] += values[here]

    def _pieces(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Where each piece of the window lies in it, and in the image."""
        for (row, row_of_image), (column, column_of_image) in product(
            self.rows.runs, self.columns.runs
        ):
            yield (slice(None), row, column), (slice(None), row_of_image, column_of_image)


def _windows(critic: StoredCritic, x: Array, tile: int) -> Iterator[_Window]:
    """The windows of all tiles; they have one size."""
    rows, columns = (
        list(_lines(critic, pixels, scores, tile))
        for pixels, scores in zip(x.shape[-2:], _map_size(critic, x), strict=True)
    )
    yield from (_Window(row, column) for row in rows for column in columns)


def _lines(critic: StoredCritic, pixels: int, scores: int, tile: int) -> Iterator[_Line]:
    """The rows (or columns) of each tile."""
    field, stride = critic.receptive_field, critic.stride
    parts = equal_spans(scores, tile)
    mirrored = mirror_indices(pixels, field)
    beyond = max(window(parts[-1], field, stride).stop - len(mirrored), 0)
    mirrored = np.pad(mirrored, (0, beyond), mode="edge")
    for part in parts:
        inner = (np.arange(part.start, part.stop) < scores).astype(np.float32)
        sources = mirrored[window(part, field, stride)]
        yield _Line(part, inner, tuple(_runs(sources.tolist())), len(sources))


def _runs(sources: list[int]) -> Iterator[tuple[slice, slice]]:
    """Cut a line into pieces whose sources follow each other, forwards or backwards.

    For each piece: where it lies in the line, and where its sources lie in theirs.
    """
    first = 0
    while first < len(sources):
        step, last = 1, first + 1
        if last < len(sources) and sources[last] == sources[first] - 1:
            step = -1
        while last < len(sources) and sources[last] == sources[last - 1] + step:
            last += 1
        end = sources[last - 1] + step
        yield slice(first, last), slice(sources[first], end if end >= 0 else None, step)
        first = last


def _map_size(critic: StoredCritic, x: Array) -> tuple[int, int]:
    """Height and width of the score map of an image."""
    field = critic.receptive_field
    return score_size([n + field - 1 for n in x.shape[-2:]], field, critic.stride)
