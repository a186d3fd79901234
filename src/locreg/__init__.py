"""Learned local regularization for image restoration.

``locreg.load`` reads a regularizer, ``locreg.restore`` restores an image with it. The public names
are those that ``__init__.pyi`` imports. They are loaded on first use, so importing locreg does not
import torch.
"""

import lazy_loader

from locreg.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
