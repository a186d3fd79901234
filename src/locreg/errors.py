"""Exceptions for failures that the user can fix."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

# What the extra "torch" installs.
_WITH_PYTORCH = ("deepinv", "scipy", "torch", "torchmetrics", "torchvision")

INSTALL_PYTORCH = 'in the folder of locreg, run pip install ".[torch]".'


class LocregError(Exception):
    """A failure that the user can fix; the message is one sentence that says how.

    The command line prints the message without a traceback. Any other exception that reaches the
    user is a bug.
    """


class UsageError(LocregError):
    """An argument that can never work, such as a noise level of 25; exit status 2."""


def is_about_pytorch(error: ModuleNotFoundError) -> bool:
    """Whether a module is missing that comes with PyTorch."""
    return (error.name or "").partition(".")[0] in _WITH_PYTORCH


@contextlib.contextmanager
def out_of_memory_is(sentence: str) -> Iterator[None]:
    """Turn an out-of-memory error in the ``with`` block into a `LocregError`.

    Args:
        sentence: the message of that error.

    Raises:
        LocregError: when memory runs out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise LocregError(sentence) from None


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch raises its own class on a GPU, but a plain RuntimeError on a CPU."""
    words = ("can't allocate memory", "not enough memory", "can't start new thread")
    torch = sys.modules.get("torch")  # without it, the error is not its own
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return any(word in str(error) for word in words)
