"""What commands print: messages, results, progress bars; and the exit statuses."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from locreg.solvers.solution import Iterate, OnStep

DONE, FAILED, WRONG_USAGE = 0, 1, 2


def say(sentence: str) -> None:
    """Print a sentence for the user to standard error."""
    with _without_bar():
        print(f"locreg: {sentence}", file=sys.stderr)


def show(line: str) -> None:
    """Print a result to standard output; do not fail if its reader, such as head, has stopped."""
    try:
        with _without_bar():
            print(line, flush=True)
    except BrokenPipeError:
        discard_output()


def _without_bar() -> contextlib.AbstractContextManager[None]:
    """Take away progress bars while something is printed."""
    tqdm = sys.modules.get("tqdm")  # without it, there is no bar
    return tqdm.tqdm.external_write_mode() if tqdm else contextlib.nullcontext()


def discard_output() -> None:
    """Discard everything printed from now on, since nobody reads standard output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Progress:
    """A progress bar over the solver's steps, shown on a terminal only.

    Args:
        name: name of the file.
        steps: number of steps; None: not known yet.
    """

    def __init__(self, name: str, steps: int | None) -> None:
        self.name, self.steps = name, steps

    def __enter__(self) -> OnStep:
        from tqdm import tqdm

        self.bar = tqdm(
            total=self.steps,
            desc=self.name,
            unit="step",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        return self._on_step

    def _on_step(self, step: int, _: Iterate) -> None:
        if step == 0 and self.bar.n:  # the next solution, while lam is being chosen
            self.bar.reset()
        done = step if self.steps is None else min(step, self.steps)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_: object) -> None:
        self.bar.close()


@contextlib.contextmanager
def counted(number: int) -> Iterator[Callable[[], None]]:
    """A progress bar over so many images, shown on a terminal only; 0: none.

    It yields the function to call after each image.
    """
    from tqdm import tqdm

    hidden = number == 0 or not sys.stderr.isatty()
    with tqdm(total=number, unit="image", leave=False, disable=hidden) as bar:
        yield lambda: bar.update() and None
