"""Files that hold arrays and a JSON header, in the safetensors format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from locreg.errors import LocregError, UsageError
from locreg.images.files import write_atomically

Value = TypeVar("Value")

FORMAT = 1
_KEY = "locreg"


def under(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """What has a name that begins with the prefix, under the rest of its name."""
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read the header and the arrays of a file that locreg wrote.

    Raises:
        LocregError: when the file cannot be read, or has another format or version.
    """
    try:
        with path.open("rb") as raw:
            start = raw.read(9)
        # A safetensors file begins with the length of its JSON header, in 8 bytes.
        if start[8:] != b"{" and start.startswith((b"PK", b"\x80")):
            raise LocregError(
                f"{path} is a pickle, which could run any program when loaded: "
                "locreg reads safetensors files only."
            )
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise LocregError(f"{path} cannot be read: {error.strerror}.") from None
    except safetensors.SafetensorError:
        raise LocregError(f"{path} is not a complete safetensors file.") from None
    if _KEY not in metadata:
        raise LocregError(f"{path} is a safetensors file, but not one written by locreg.")
    try:
        header = json.loads(metadata[_KEY])
    except ValueError:
        raise LocregError(f"{path} is damaged: its header is not JSON.") from None
    if header.get("format") != FORMAT:
        raise LocregError(
            f"{path} has format version {header.get('format')}, but this locreg reads {FORMAT}: "
            "use the locreg version that wrote it, or train again."
        )
    return header, arrays


def write_arrays(path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file of a header and arrays atomically.

    Raises:
        LocregError: when the folder is missing or not writable, or the disk is full.
    """
    metadata = {_KEY: json.dumps({"format": FORMAT, **header})}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomically(path, safetensors.numpy.save(contiguous, metadata))


def check_new_output(output: Path) -> None:
    """Check, before any work is done, that a new weight file can have this path.

    Raises:
        UsageError: when the suffix is not .safetensors.
        LocregError: when the folder does not exist, or the file exists.
    """
    check_file_name(output)
    if output.exists():
        raise LocregError(f"{output} exists already: choose another name, or delete it.")


def check_file_name(output: Path) -> None:
    """Check that a weight file can have this path; the file may exist.

    Raises:
        UsageError: when the suffix is not .safetensors.
        LocregError: when the folder does not exist.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"{output} must have the suffix .safetensors.")
    if not output.parent.is_dir():
        raise LocregError(f"{output.parent} does not exist: make this folder first.")
