"""The version of the package, for records that files keep."""

__version__ = "0.1.0"
