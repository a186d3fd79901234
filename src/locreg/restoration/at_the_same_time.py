"""Do several things at the same time, and hand over what became of them in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def each_in_order(
    do: Callable[[Thing], Result], things: Sequence[Thing], workers: int
) -> Generator[Callable[[], Result], None, None]:
    """For each thing, a function that returns what became of it, or raises its error.

    With one worker, this function does it. With more, they work ahead by one thing each, and no
    new thing is begun after the iteration has ended early.
    """
    if workers == 1:
        yield from (partial(do, thing) for thing in things)
        return
    begun = deque[Future[Result]]()
    pool = ThreadPoolExecutor(workers)
    try:
        for thing in things:
            begun.append(pool.submit(do, thing))
            if len(begun) > workers:
                yield begun.popleft().result
        while begun:
            yield begun.popleft().result
    finally:
        pool.shutdown(cancel_futures=True)
