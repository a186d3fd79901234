"""The tables of docs/files.md: each cell is what happens to a file of another library's making."""

from pathlib import Path

import numpy as np
import pytest
from files_of_all_kinds import FOUND, MAKE, SAMPLES, decoded

import locreg
from locreg.errors import LocregError
from locreg.restoration.restore_image_file import LoadedWeights

PAGE = Path(__file__).parents[2] / "docs" / "files.md"
SUFFIXES = {"TIFF": ".tif", "PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "GIF": ".gif"}
NO_CHANGE = locreg.FileOptions(restoration=locreg.RestoreOptions(sigma=0))
LOSSY = 80  # levels of difference that JPEG makes in noise


def cells(heading, names=1):
    """(names of the row, column, cell) of the table below a heading; "-" means no such file."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    columns, _, *rows = [[part.strip() for part in line] for line in lines]
    return [
        (*row[:names], column, cell)
        for row in rows
        for column, cell in zip(columns[names:], row[names:], strict=True)
        if cell != "-"
    ]


def metadata_cells():
    """(what, from which format, to which format, cell)."""
    return [
        (what, origin, column, cell)
        for what, origins, column, cell in cells("Metadata", names=2)
        for origin in origins.split(", ")
    ]


@pytest.fixture(scope="module")
def weights():
    return LoadedWeights(NO_CHANGE)


@pytest.fixture
def copied(tmp_path, weights):
    """Restore a file without changing its pixels: (input, output, messages, error or None)."""

    def run(make, before, after):
        source, target = tmp_path / f"in{before}", tmp_path / f"out{after}"
        make(source)
        messages, error = [], None
        events = locreg.Events(message=messages.append)
        task = locreg.denoise_task()
        try:
            locreg.restore_files(source, target, task, NO_CHANGE, events, weights=weights)
        except LocregError as refused:
            error = str(refused)
            assert str(tmp_path) in error
            assert not target.exists()
        return source, target, messages, error

    return run


@pytest.mark.parametrize(("row", "column", "cell"), cells("Samples"))
def test_samples(copied, row, column, cell):
    before = SUFFIXES[column]
    after = ".png" if before == ".gif" else before
    source, target, messages, error = copied(SAMPLES[row][before], before, after)
    if cell == "refused":
        assert error is not None
        return
    assert error is None, error
    given, written = decoded(source), decoded(target)
    assert bool(messages) == (cell == "float32, said")
    if cell == "float32, said":
        assert written.dtype == np.float32
        given = given.astype(np.float32)
    if cell == "as RGB":
        assert written.shape[2] in (1, 3)
        given, written = np.broadcast_arrays(given, written)
    assert (written.dtype, written.shape) == (given.dtype, given.shape)
    most = LOSSY if cell == "lossy" else 0
    assert cell in ("kept", "lossy", "as RGB", "float32, said")
    assert np.abs(written.astype(float) - given).max() <= most


@pytest.mark.parametrize(("row", "column", "cell"), cells("What a format can hold"))
def test_what_a_format_can_hold(copied, row, column, cell):
    source, target, _, error = copied(SAMPLES[row][".tif"], ".tif", SUFFIXES[column])
    assert cell == ("kept" if error is None else "refused")
    if error is not None:
        assert "cannot hold" in error
        return
    given, written = decoded(source), decoded(target)
    if row == "inverted grey" and column != "TIFF":
        given = 255 - given
    if row == "8 bits, grey with alpha" and column == "WebP":
        given = given[..., [0, 0, 0, 1]]
    most = LOSSY if column == "JPEG" else 0
    assert np.abs(written.astype(float) - given.astype(written.dtype)).max() <= most


@pytest.mark.slow
@pytest.mark.parametrize(("what", "origin", "column", "cell"), metadata_cells())
def test_metadata(copied, what, origin, column, cell):
    before, after = SUFFIXES[origin], SUFFIXES[column]
    source, target, messages, error = copied(MAKE[what], before, after)
    assert error is None
    assert FOUND[what](source)
    if cell == "kept":
        assert FOUND[what](target)
        assert messages == []
    else:
        assert cell == "lost, said"
        assert not FOUND[what](target)
        (message,) = messages
        assert "cannot keep" in message


def test_the_tables_hold_every_kind_of_file():
    assert {(row, SUFFIXES[column]) for row, column, _ in cells("Samples")} == {
        (kind, suffix) for kind, made in SAMPLES.items() for suffix in made
    }
    assert {what for what, *_ in metadata_cells()} == set(MAKE)
