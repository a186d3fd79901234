"""Files of `locreg.regularizer.array_file`, with tensors in place of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from locreg.arrays import as_array
from locreg.regularizer.array_file import read_arrays, write_arrays


def tensors_under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header and the tensors of a file that locreg wrote.

    Raises:
        LocregError: as `read_arrays`.
    """
    header, arrays = read_arrays(path)
    return header, {name: torch.from_numpy(array) for name, array in arrays.items()}


def write_tensors(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a file of a header and tensors atomically.

    Raises:
        LocregError: as `write_arrays`.
    """
    arrays = {name: as_array(tensor) for name, tensor in tensors.items()}
    write_arrays(path, header, arrays)
