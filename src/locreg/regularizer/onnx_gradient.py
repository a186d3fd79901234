"""Value and gradient of the sum of r over all patches of an image, by ONNX Runtime.

It computes what `tiled_gradient` does, on arrays and without PyTorch. Each tile is a call of one
session that runs in a single thread; tiles run beside each other, one on each core, so that no core
waits for another within a layer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from locreg.engine.session import run_all, session, usable_cores
from locreg.regularizer.mirror import mirrored, mirrored_adjoint
from locreg.regularizer.onnx_graph import gradient_model, scores_model
from locreg.regularizer.stored_critic import StoredCritic
from locreg.regularizer.tiles import score_size, tiles, window

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
        self._session = session(gradient_model(critic))
        self._workers = workers or usable_cores()

    def value_and_gradient(
        self, x: Array, level: float | None = None, tile: int = TILE
    ) -> tuple[NDArray[np.float64], Array]:
        """R of each image x (B, C, H, W) in [0, 1], (B,), and its gradient, in the shape of x.

        Args:
            x: images.
            level: the noise level, for a noise-conditioned critic.
            tile: side of a tile, in scores. It changes speed and memory, not the result.
        """
        field, (height, width) = self.critic.receptive_field, x.shape[-2:]
        padded = mirrored(x, field)
        value, gradient = np.zeros(len(x)), np.zeros_like(padded)
        given = {} if level is None else {"level": np.asarray(level, np.float32)}
        places = [
            (image, slice(None), *of_tile)
            for image in range(len(x))
            for _, of_tile in _windows(self.critic, padded, tile)
        ]
        inputs = ({"window": np.ascontiguousarray(padded[p])[None], **given} for p in places)
        results = run_all(self._session, inputs, self._workers)
        for place, (tile_value, tile_gradient) in zip(places, results, strict=True):
            value[place[0]] += tile_value[0]
            gradient[place] += tile_gradient[0]
        return value, mirrored_adjoint(gradient, height, width, field)


def score_map(critic: StoredCritic, x: Array, tile: int = TILE) -> Array:
    """The score of the patch around each pixel of an image x (C, H, W): (h, w).

    h is H divided by the stride of the critic, rounded up. The critic has no noise level as input.
    """
    padded = mirrored(x, critic.receptive_field)
    windows = list(_windows(critic, padded, tile))
    inputs = ({"window": np.ascontiguousarray(padded[:, *place])[None]} for _, place in windows)
    size = score_size(padded.shape[1:], critic.receptive_field, critic.stride)
    scores = np.empty(size, np.float32)
    results = run_all(session(scores_model(critic)), inputs, usable_cores())
    for (of_scores, _), (result,) in zip(windows, results, strict=True):
        scores[of_scores] = result[0, 0]
    return scores


_Place = tuple[slice, slice]


def _windows(critic: StoredCritic, padded: Array, tile: int) -> Iterator[tuple[_Place, _Place]]:
    """The rows and columns of each tile in the score map, and of its window in a padded image."""
    field, stride = critic.receptive_field, critic.stride
    for rows, columns in tiles(score_size(padded.shape[-2:], field, stride), tile):
        yield (rows, columns), (window(rows, field, stride), window(columns, field, stride))
