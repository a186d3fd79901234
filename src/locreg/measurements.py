"""A CSV file of measurements, one line each: a finished line is not computed again."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Callable
from pathlib import Path

from locreg.errors import LocregError
from locreg.files import write_atomically
from locreg.regularizer import LocalRegularizer
from locreg.solver_choice import usual_steps

Row = dict[str, str]
_ERRORS = "surrogateescape"  # names of files may be no text


class Measurements:
    """The lines of a file, found by the columns that make two of them the same measurement.

    Of two lines with the same key the later one counts.

    Raises:
        LocregError: when the file has other columns.
    """

    def __init__(self, path: Path, key: list[str], values: list[str]) -> None:
        self.path, self.key, self.columns = path, key, key + values
        self.rows: dict[tuple[str, ...], Row] = {}
        text = path.read_bytes().decode(errors=_ERRORS) if path.exists() else ""
        # A last line without an end was left by a killed run: its last value may be cut off.
        finished = text[: text.rfind("\n") + 1]
        if finished != text:
            write_atomically(path, finished.encode(errors=_ERRORS))
        lines = csv.DictReader(io.StringIO(finished, newline=""))
        if finished and lines.fieldnames != self.columns:
            raise LocregError(f"{path} holds something else: choose another name.")
        self.rows = {self._key(row): row for row in lines}

    def find(self, row: Row) -> Row | None:
        """The line of this key, if it is there."""
        return self.rows.get(self._key(row))

    def add(self, row: Row) -> Row:
        """Write a line."""
        with self.path.open("a", newline="", encoding="utf-8", errors=_ERRORS) as file:
            writer = csv.DictWriter(file, self.columns)
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
        self.rows[self._key(row)] = row
        return row

    def once(self, key: Row, measure: Callable[[], Row]) -> Row:
        """The line of this key; measured and written, if it is not there."""
        return self.find(key) or self.add(key | measure())

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in self.key)


def parameter_checksum(regularizer: LocalRegularizer) -> str:
    """Tells weights apart, and the lam that is stored with them."""
    calibration = regularizer.calibration
    checksum = zlib.crc32(repr(calibration).encode())
    if calibration is not None and calibration.contrast_polynomial:
        checksum = zlib.crc32(repr(calibration.contrast_polynomial).encode(), checksum)
    for parameter in regularizer.critic.parameters():
        checksum = zlib.crc32(parameter.numpy().tobytes(), checksum)
    if regularizer.learned_level is not None and not regularizer.learned_noise:
        # Of a damage the level is learned, and not the energy.
        checksum = zlib.crc32(repr(regularizer.learned_level).encode(), checksum)
    return f"{checksum:08x}"


def denoiser_version(regularizer: LocalRegularizer) -> str:
    """Tells weights apart, and whether an energy takes more than one gradient step to denoise."""
    steps = usual_steps(regularizer, 1.0) if regularizer.noise_conditioned else 1
    return parameter_checksum(regularizer) + (f", up to {steps} steps" if steps > 1 else "")


def seed_of(name: str, *settings: object) -> int:
    """A seed that depends on the file's name and the settings alone: all methods see one noise."""
    return zlib.crc32(" ".join([name, *(f"{s:g}" for s in settings)]).encode())
