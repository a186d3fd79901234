"""What earlier runs have written into a folder: so that nothing is made twice, or left outdated."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from locreg.errors import LocregError
from locreg.restoration.jobs import Job

RECORD = ".locreg.jsonl"  # in the folder of the results: one line for each

State = Literal["missing", "done", "outdated", "unknown"]


class Finished:
    """The record of the results in a folder.

    Args:
        folder: of the results.
        settings: all that decides how a result looks; results of other settings are outdated.
        others: further files that decide it, such as weights, as far as they are files.
        mask_file: the file with the mask of an input; None: there is none.
    """

    def __init__(
        self,
        folder: Path,
        settings: object,
        others: Iterable[Path] = (),
        mask_file: Callable[[Path], Path] | None = None,
    ) -> None:
        self._folder, self._mask_file = folder, mask_file
        stamps = [_stamp(path) for path in others if path.is_file()]
        self._settings = hashlib.sha256(repr((settings, stamps)).encode()).hexdigest()[:16]
        self._lines: dict[str, dict[str, object]] = {}
        with contextlib.suppress(OSError, ValueError):
            for line in (folder / RECORD).read_text(encoding="utf-8").splitlines():
                # A run that was killed leaves half a line.
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    found = json.loads(line)
                    self._lines[found["output"]] = found

    def state(self, job: Job) -> State:
        """Whether the result of a job is there, and made as it would be made now.

        missing: it, or its page, is not there; done: it is; outdated: it was made with other
        settings, or its input has changed since; unknown: it was not made here, or was changed.
        """
        if not job.target.exists():
            return "missing"
        line = self._lines.get(self._name(job))
        if line is None or line.get("written") != _stamp(job.target):
            return "unknown"
        if line.get("read") != self._read(job) or line.get("settings") != self._settings:
            return "outdated"
        return "done" if job.finished else "missing"

    def add(self, job: Job) -> None:
        """Record a result that has just been written.

        Raises:
            LocregError: when the record cannot be written.
        """
        line: dict[str, object] = {
            "output": self._name(job),
            "read": self._read(job),
            "written": _stamp(job.target),
            "settings": self._settings,
        }
        self._lines[self._name(job)] = line
        try:
            with (self._folder / RECORD).open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(line))
        except OSError as error:
            name = self._folder / RECORD
            raise LocregError(f"{name} cannot be written: {error.strerror}.") from None

    def _read(self, job: Job) -> list[int]:
        """What changes when the input or its mask does."""
        read = _stamp(job.source)
        if self._mask_file is not None:
            with contextlib.suppress(LocregError):  # it has none, which will be said later
                read += _stamp(self._mask_file(job.source))
        return read

    def _name(self, job: Job) -> str:
        return job.target.relative_to(self._folder).as_posix()


def _stamp(path: Path) -> list[int]:
    """What changes when a file is written: its size and its time; nothing if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
