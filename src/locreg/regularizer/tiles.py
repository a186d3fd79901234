"""How an image is cut into tiles of scores, and the window of pixels that each depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def score_size(padded: Sequence[int], field: int, stride: int) -> tuple[int, int]:
    """Height and width of the score map of a padded image of this height and width."""
    height, width = ((length - field) // stride + 1 for length in padded)
    return height, width


def tiles(size: tuple[int, int], side: int) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of the tiles of a score map, each at most ``side`` wide and high."""
    for rows in spans(size[0], side):
        for columns in spans(size[1], side):
            yield rows, columns


def window(scores: slice, field: int, stride: int) -> slice:
    """The rows (or columns) of the padded image that these rows of scores depend on."""
    return slice(scores.start * stride, (scores.stop - 1) * stride + field)


def equal_spans(length: int, longest: int) -> list[slice]:
    """Cover a length by the fewest spans of one size, at most ``longest``.

    The last one may reach beyond the end.
    """
    count = -(-length // longest)
    size = -(-length // count)
    return [slice(index * size, (index + 1) * size) for index in range(count)]


def spans(length: int, longest: int) -> Iterator[slice]:
    """Cut a length into the fewest spans of at most ``longest``, as equal as possible."""
    count = -(-length // longest)
    for index in range(count):
        yield slice(index * length // count, (index + 1) * length // count)
