"""Value and gradient of the sum of r over all patches of an image, by ONNX Runtime.

It computes what `tiled_gradient` does, on arrays and without PyTorch. Each tile is a call of one
session that runs in a single thread; tiles run beside each other, one on each core, so that no core
waits for another within a layer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locreg.engine.session import session, usable_cores
from locreg.regularizer.mirror import mirrored, mirrored_adjoint
from locreg.regularizer.onnx_graph import gradient_model
from locreg.regularizer.stored_critic import StoredCritic
from locreg.regularizer.tiles import score_size, tiles, window

TILE = 128  # side of a tile in scores: its activations stay in the cache
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
        for image, place, (tile_value, tile_gradient) in self._results(padded, level, tile):
            value[image] += tile_value[0]
            gradient[image][place] += tile_gradient[0]
        return value, mirrored_adjoint(gradient, height, width, field)

    def _results(
        self, padded: Array, level: float | None, tile: int
    ) -> Iterator[tuple[int, _Place, list[Any]]]:
        """The image, the place, and value and gradient of each window, in a fixed order."""
        stride, field = self.critic.stride, self.critic.receptive_field
        given = {} if level is None else {"level": np.asarray(level, np.float32)}
        waiting = deque[tuple[int, _Place, Future[list[Any]]]]()
        with ThreadPoolExecutor(self._workers) as pool:
            for image, pixels in enumerate(padded):
                for spans in tiles(score_size(pixels.shape[1:], field, stride), tile):
                    rows, columns = (window(span, field, stride) for span in spans)
                    place = (slice(None), rows, columns)
                    inputs = {"window": np.ascontiguousarray(pixels[place])[None], **given}
                    run = pool.submit(self._session.run, ["value", "gradient"], inputs)
                    waiting.append((image, place, run))
                    if len(waiting) > 2 * self._workers:
                        yield _finished(waiting)
            while waiting:
                yield _finished(waiting)


_Place = tuple[slice, slice, slice]


def _finished(
    waiting: deque[tuple[int, _Place, Future[list[Any]]]],
) -> tuple[int, _Place, list[Any]]:
    """The oldest window, as soon as it is computed."""
    image, place, run = waiting.popleft()
    return image, place, run.result()
