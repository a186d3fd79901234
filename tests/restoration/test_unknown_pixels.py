"""Pixels whose values mean nothing: missing under a mask, or transparent."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import locreg
from conftest import save_picture
from locreg.errors import LocregError
from locreg.images.image_file import read_samples
from locreg.images.orientation import as_seen, as_stored

FAST = locreg.RestoreOptions(steps=3)


@pytest.fixture
def options(weight_file):
    return locreg.FileOptions(weights=str(weight_file), restoration=FAST)


@pytest.fixture
def picture():
    """A noisy colour image of 80x96 pixels, in [0, 1]."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[0:80, 0:96] / 96
    smooth = 0.5 + 0.3 * np.stack([np.sin(5 * x), np.cos(4 * y), x * y], axis=2)
    return (smooth + 0.05 * random.standard_normal(smooth.shape)).astype(np.float32)


@pytest.fixture
def missing(tmp_path):
    mask = np.zeros((80, 96), np.uint8)
    mask[30:36, 20:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return mask > 0


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -9999.0, 3e38, 40.0])
def test_missing_pixels_may_have_any_value(tmp_path, options, picture, missing, nothing):
    """They change neither the result nor the noise level that is found."""
    found = []
    for name, value in (("a.tif", 0.5), ("b.tif", nothing)):
        pixels = picture.copy()
        pixels[missing] = value
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb")
        task = locreg.inpaint_task(tmp_path / "mask.png")
        locreg.restore_files(tmp_path / name, tmp_path / f"out-{name}", task, options)
        found.append(tifffile.imread(tmp_path / f"out-{name}"))
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(*found)


def test_missing_pixels_do_not_reach_what_is_seen_through_what_is_hidden(
    tmp_path, options, picture, missing
):
    found = []
    for name, value in (("a.png", 0), ("b.png", 255)):
        samples = np.dstack([(picture.clip(0, 1) * 255).round(), np.full((80, 96), 255)])
        samples = samples.astype(np.uint8)
        samples[36:, :, 3] = 0  # right below what is missing
        samples[missing, :3] = value
        save_picture(tmp_path / name, samples, "srgb")
        task = locreg.inpaint_task(tmp_path / "mask.png")
        locreg.restore_files(tmp_path / name, tmp_path / f"out-{name}", task, options)
        found.append(read_samples(tmp_path / f"out-{name}"))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("task", [locreg.denoise_task, locreg.upscale_task])
def test_what_nobody_sees_may_be_no_number(tmp_path, options, picture, task):
    samples = np.dstack([picture, np.ones((80, 96), np.float32)])
    samples[:, 60:] = np.nan, -9999, 3e38, 0
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["unassalpha"])
    locreg.restore_files(tmp_path / "a.tif", tmp_path / "b.tif", task(), options)
    found = tifffile.imread(tmp_path / "b.tif")
    seen = found[..., 3] > 0
    assert seen.any()
    assert (np.abs(found[seen]) < 2).all()


def test_a_mask_of_all_that_is_seen_is_refused(tmp_path, options, picture, missing):
    samples = np.dstack([(picture.clip(0, 1) * 255).round(), 255 * missing]).astype(np.uint8)
    save_picture(tmp_path / "a.png", samples, "srgb")
    task = locreg.inpaint_task(tmp_path / "mask.png")
    with pytest.raises(LocregError, match="every pixel that can be seen"):
        locreg.restore_files(tmp_path / "a.png", tmp_path / "b.png", task, options)


def test_what_is_no_number_must_be_missing(tmp_path, options, picture, missing):
    picture[missing] = np.nan
    picture[0, 0, 1] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb")
    for task, words in (
        (locreg.inpaint_task(tmp_path / "mask.png"), "the mask must mark them too"),
        (locreg.denoise_task(), "fill them with `locreg inpaint`"),
    ):
        with pytest.raises(LocregError, match=words):
            locreg.restore_files(tmp_path / "a.tif", tmp_path / "b.tif", task, options)
    assert not (tmp_path / "b.tif").exists()


@pytest.mark.parametrize("task", [locreg.denoise_task, locreg.upscale_task])
def test_colours_that_nobody_sees_change_nothing_that_is_seen(tmp_path, options, picture, task):
    """Otherwise the edge of what is cut out of a picture gets a rim of them."""
    random = np.random.default_rng(2)
    found, levels = [], []
    hidden = np.zeros((80, 96), bool)
    hidden[:, 60:] = True
    for name, colours in (("a.png", 0), ("b.png", random.integers(0, 256, (80, 96, 3)))):
        samples = np.dstack([(picture.clip(0, 1) * 255).round(), np.full((80, 96), 255)])
        samples = samples.astype(np.uint8)
        samples[hidden, :3] = np.broadcast_to(colours, (80, 96, 3))[hidden]
        samples[hidden, 3] = 0
        save_picture(tmp_path / name, samples, "srgb")
        events = locreg.Events(restored=lambda file: levels.append(file.restoration.sigma))
        locreg.restore_files(tmp_path / name, tmp_path / f"out-{name}", task(), options, events)
        found.append(read_samples(tmp_path / f"out-{name}"))
        if task is locreg.denoise_task:
            np.testing.assert_array_equal(found[-1][hidden], samples[hidden])
    assert levels[0] == levels[1]
    seen = found[0][..., 3] > 0
    assert seen.any()
    np.testing.assert_array_equal(found[0][seen], found[1][seen])


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_a_kernel_is_that_of_the_picture_as_it_is_seen(tmp_path, options, picture, orientation):
    kernel = np.zeros((3, 5), np.float32)
    kernel[0, 0], kernel[1, 2], kernel[1, 4] = 0.2, 0.5, 0.3
    np.save(tmp_path / "kernel.npy", kernel)
    samples = (picture.clip(0, 1) * 255).round().astype(np.uint8)
    stored = np.moveaxis(as_stored(np.moveaxis(samples, -1, 0), orientation), 0, -1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(samples).save(tmp_path / "upright.png")
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    options = replace(options, ensemble=True)  # the same for turned images
    task = locreg.deblur_task(str(tmp_path / "kernel.npy"))
    for name in ("upright", "turned"):
        locreg.restore_files(tmp_path / f"{name}.png", tmp_path / f"{name}.tif", task, options)
    turned = as_seen(np.moveaxis(tifffile.imread(tmp_path / "turned.tif"), -1, 0), orientation)
    upright = np.moveaxis(tifffile.imread(tmp_path / "upright.tif"), -1, 0)
    assert np.abs(turned.astype(int) - upright).max() <= 1
    assert np.abs(upright.astype(int) - np.moveaxis(samples, -1, 0)).max() > 5


def test_the_mask_of_an_image_is_one_of_the_folder_and_never_the_image_itself(tmp_path, missing):
    for folder in ("in", "masks"):
        (tmp_path / folder).mkdir()
    source = tmp_path / "masks" / ".." / "in" / "a.jpg"
    Image.fromarray(np.zeros((80, 96), np.uint8)).save(source)
    task_of = lambda folder: locreg.inpaint_task(tmp_path / folder)  # noqa: E731
    with pytest.raises(LocregError, match="holds no mask for"):
        task_of("in").mask(source)
    Image.fromarray(255 * missing.astype(np.uint8)).save(tmp_path / "masks" / "a.PNG")
    np.testing.assert_array_equal(task_of("masks").mask(source).missing, missing)
    Image.fromarray(255 * missing.astype(np.uint8)).save(tmp_path / "masks" / "a.tif")
    with pytest.raises(LocregError, match="are both masks for"):
        task_of("masks").mask(source)


def test_a_result_is_made_again_when_its_mask_has_changed(tmp_path, options, picture, missing):
    for folder in ("in", "masks"):
        (tmp_path / folder).mkdir()
    samples = (picture.clip(0, 1) * 255).round().astype(np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(samples).save(tmp_path / "in" / name)
        Image.fromarray(255 * missing.astype(np.uint8)).save(tmp_path / "masks" / name)

    def skipped():
        task = locreg.inpaint_task(tmp_path / "masks")
        return locreg.restore_files(tmp_path / "in", tmp_path / "out", task, options).skipped

    assert [skipped(), skipped()] == [0, 2]
    Image.fromarray(255 * missing.T[:80, :].repeat(2, axis=1)[:, :96].astype(np.uint8)).save(
        tmp_path / "masks" / "b.png"
    )
    assert [skipped(), skipped()] == [1, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_tasks_refuse_what_is_no_number(picture, value):
    y = picture.transpose(2, 0, 1)[None].copy()
    y[0, 0, 3, 4] = value
    regularizer = locreg.load("ridge-rgb")
    known = torch.ones(80, 96)
    for task in (
        lambda: locreg.deblur(y, regularizer, np.ones((1, 1), np.float32)),
        lambda: locreg.upscale(y, regularizer),
        lambda: locreg.inpaint(y, regularizer, known),
    ):
        with pytest.raises(LocregError, match="NaN or infinite"):
            task()


def test_an_image_is_not_its_own_mask(tmp_path, missing):
    assert missing.any()
    with pytest.raises(LocregError, match="is the image itself"):
        locreg.inpaint_task(tmp_path / "mask.png").mask(tmp_path / "mask.png")
