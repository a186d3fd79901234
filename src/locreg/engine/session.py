"""Sessions of ONNX Runtime, which run graphs on the processor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any

from locreg.at_the_same_time import each_in_order
from locreg.errors import LocregError

_OLDEST = (1, 18)  # version of ONNX Runtime

try:
    import onnxruntime
except ImportError as error:
    raise LocregError(
        f"ONNX Runtime cannot be loaded ({error}): reinstall it by pip install --force-reinstall "
        "onnxruntime."
    ) from None
if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < _OLDEST:
    raise LocregError(
        f"ONNX Runtime {onnxruntime.__version__} is too old: update it by pip install --upgrade "
        "onnxruntime."
    )


def _share_an_arena() -> None:
    """Let all sessions keep the memory that they free in one arena.

    Without it, memory goes back to the system after each tile, and to get it again takes 6 to 25%
    of the time. An arena for each session would keep the most that each of them ever needed.
    """
    kinds, places = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    memory = onnxruntime.OrtMemoryInfo("Cpu", kinds.ORT_ARENA_ALLOCATOR, 0, places.DEFAULT)
    as_requested = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})  # not in powers of two
    # Older versions refuse a second one: then the first, of another part of the program, serves.
    with contextlib.suppress(RuntimeError):
        onnxruntime.create_and_register_allocator(memory, as_requested)


_share_an_arena()


def usable_cores() -> int:
    """How many cores this process may use, at most ``OMP_NUM_THREADS`` if that is set."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, max(int(limit), 1)) if limit.isdigit() else cores


class _Sharing:
    """How many images are restored at this moment."""

    def __init__(self) -> None:
        self.number, self._changing = 0, Lock()

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        with self._changing:
            self.number += 1
        try:
            yield
        finally:
            with self._changing:
                self.number -= 1


_SHARING = _Sharing()
sharing_the_cores = _SHARING.one_more  # use it around the restoration of each image


def _most_calls() -> int:
    """How many calls an image may have begun: fewer, if others are restored at the same time.

    Two images with a core each take less time than one after the other on two cores.
    """
    if _SHARING.number > 1:
        return -(-usable_cores() // _SHARING.number)
    return usable_cores() + 1  # one waits, so that no core does


@lru_cache(maxsize=32)
def session(model: bytes, sizes: tuple[tuple[str, int], ...] = ()) -> Any:
    """A session that runs a model in the thread that calls it; several threads may share it.

    Args:
        model: the model.
        sizes: names and values of sizes that the model leaves open. With all of them known, ONNX
            Runtime keeps values in the order that is best for convolutions, which saves a fifth of
            the time.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    for name, value in sizes:
        options.add_free_dimension_override_by_name(name, value)
    options.log_severity_level = 3  # errors alone
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(of_model: Any, arrays: Mapping[str, Any]) -> list[Any]:
    """The outputs of a session.

    Raises:
        MemoryError: when memory runs out.
    """
    try:
        outputs: list[Any] = of_model.run(None, dict(arrays))
    except Exception as error:  # its exceptions have no class for lack of memory
        if "bad_alloc" in str(error) or "allocate memory" in str(error):
            raise MemoryError(str(error)) from None
        raise
    return outputs


def run_all(
    calls: Iterable[tuple[Any, Mapping[str, Any]]], workers: int | None = None
) -> Iterator[list[Any]]:
    """The outputs of sessions, in the order of the calls, some at the same time.

    Args:
        calls: sessions and their arrays by name; taken as they are needed, so that few are held at
            a time.
        workers: how many calls run at the same time; by default one on each core, or on each of
            this image's share of the cores while others are restored (`sharing_the_cores`).
    """
    most = _most_calls if workers is None else None
    with contextlib.closing(
        each_in_order(lambda call: run(*call), calls, workers or usable_cores(), most)
    ) as outcomes:
        for outcome in outcomes:
            yield outcome()
