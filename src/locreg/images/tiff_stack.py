"""TIFF files of several planes: ImageJ's hyperstacks, OME-TIFF and plain pages, plane by plane."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from locreg.errors import LocregError
from locreg.images.files import READING
from locreg.images.metadata import EXIF, GPS, Metadata
from locreg.images.read_tiff import (
    MAGIC,
    TiffForm,
    full_pages,
    opened_tiff,
    page_metadata,
    planes_in_one_page,
    read_page,
    refusing_damage,
)
from locreg.images.samples import Samples

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_IN_A_PLANE = "YXS"  # axes of a page: rows, columns, samples


@dataclass(frozen=True)
class TiffStack:
    """An open TIFF file of several planes.

    Attributes:
        path: the file.
        pages: its planes, in their order in the file.
        channels: for each plane, the number of its channel.
        axes: the axes of the pages, the slowest first, such as TZC; "" if they are independent.
    """

    path: Path
    pages: list[TiffPage]
    channels: list[int]
    axes: str

    def plane(self, number: int) -> tuple[Samples, Metadata, TiffForm]:
        """Decode a plane, with the tags of its page.

        Raises:
            LocregError: when it is damaged, or of a kind that cannot be read.
        """
        page = self.pages[number]
        name = f"{self.path}, plane {number + 1}"
        with READING, refusing_damage(name):
            samples, form = read_page(page, name)
            return samples, page_metadata(page, None), form

    @property
    def has_exif(self) -> bool:
        """Whether a page has parts of EXIF beside the tags that it shares with TIFF."""
        return any(EXIF in page.tags or GPS in page.tags for page in self.pages)

    @property
    def size(self) -> int:
        """Bytes of all samples."""
        return sum(int(page.nbytes) for page in self.pages)


def is_stack(path: Path) -> bool:
    """Whether a file is a TIFF file of several planes.

    Raises:
        LocregError: when the file cannot be read, or is a damaged TIFF file.
    """
    try:
        with path.open("rb") as file:
            if not file.read(4).startswith(MAGIC):
                return False
        with opened_tiff(path, path) as tiff, READING, refusing_damage(path):
            return len(full_pages(tiff, path)) > 1
    except OSError as error:
        raise LocregError(f"{path} cannot be read: {error.strerror}.") from None


@contextlib.contextmanager
def opened_stack(path: Path, axes: str | None, *, independent: bool) -> Iterator[TiffStack]:
    """A TIFF file of several planes.

    Args:
        path: the file.
        axes: ZYX, TYX or CYX, for a file that does not say its axes.
        independent: whether the pages have nothing to do with each other, as scans.

    Raises:
        LocregError: when the file is damaged, does not say its axes although it should, or is one
            of several files that belong together.
    """
    with opened_tiff(path, path) as file:
        with READING, refusing_damage(path):
            pages = full_pages(file, path)
            if planes_in_one_page(file, pages[0]) > len(pages):
                raise LocregError(
                    f"{path} holds planes without pages of their own: save it again in ImageJ, or "
                    "with tifffile."
                )
            found, channels = "", [0] * len(pages)
            if not independent:
                found, channels = _layout(file, pages, path, axes)
        yield TiffStack(path, pages, channels, found)


def _layout(
    file: TiffFile, pages: list[TiffPage], path: Path, given: str | None
) -> tuple[str, list[int]]:
    """The axes of the pages, and the channel of each page."""
    series = file.series[0]
    if not (file.is_imagej or file.is_ome or file.is_shaped):
        return _given_layout(pages, path, given)
    if len(file.series) > 1 or len(series.pages) != len(pages) or None in series.pages:
        raise LocregError(
            f"{path} holds several series, or is one of several files that belong together: save "
            "it as one stack."
        )
    axes = "".join(axis for axis in series.axes if axis not in _IN_A_PLANE)
    lengths = [series.shape[series.axes.index(axis)] for axis in axes]
    if int(np.prod(lengths)) != len(pages):
        raise LocregError(f"{path} has axes {series.axes} that do not fit its {len(pages)} pages.")
    positions = np.unravel_index(np.arange(len(pages)), lengths)
    of_series = positions[axes.index("C")] if "C" in axes else np.zeros(len(pages), int)
    # A series lists the pages in the order of its axes, a file may have them in another.
    offsets = [page.offset for page in series.pages if page is not None]
    channel = dict(zip(offsets, map(int, of_series), strict=True))
    return axes, [channel[page.offset] for page in pages]


def _given_layout(pages: list[TiffPage], path: Path, given: str | None) -> tuple[str, list[int]]:
    """The layout of plain pages, whose axis the user gives."""
    if given is None:
        raise LocregError(
            f"{path} has {len(pages)} pages and does not say what they are: give --axes ZYX "
            "(depth), TYX (time) or CYX (channels), or --pages independent for scans."
        )
    axis = given[0].upper()
    return axis, list(range(len(pages))) if axis == "C" else [0] * len(pages)
