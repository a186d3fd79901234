"""Checks of arguments, with one-sentence messages; this module imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from locreg.errors import INSTALL_PYTORCH, LocregError, UsageError

if TYPE_CHECKING:
    import torch


Precision = Literal["float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]
TrainingBorders = Literal["mirrored", "real", "periodic"]


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Check that the value is one of the choices.

    Raises:
        UsageError: when it is not.
    """
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def check_positive(name: str, value: float) -> None:
    """Check that a constant is positive and finite.

    Raises:
        UsageError: when it is not.
    """
    if not 0 < value < float("inf"):
        raise UsageError(f"{name} must be positive, got {value}.")


def check_at_least(least: int, name: str, value: int) -> None:
    """Check that a whole number is at least ``least``.

    Raises:
        UsageError: when it is smaller.
    """
    if value < least:
        raise UsageError(f"{name} must be at least {least}, got {value}.")


def check_lam(lam: float) -> None:
    """Check lam, the weight of the regularizer.

    Raises:
        UsageError: when lam is negative or not finite.
    """
    if not 0 <= lam < float("inf"):
        raise UsageError(f"lam must be at least 0 and finite, got {lam:g}.")


def uses_gpu(name: Device) -> bool:
    """Whether a device is a GPU; PyTorch is loaded only where a driver for one is found.

    Raises:
        LocregError: when CUDA is requested and there is no CUDA device, or no PyTorch.
    """
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return False
    return torch_device(name).type == "cuda"


def _may_have_gpu() -> bool:
    """Whether the driver of a CUDA device may be there, and PyTorch, which uses it."""
    from ctypes.util import find_library
    from importlib.util import find_spec
    from pathlib import Path

    if "torch" in sys.modules:  # then it is quick to ask
        return True
    if find_spec("torch") is None:
        return False
    # Of NVIDIA, in Windows' Linux, of AMD, and of small boards.
    signs = ("/proc/driver/nvidia", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu")
    linux = any(Path(sign).exists() for sign in signs)
    return linux or (sys.platform == "win32" and find_library("nvcuda") is not None)


def torch_device(name: Device) -> torch.device:
    """The device to compute on; ``auto`` is CUDA if there is a CUDA device, else the CPU.

    Raises:
        LocregError: when CUDA is requested and there is no CUDA device, or no PyTorch.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise LocregError(f"Computing on a GPU needs PyTorch: {INSTALL_PYTORCH}") from None
    if name == "cuda" and not torch.cuda.is_available():
        raise LocregError("No CUDA device was found: use --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
