"""Do several things at the same time, and hand over what became of them in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def each_in_order(
    do: Callable[[Thing], Result],
    things: Iterable[Thing],
    workers: int,
    most: Callable[[], int] | None = None,
) -> Generator[Callable[[], Result], None, None]:
    """For each thing, a function that returns what became of it, or raises its error.

    With one worker, this function does it. With more, they work ahead, and no new thing is begun
    after the iteration has ended early. Things are taken as they are needed.

    Args:
        do: what is done to a thing.
        things: the things.
        workers: how many things are done at the same time.
        most: how many things may be begun and not handed over, asked before each one; by default
            one more than there are workers, so that none waits.
    """
    if workers == 1:
        yield from (partial(do, thing) for thing in things)
        return
    begun = deque[Future[Result]]()
    pool = ThreadPoolExecutor(workers)
    try:
        for thing in things:
            while len(begun) >= (workers + 1 if most is None else most()):
                yield begun.popleft().result
            begun.append(pool.submit(do, thing))
        while begun:
            yield begun.popleft().result
    finally:
        pool.shutdown(cancel_futures=True)


def one_ahead(
    do: Callable[[Thing], Result], things: Iterable[Thing]
) -> Generator[Result, None, None]:
    """What becomes of each thing, in their order.

    A thread does the next one while the caller uses the current one. The caller waits for the
    first, which may take long, and can interrupt it. The error of a thing is raised in its turn.
    """
    remaining = iter(things)
    try:
        first = next(remaining)
    except StopIteration:
        return
    current = do(first)
    pool = ThreadPoolExecutor(1)
    try:
        for thing in remaining:
            following = pool.submit(do, thing)
            yield current
            current = following.result()
        yield current
    finally:
        pool.shutdown(cancel_futures=True)
