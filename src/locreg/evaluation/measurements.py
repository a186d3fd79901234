"""A CSV file with one measurement per row; a finished row is not measured again."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from locreg.errors import LocregError
from locreg.images.files import write_atomically

Row = dict[str, str]
_ERRORS = "surrogateescape"  # file names need not be valid text


class Measurements:
    """The rows of a CSV file, found by the key columns, which identify a measurement.

    If two rows have the same key, the later one counts.

    Raises:
        LocregError: when the file has other columns.
    """

    def __init__(self, path: Path, key: list[str], values: list[str]) -> None:
        self.path, self.key, self.columns = path, key, key + values
        self.rows: dict[tuple[str, ...], Row] = {}
        text = path.read_bytes().decode(errors=_ERRORS) if path.exists() else ""
        # A killed run may leave a last line without an end, in which a value may be cut off.
        finished = text[: text.rfind("\n") + 1]
        if finished != text:
            write_atomically(path, finished.encode(errors=_ERRORS))
        lines = csv.DictReader(io.StringIO(finished, newline=""))
        if finished and lines.fieldnames != self.columns:
            raise LocregError(f"{path} holds something else: choose another output.")
        self.rows = {self._key(row): row for row in lines}

    def find(self, row: Row) -> Row | None:
        """The row with this key, or None."""
        return self.rows.get(self._key(row))

    def add(self, row: Row) -> Row:
        """Write a row to the file, and return it."""
        with self.path.open("a", newline="", encoding="utf-8", errors=_ERRORS) as file:
            writer = csv.DictWriter(file, self.columns)
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
        self.rows[self._key(row)] = row
        return row

    def once(self, key: Row, measure: Callable[[], Row]) -> Row:
        """The row with this key; if there is none, it is measured and written."""
        return self.find(key) or self.add(key | measure())

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in self.key)
