"""The page of a restoration: its pictures, what it says of the residual, and its names."""

import base64
import contextlib
import io
import re

import numpy as np
import PIL.Image
import pytest
import torch

import locreg
from locreg.report.page import whiteness_sentence, write_restoration_page
from locreg.report.records import restoration_record
from locreg.report.residuals import whiteness
from locreg.restoration.restore_image_file import LoadedWeights


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_sentence_says_how_white():
    assert "It is white" in whiteness_sentence(whiteness(noise(1, 16, 16)))
    large = noise(1, 600, 600)
    slightly = large + 0.03 * large.roll(1, 2)
    assert "It is nearly white" in whiteness_sentence(whiteness(slightly))
    found = whiteness(large + large.roll(1, 2))
    assert "It is not white: neighbours are correlated by up to 50" in whiteness_sentence(found)


@pytest.fixture
def page_of(tmp_path, photograph):
    """A page for a crop of a photograph: (options of the restoration, weights) to its text."""

    def page_of(restoration, weights="auto", name="in.png"):
        PIL.Image.fromarray(photograph[100:140, 150:200]).save(tmp_path / name)
        options = locreg.FileOptions(weights=weights, restoration=restoration)
        loaded, page = LoadedWeights(options), tmp_path / "page.html"

        def restored(file):
            write_restoration_page(page, restoration_record(file, options), file)

        events = locreg.Events(message=print, progress=no_progress, restored=restored)
        locreg.restore_files(
            tmp_path / name, tmp_path / f"out {name}", locreg.denoise_task(), options, events,
            weights=loaded,
        )  # fmt: skip
        return page.read_text()

    return page_of


@contextlib.contextmanager
def no_progress(*_):
    yield lambda *_: None


def pictures(page):
    """The pictures inside a page, by their titles."""
    found = re.findall(r'<img alt="([^"]*)" class="\w+" src="data:image/png;base64,([^"]*)"', page)
    return {
        title: np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(png)))) for title, png in found
    }


def test_a_page_holds_five_pictures_and_explains_them(page_of, weight_file):
    """The name of the file is shown as text, whatever it holds."""
    page = page_of(locreg.RestoreOptions(sigma=0.1, steps=2), str(weight_file), "<b>&.png")
    shown = pictures(page)
    assert len(shown) == 5
    assert all(min(picture.shape[:2]) > 10 and picture.std() > 1 for picture in shown.values())
    assert "<h1>out &lt;b&gt;&amp;.png</h1>" in page
    assert "<b>" not in page
    for words in (weight_file.name, "noise level", "0.1000", "90% of clean images", "correlated"):
        assert words in page


@pytest.mark.slow
def test_an_energy_without_scores_is_judged_by_a_packaged_critic(page_of):
    page = page_of(locreg.RestoreOptions(sigma=0.1), "denoise-rgb")
    assert "alr-rgb" in page
    assert "weights denoise-rgb" in page
    assert len(pictures(page)) == 5


def test_where_nothing_was_removed_no_residual_is_shown(page_of, weight_file):
    page = page_of(locreg.RestoreOptions(sigma=0, steps=2), str(weight_file))
    assert "Too little" in page
    assert len(pictures(page)) == 3
