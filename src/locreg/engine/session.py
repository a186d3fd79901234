"""Sessions of ONNX Runtime, which run graphs on the processor."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import onnxruntime


def usable_cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@lru_cache(maxsize=16)
def session(model: bytes) -> Any:
    """A session that runs a model in the thread that calls it; several threads may share it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
