"""A small network that measures the noise level around each place of an image.

Unlike the statistics of `locreg.degradation.estimate_noise`, it knows noise that is correlated,
coloured or compressed, because it was trained on such noise (`locreg.degradation.noise_kinds`). It
gives each measurement a weight: in textures the level is uncertain, and such places count little.

The energy of noise behind a linear filter is proportional to s^2, whatever its spectrum. So the
network takes the logarithms of the mean energies behind learned filters of 7x7 pixels, and the mean
colour; two layers of 3x3 compare neighbouring places. `benchmarks/noise_network.py` trains it.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from locreg.arrays import Array
from locreg.engine.graph import Graph, tensor
from locreg.engine.session import run, session

_SIDE, _STEP_OF_FILTERS = 7, 2  # of the filters, in pixels
_POOL = 4  # side of the squares over which energies are averaged, in steps of 2 pixels
STEP = _STEP_OF_FILTERS * _POOL  # distance of the places, in pixels
FIELD = _SIDE + _STEP_OF_FILTERS * (_POOL - 1) + 4 * STEP  # side of the window around a place
LEAST_ENERGY = 1e-8  # below the energy of rounding to 8 bits
USUAL_LOG_LEVEL = -3.5


def measured_everywhere(x: Array) -> tuple[Array, Array]:
    """log s and log w, each (B, H', W'), of images x (B, 3, H, W) in [0, 1].

    H' = (H - FIELD) // STEP + 1. s is the noise level around the middle of a window of side
    `FIELD`, w the inverse of its expected relative error.
    """
    log_level, log_weight = run(session(_model()), {"x": np.ascontiguousarray(x, np.float32)})
    return log_level, log_weight


@lru_cache(maxsize=1)
def _model() -> bytes:
    """The network as a graph."""
    with as_file(files("locreg.degradation") / "noise-network.safetensors") as path:
        weights = load_file(path)
    graph = Graph()
    add, constant = graph.add, graph.constant

    def convolved(x: str, layer: str, **attributes: Any) -> str:
        return add(
            "Conv",
            x,
            constant(weights[f"{layer}.weight"]),
            constant(weights[f"{layer}.bias"]),
            **attributes,
        )

    def silu(x: str) -> str:
        return add("Mul", x, add("Sigmoid", x))

    def inner(x: str) -> str:  # without two rows and columns at each side
        starts, ends, axes = ([2, 2], [-2, -2], [2, 3])
        return add("Slice", x, *(constant(values, np.int64) for values in (starts, ends, axes)))

    def pooled(x: str, side: int, step: int) -> str:
        return add("AveragePool", x, kernel_shape=[side] * 2, strides=[step] * 2)

    filters = weights["filters.weight"]
    filters = filters - filters.mean((2, 3), keepdims=True)
    filtered = add("Conv", "x", constant(filters), strides=[_STEP_OF_FILTERS] * 2)
    energies = pooled(add("Mul", filtered, filtered), _POOL, _POOL)
    colour = pooled(pooled(inner("x"), 3, _STEP_OF_FILTERS), _POOL, _POOL)
    logs = add("Log", add("Add", energies, constant(LEAST_ENERGY)))
    logs = add("Sub", add("Mul", logs, constant(0.5)), constant(USUAL_LOG_LEVEL))
    shifted = add("Mul", add("Sub", colour, constant(0.5)), constant(4.0))
    features = add("Concat", logs, shifted, axis=1)
    z = silu(convolved(silu(convolved(features, "first")), "second"))
    result = convolved(add("Concat", z, inner(features), axis=1), "last")
    first, second = (
        add("Gather", result, constant(channel, np.int64), axis=1) for channel in (0, 1)
    )
    add("Add", first, constant(USUAL_LOG_LEVEL), name="log_level")
    add("Identity", second, name="log_weight")
    places = ("batch", "rows", "columns")
    outputs = [tensor(name, *places) for name in ("log_level", "log_weight")]
    return graph.model([tensor("x", "batch", 3, "height", "width")], outputs)
