"""Learned local regularization for image restoration.

``locreg.load`` reads a regularizer, ``locreg.restore`` restores an image with it. The public names
are those that ``__init__.pyi`` imports. They are loaded on first use, so importing locreg does not
import torch.
"""

from typing import Any

import lazy_loader

from locreg.errors import INSTALL_PYTORCH as _INSTALL_PYTORCH
from locreg.errors import LocregError as _LocregError
from locreg.errors import is_about_pytorch as _is_about_pytorch
from locreg.version import __version__ as __version__

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        if not _is_about_pytorch(error):
            raise
        raise _LocregError(f"locreg.{name} needs PyTorch: {_INSTALL_PYTORCH}") from None
