"""Files of `locreg.regularizer.array_file`, with tensors in place of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from locreg.arrays import as_array
from locreg.regularizer.array_file import read_arrays, write_arrays


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
