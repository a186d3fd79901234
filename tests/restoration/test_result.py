"""What a restoration removed, in every way in which images are denoised."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import random_image
from locreg.regularizer.denoising_energy import load_energy
from locreg.regularizer.local_regularizer import load
from locreg.report.records import restoration_record
from locreg.restoration.denoise import denoise
from locreg.restoration.file_tasks import denoise_task
from locreg.restoration.jobs import Job
from locreg.restoration.options import FileOptions, RestoreOptions
from locreg.restoration.restore import in_tensors, restore
from locreg.restoration.restore_image_file import RestoredFile
from locreg.restoration.tasks import inpaint

SIZE = (20, 24)
NOISE = {
    "white": RestoreOptions(sigma=0.1),
    "of a camera": RestoreOptions(sigma=0.1, noise="camera"),
    "growing with brightness": RestoreOptions(gain=0.02, read_noise=0.05),
    "of several levels": RestoreOptions(sigma=[0.1, 0.2]),
}


def noisy(channels):
    """Two images, one of which has a highlight."""
    y = random_image(2, channels, *SIZE).float()
    y[0, 0, 3, 3] = 5
    return y


def row_mask():
    """(H, 1), 0 in every third row."""
    return (np.arange(SIZE[0]) % 3 > 0).astype(np.uint8)[:, None]


def assert_was_removed(found, y, observed):
    residual = np.asarray(found.residual)
    seen = np.broadcast_to(observed.astype(bool), y.shape)
    expected = np.where(seen, np.asarray(y) - np.asarray(found.image), np.float32(np.nan))
    np.testing.assert_allclose(residual, expected, atol=1e-6)
    assert residual.dtype == np.float32


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize(
    ("weights", "channels"), [("denoise-gray", 1), ("denoise-gray", 3), ("denoise-rgb", 3)]
)
def test_the_residual_is_what_was_removed_where_something_was_observed(weights, channels, kind):
    y, options, mask = noisy(channels), NOISE[kind], row_mask()
    for given in (mask, mask.astype(bool), np.broadcast_to(mask, y.shape)):
        found = denoise(y.numpy(), load_energy(weights), options, observed=given)
        assert_was_removed(found, y, mask)
        found = restore(y, load(weights), options=options, observed=torch.tensor(given))
        assert_was_removed(found, y, mask)


def test_missing_pixels_of_a_batch_are_known_for_each_image():
    y, known = noisy(1).clamp(0, 1), torch.from_numpy(row_mask().astype(bool)).expand(SIZE)
    options = RestoreOptions(sigma=[0.05, 0.2], steps=2)
    found = inpaint(y, load("denoise-gray"), known, options)
    for k, sigma in enumerate(options.sigma):
        alone = inpaint(y[k : k + 1], load("denoise-gray"), known, replace(options, sigma=sigma))
        residual = found.residual[k : k + 1]
        torch.testing.assert_close(residual, alone.residual, equal_nan=True)
        assert torch.equal(residual.isnan()[0, 0], ~known)


def test_the_values_are_where_the_image_is():
    """A device without values stands for a GPU."""
    y = noisy(1)
    found = denoise(y.numpy(), load_energy("denoise-gray"), NOISE["white"], observed=row_mask())
    assert in_tensors(found, y.to("meta")).residual.device.type == "meta"


def test_a_record_has_the_root_mean_square_of_what_was_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("locreg.report.records._VALUES", 7)  # so that there are many parts
    y, energy = noisy(3)[1:], load_energy("denoise-rgb")
    for observed in (None, row_mask()):
        found = denoise(y.numpy(), energy, NOISE["white"], observed=observed)
        job = Job(tmp_path / "in.png", tmp_path / "out.png")
        file = RestoredFile(job, denoise_task(), "denoise-rgb", energy, None, found.image[0], found)
        record = restoration_record(file, FileOptions())
        assert record["removed"] == pytest.approx(np.sqrt(np.nanmean(found.residual**2)), rel=1e-5)
