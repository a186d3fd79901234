"""A whole denoiser as one ONNX file, which other programs run: image and level in, image out.

The file mirrors the image at its borders, and computes the gradient of each scale in a loop over
tiles, so that its memory hardly grows with the image. The gradient of a tile is that of all scores
whose patches touch it, which lie in a window around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from locreg.engine.graph import Graph, tensor
from locreg.regularizer.onnx_graph import add_gradient
from locreg.regularizer.stored_critic import StoredCritic, coarsened
from locreg.solvers.options import step_sizes

TILE = 128  # side of a tile in pixels, which the strides must divide
_ROWS, _COLUMNS = 2, 3  # axes of an image (1, C, H, W)


def denoiser_model(
    scales: Sequence[StoredCritic], steps: int, metadata: Mapping[str, str]
) -> bytes:
    """The gradient steps of `locreg.denoise` with lam = level, as a model.

        z = x - eta (x - y),   x = z - eta level grad R(z; eta level),   eta = 1, 1/2, 1/4, ...

    Inputs: ``image`` y (1, C, H, W) in [0, 1], all finite, and ``level``, the standard deviation of
    its noise.
    Output: ``denoised`` x (1, C, H, W), not clipped.

    Args:
        scales: the critics of the image and of smaller copies of it.
        steps: how many.
        metadata: texts that the file keeps.
    """
    graph, x = Graph(), "image"
    add, constant = graph.add, graph.constant
    sizes = step_sizes(steps)
    for step, eta in enumerate(sizes):
        z = x
        if step > 0:
            z = add("Sub", x, add("Mul", add("Sub", x, "image"), constant(eta)))
        level = add("Mul", "level", constant(eta))
        parts = [
            _gradient(graph, coarsened(critic, k), z, level, f"step{step}_scale{k}_")
            for k, critic in enumerate(scales)
        ]
        gradient = add("Sum", *parts)
        name = "denoised" if step == len(sizes) - 1 else None
        x = add("Sub", z, add("Mul", gradient, level), name=name)
    image = (1, scales[0].in_channels, "height", "width")
    inputs = [tensor("image", *image), tensor("level")]
    return graph.model(inputs, [tensor("denoised", *image)], metadata)


def _gradient(graph: Graph, critic: StoredCritic, x: str, level: str, prefix: str) -> str:
    """Add the gradient of R at an image x to a graph."""
    lines = [_Line(graph, critic, x, axis) for axis in (_ROWS, _COLUMNS)]
    mirrored = x
    for line in lines:
        mirrored = graph.add("Gather", mirrored, line.sources, axis=line.axis)
    zero = graph.constant([0, 0], np.int64)
    fronts = graph.constant([lines[0].front] * 2, np.int64)
    ends = graph.add("Concat", *(line.end for line in lines), axis=0)
    around = graph.add("Concat", zero, fronts, zero, ends, axis=0)
    tiles = _tiles(graph, critic, graph.add("Pad", mirrored, around), level, lines, prefix)
    for line in lines:
        tiles = line.folded(tiles)
    return tiles


class _Line:
    """The mirrored rows, or columns, of an image, cut into tiles.

    A tile of T pixels is touched by the patches of T / stride scores and k more before it, which
    lie in a window that begins k stride pixels before the tile.

    Args:
        graph: where the nodes are added.
        critic: r.
        x: the image.
        axis: of the rows or columns.
    """

    def __init__(self, graph: Graph, critic: StoredCritic, x: str, axis: int) -> None:
        self.graph, self.axis = graph, axis
        add, number = graph.add, self._number
        field, stride = critic.receptive_field, critic.stride
        before = -(-(field - 1) // stride)
        self.stride, self.before, self.front = stride, before, before * stride
        self.field, self.mirrored = field, (field - 1) // 2
        self.scores = TILE // stride + before
        self.window = (self.scores - 1) * stride + field
        self.size = add("Shape", x, start=axis, end=axis + 1)
        self.length = add("Add", self.size, number(field - 1))
        self.sources = self._sources()
        # Whole tiles: the last one may reach beyond the mirrored line.
        self.tiles = add("Div", add("Add", self.length, number(TILE - 1)), number(TILE))
        covered = add("Mul", self.tiles, number(TILE))
        self.end = add("Sub", add("Add", covered, number(field - stride)), self.length)
        self.last_score = add("Div", add("Sub", self.length, number(field)), number(stride))

    def _number(self, value: int) -> str:
        return self.graph.constant([value], np.int64)

    def _range(self, graph: Graph, stop: str) -> str:
        """0, 1, ... up to a number, without it."""
        zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
        return graph.add("Range", zero, graph.add("Squeeze", stop), one)

    def _sources(self) -> str:
        """`mirror_indices` of the line."""
        add, number = self.graph.add, self._number
        positions = add("Sub", self._range(self.graph, self.length), number(self.mirrored))
        twice = add("Mul", self.size, number(2))
        positions = add("Mod", positions, twice)
        return add("Min", positions, add("Sub", add("Sub", twice, number(1)), positions))

    def valid(self, body: Graph, start: str) -> str:
        """1 for each score of a window that the image has, else 0; the tile begins at a pixel."""
        first = body.add("Div", start, body.constant([self.stride], np.int64))
        places = body.constant(np.arange(self.scores) - self.before, np.int64)
        scores = body.add("Add", places, first)
        inside = body.add("GreaterOrEqual", scores, body.constant([0], np.int64))
        inside = body.add("And", inside, body.add("LessOrEqual", scores, self.last_score))
        return body.add("Cast", inside, to=TensorProto.FLOAT)

    def folded(self, z: str) -> str:
        """The adjoint of mirroring: every pixel of z, of the whole tiles, added to its source.

        The mirrored pixels go through a matrix of 0 and 1. ``ScatterND`` would add them, too, but
        ONNX Runtime loses some when two threads add to the same pixel.
        """
        add, graph = self.graph.add, self.graph
        start = self._number(self.mirrored)
        stop = add("Add", start, self.size)
        pixels = self._part(z, start, stop, self.axis)
        if self.field == 1:
            return pixels
        beside = self._beside(z, start, stop, self.axis)
        sources = self._beside(self.sources, start, stop, 0)
        targets = self._range(graph, self.size)
        in_rows, in_columns = graph.constant([1], np.int64), graph.constant([0], np.int64)
        if self.axis == _COLUMNS:
            in_rows, in_columns = in_columns, in_rows
        goes_to = add(
            "Equal", add("Unsqueeze", targets, in_rows), add("Unsqueeze", sources, in_columns)
        )
        matrix = add("Cast", goes_to, to=TensorProto.FLOAT)
        factors = (matrix, beside) if self.axis == _ROWS else (beside, matrix)
        return add("Add", pixels, add("MatMul", *factors))

    def _part(self, z: str, start: str, stop: str, axis: int) -> str:
        return self.graph.add("Slice", z, start, stop, self._number(axis))

    def _beside(self, z: str, start: str, stop: str, axis: int) -> str:
        """What lies before a start and from a stop to the end of the mirrored line."""
        before = self._part(z, self._number(0), start, axis)
        return self.graph.add("Concat", before, self._part(z, stop, self.length, axis), axis=axis)


def _tiles(
    graph: Graph, critic: StoredCritic, padded: str, level: str, lines: list[_Line], prefix: str
) -> str:
    """Add the gradient of all tiles, put together."""
    rows, columns = lines
    body = Graph(prefix)
    number = body.add("Unsqueeze", f"{prefix}tile", body.constant([0], np.int64))
    row = body.add("Div", number, columns.tiles)
    column = body.add("Sub", number, body.add("Mul", row, columns.tiles))
    side = body.constant([TILE], np.int64)
    top, left = body.add("Mul", row, side), body.add("Mul", column, side)
    axes = body.constant([_ROWS, _COLUMNS], np.int64)
    corner = body.add("Concat", top, left, axis=0)
    reach = body.constant([rows.window, columns.window], np.int64)
    window = body.add("Slice", padded, corner, body.add("Add", corner, reach), axes)
    # This changes nothing. It tells the program that runs this the size, so that it can plan.
    shape = body.constant([1, critic.in_channels, rows.window, columns.window], np.int64)
    window = body.add("Reshape", window, shape)
    vertical = body.add("Unsqueeze", rows.valid(body, top), body.constant([1], np.int64))
    weights = body.add("Mul", vertical, columns.valid(body, left))
    _, gradient = add_gradient(body, critic, window, level, weights)
    inner = body.constant([rows.front] * 2, np.int64)
    tile = body.add("Slice", gradient, inner, body.add("Add", inner, side), axes)
    body.add("Squeeze", tile, body.constant([0], np.int64), name=f"{prefix}result")
    body.add("Identity", f"{prefix}more", name=f"{prefix}on")
    inner_graph = body.body(
        [
            tensor(f"{prefix}tile", kind=TensorProto.INT64),
            tensor(f"{prefix}more", kind=TensorProto.BOOL),
        ],
        [
            tensor(f"{prefix}on", kind=TensorProto.BOOL),
            tensor(f"{prefix}result", critic.in_channels, TILE, TILE),
        ],
    )
    add, constant = graph.add, graph.constant
    count = add("Squeeze", add("Mul", rows.tiles, columns.tiles))
    always = constant(np.array(True), np.bool_)
    stacked = add("Loop", count, always, body=inner_graph)
    split = constant([critic.in_channels, TILE, TILE], np.int64)
    grid = add("Concat", rows.tiles, columns.tiles, split, axis=0)
    ordered = add("Transpose", add("Reshape", stacked, grid), perm=[2, 0, 3, 1, 4])
    whole = constant([1, critic.in_channels], np.int64)
    size = add("Mul", add("Concat", rows.tiles, columns.tiles, axis=0), constant([TILE], np.int64))
    return add("Reshape", ordered, add("Concat", whole, size, axis=0))
