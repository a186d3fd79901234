"""The version of the package, which files record."""

from __future__ import annotations

__version__ = "0.1.0"
