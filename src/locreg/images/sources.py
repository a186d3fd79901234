"""Lists the images of folders and tar files, and splits them into training and held-out images."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from locreg.errors import LocregError
from locreg.images.archives import ImageSource, list_archive
from locreg.images.files import files_below
from locreg.images.image_file import number_of_channels

READABLE = (
    *(".avif", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png"),
    *(".tf8", ".tif", ".tiff", ".btf", ".webp"),
)
_ORDER = 0  # the stream of a seed that draws the order of the images


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, also through links, sorted by path; hidden ones are left out.

    Raises:
        LocregError: when the folder does not exist or holds no image file.
        OSError: when a folder cannot be read.
    """
    if not folder.is_dir():
        raise LocregError(f"{folder} is not a folder: give a folder of images.")
    files = sorted(path for path in files_below(folder) if _is_image(path) and _is_file(path))
    if not files:
        raise LocregError(f"{folder} holds no images ({' '.join(READABLE)}).")
    return files


def other_suffixes(folder: Path, without: Path) -> Counter[str]:
    """How many files of a folder cannot be read as images, by suffix.

    Hidden files do not count, nor do the files below the folder ``without``.
    """
    return Counter(
        path.suffix.lower() or path.name
        for path in files_below(folder)
        if not _is_image(path) and not path.name.startswith(".")
        if without not in path.resolve().parents
    )


def find_channels(files: Iterable[Path]) -> set[Literal[1, 3]]:
    """The numbers of channels, 1 or 3, that occur in the files; unreadable files are ignored."""
    channels: set[Literal[1, 3]] = set()
    for path in files:
        with contextlib.suppress(LocregError):
            channels.add(3 if number_of_channels(path) >= 3 else 1)
    return channels


def list_sources(paths: Iterable[Path]) -> list[ImageSource]:
    """All images of folders and tar files, in the order of the paths.

    Within a folder images are sorted by path; within a tar file they keep its order.

    Raises:
        LocregError: when a path does not exist or holds no images, or a tar file cannot be read.
        OSError: when a folder cannot be read.
    """
    sources: list[ImageSource] = []
    for path in paths:
        if not path.is_file():
            sources += list_images(path)
            continue
        members = [member for member in list_archive(path) if _is_image(Path(member.name))]
        if not members:
            raise LocregError(f"{path} holds no images ({' '.join(READABLE)}).")
        sources += members
    return sources


def _is_file(path: Path) -> bool:
    """Whether a path is a file, or a link to one that is gone and will be named as an error."""
    return path.is_file() or not path.exists()


def _is_image(path: Path) -> bool:
    # Hidden files are no photographs: on some disks macOS adds a ._NAME for each file.
    return path.suffix.lower() in READABLE and not path.name.startswith(".")


def split_sources(
    paths: Sequence[Path], *, held_out: int, seed: int
) -> tuple[list[ImageSource], list[ImageSource]]:
    """All images of folders and tar files in a random order, split into (training, held out).

    Raises:
        LocregError: as `list_sources`, or when there are fewer than ``held_out + 2`` images.
        OSError: when a folder cannot be read.
    """
    files = list_sources(paths)
    if len(files) < held_out + 2:
        raise LocregError(
            f"Too few images in {' and '.join(map(str, paths))}: {len(files)}, and at least "
            f"{held_out + 2} are needed ({held_out} of them are held out for validation)."
        )
    order = shuffled(files, seed)
    return order[held_out:], order[:held_out]


def shuffled(sources: Sequence[ImageSource], seed: int) -> list[ImageSource]:
    """The images in a random order that depends on the seed and their number only."""
    order = np.random.default_rng([_ORDER, seed]).permutation(len(sources))
    return [sources[i] for i in order]
