"""Files restored from Python: what the callbacks get, what is counted, what a file keeps."""

import contextlib
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

import locreg
from conftest import save_picture
from locreg.errors import LocregError, UsageError
from locreg.images.image_file import read_image, read_samples

SMALL = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)


class Heard:
    """Events that write down what they are called with."""

    def __init__(self):
        self.messages, self.begun, self.steps, self.files = [], [], [], []

    def events(self, restored=None):
        return locreg.Events(
            message=self.messages.append,
            progress=self.progress,
            restored=restored or self.files.append,
        )

    @contextlib.contextmanager
    def progress(self, name, steps):
        self.begun.append((name, steps))
        yield lambda step, _: self.steps.append(step)


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def options(weight_file):
    """Three steps with small weights at a fixed noise level."""
    restoration = locreg.RestoreOptions(sigma=0.1, steps=3)
    return locreg.FileOptions(weights=str(weight_file), restoration=restoration)


@pytest.fixture
def source(tmp_path):
    """A folder with two images and a broken one between them."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        PIL.Image.fromarray(SMALL).save(folder / name)
    (folder / "b.png").write_text("not a picture")
    return folder


def test_one_image_is_restored_and_reported(tmp_path, heard, options):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    PIL.Image.fromarray(SMALL).save(source)
    counts = locreg.restore_files(source, target, locreg.denoise_task(), options, heard.events())
    assert counts == locreg.FileCounts(total=1, skipped=0, failed=0)
    assert heard.messages == []
    assert heard.begun == [("in.png", 3)]
    assert heard.steps == [0, 1, 2, 3]
    (file,) = heard.files
    assert file.job == locreg.Job(source, target)
    assert (file.task.name, file.weights) == ("denoise", options.weights)
    np.testing.assert_array_equal(file.before.pixels, SMALL.transpose(2, 0, 1) / np.float32(255))
    y = torch.from_numpy(file.before.pixels)[None]
    expected = locreg.restore(y, locreg.load(options.weights), options=options.restoration)
    torch.testing.assert_close(torch.from_numpy(file.after)[None], expected.image)
    assert (file.restoration.sigma, file.restoration.lam) == (0.1, expected.lam)
    written = np.asarray(PIL.Image.open(target))
    np.testing.assert_allclose(written.transpose(2, 0, 1) / 255, file.after.clip(0, 1), atol=2e-3)


def test_the_file_is_written_before_it_is_reported(tmp_path, heard, options):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    PIL.Image.fromarray(SMALL).save(source)
    seen = []
    events = heard.events(restored=lambda file: seen.append(file.job.target.exists()))
    locreg.restore_files(source, target, locreg.denoise_task(), options, events)
    assert seen == [True]


def test_a_broken_file_of_a_folder_is_named_and_the_others_are_restored(
    tmp_path, heard, options, source
):
    out = tmp_path / "out"
    counts = locreg.restore_files(source, out, locreg.denoise_task(), options, heard.events())
    assert counts == locreg.FileCounts(total=3, skipped=0, failed=1)
    assert [file.job.source.name for file in heard.files] == ["a.png", "c.png"]
    assert sorted(path.name for path in out.iterdir()) == [".locreg.jsonl", "a.png", "c.png"]
    (message,) = heard.messages
    assert str(source / "b.png") in message
    assert "not an image" in message


def test_files_that_are_done_are_skipped(tmp_path, heard, options, source):
    out = tmp_path / "out"
    locreg.restore_files(source, out, locreg.denoise_task(), options, heard.events())
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = Heard()
    counts = locreg.restore_files(source, out, locreg.denoise_task(), options, again.events())
    assert counts == locreg.FileCounts(total=3, skipped=2, failed=1)
    assert again.files == []
    assert "2 of 3 images" in again.messages[0]
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_what_is_outdated_is_made_again_and_what_is_not_ours_is_left_alone(
    tmp_path, options, source
):
    """Never skipped silently, and never overwritten silently."""
    (source / "b.png").unlink()
    out = tmp_path / "out"

    def run(options):
        heard = Heard()
        counts = locreg.restore_files(source, out, locreg.denoise_task(), options, heard.events())
        return [file.job.source.name for file in heard.files], counts, heard.messages

    assert run(options)[0] == ["a.png", "c.png"]
    assert run(options)[0] == []
    options = replace(options, restoration=locreg.RestoreOptions(sigma=0.2))
    names, _, messages = run(options)
    assert names == ["a.png", "c.png"]
    assert "2 of 2 images were made with other settings" in messages[0]
    PIL.Image.fromarray(255 - SMALL).save(source / "a.png")
    assert run(options)[0] == ["a.png"]
    PIL.Image.fromarray(SMALL).save(out / "c.png")
    names, counts, messages = run(options)
    assert (names, counts.skipped) == ([], 2)
    assert "left alone (--overwrite replaces them)" in messages[1]
    np.testing.assert_array_equal(read_samples(out / "c.png"), SMALL)
    assert run(replace(options, overwrite=True))[0] == ["a.png", "c.png"]


def test_an_error_in_the_callback_counts_as_a_failure_of_its_file(tmp_path, heard, options, source):
    def refuse(file):
        if file.job.source.name == "a.png":
            raise LocregError(f"no page for {file.job.source.name}")
        heard.files.append(file)

    (source / "b.png").unlink()
    counts = locreg.restore_files(
        source, tmp_path / "out", locreg.denoise_task(), options, heard.events(refuse)
    )
    assert counts == locreg.FileCounts(total=2, skipped=0, failed=1)
    assert [file.job.source.name for file in heard.files] == ["c.png"]
    assert ["no page for a.png" in message for message in heard.messages] == [True]
    assert (tmp_path / "out" / "a.png").exists()


@pytest.mark.parametrize("error", [UsageError, ValueError])
def test_other_errors_of_the_callback_end_the_run(tmp_path, heard, options, source, error):
    """A usage error is the same for every image; anything else is a bug of the caller."""

    def refuse(_):
        raise error("stop")

    with pytest.raises(error, match="stop"):
        locreg.restore_files(
            source, tmp_path / "out", locreg.denoise_task(), options, heard.events(refuse)
        )
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["a.png"]


def test_a_single_file_that_fails_raises_its_error(tmp_path, heard, options, source):
    with pytest.raises(LocregError, match=r"b\.png is not an image"):
        locreg.restore_files(
            source / "b.png", tmp_path / "out.png", locreg.denoise_task(), options, heard.events()
        )
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_images_too_large_for_the_memory_do_not_stop_the_others(
    tmp_path, heard, options, source, error
):
    """The task takes the place of a device whose memory does not suffice for the first image."""

    def restore(y, regularizer, *, options, on_step):
        if not (tmp_path / "out" / "a.png").exists() and len(heard.begun) == 1:
            raise error
        usual = locreg.denoise_task().restore_of(None)
        return usual(y, regularizer, options=options, on_step=on_step)

    scarce = locreg.FileTask(name="denoise", restore_of=lambda _: restore)
    (source / "b.png").unlink()
    counts = locreg.restore_files(source, tmp_path / "out", scarce, options, heard.events())
    assert counts == locreg.FileCounts(total=2, skipped=0, failed=1)
    (message,) = heard.messages
    assert "a.png does not fit into the memory" in message
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["c.png"]


TASKS = {
    "denoise": lambda _: locreg.denoise_task(),
    "deblur": lambda _: locreg.deblur_task("gaussian:3:1"),
    "inpaint": lambda folder: locreg.inpaint_task(folder / "mask.png"),
    "upscale": lambda _: locreg.upscale_task(2),
}


@pytest.mark.parametrize("name", TASKS)
def test_16_bits_and_alpha_are_kept_by_every_task(tmp_path, heard, options, name):
    random = np.random.default_rng(1)
    samples = random.integers(0, 65536, (12, 14, 4), dtype=np.uint16)
    save_picture(tmp_path / "in.png", samples, "rgb16")
    mask = np.zeros((12, 14), np.uint8)
    mask[3:5, 2:9] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    task = TASKS[name](tmp_path)
    counts = locreg.restore_files(
        tmp_path / "in.png", tmp_path / "out.png", task, options, heard.events()
    )
    assert counts == locreg.FileCounts(total=1, skipped=0, failed=0)
    assert heard.files[0].task is task
    written = read_samples(tmp_path / "out.png")
    assert written.dtype == np.uint16
    alpha = heard.files[0].before.enlarged(task.factor).alpha[0]
    np.testing.assert_array_equal(written[..., 3], alpha)
    np.testing.assert_allclose(
        written[..., :3].transpose(2, 0, 1) / 65535, heard.files[0].after.clip(0, 1), atol=1e-5
    )


def test_without_noise_a_file_comes_back_as_it_was(tmp_path, heard, weight_file):
    options = locreg.FileOptions(
        weights=str(weight_file), restoration=locreg.RestoreOptions(sigma=0, steps=2)
    )
    samples = np.random.default_rng(2).integers(0, 65536, (9, 11, 4), dtype=np.uint16)
    save_picture(tmp_path / "in.tif", samples, "rgb16")
    locreg.restore_files(
        tmp_path / "in.tif", tmp_path / "out.tif", locreg.denoise_task(), options, heard.events()
    )
    np.testing.assert_array_equal(read_samples(tmp_path / "out.tif"), samples)


def test_an_output_that_is_an_input_is_refused(tmp_path, heard, options, source):
    mask = np.zeros((20, 24), np.uint8)
    mask[3:5, 2:9] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    before = {path: path.read_bytes() for path in (*source.iterdir(), tmp_path / "mask.png")}
    link = tmp_path / "link.png"
    link.symlink_to(source / "a.png")
    denoise, inpaint = locreg.denoise_task(), locreg.inpaint_task(tmp_path / "mask.png")
    for given, target, task in (
        (source / "a.png", source / "a.png", denoise),
        (source / "a.png", source, denoise),
        (source / "a.png", link, denoise),
        (source, source, denoise),
        (source / "a.png", tmp_path / "mask.png", inpaint),
    ):
        with pytest.raises(UsageError, match=r"never overwritten|folder of the inputs"):
            locreg.restore_files(given, target, task, options, heard.events())
    assert {path: path.read_bytes() for path in before} == before
    assert heard.files == []


def test_a_page_that_is_missing_is_asked_for_again(tmp_path, heard, options, source):
    """`restored` writes the pages; an image is done when its page exists as well."""
    (source / "b.png").unlink()
    out, pages = tmp_path / "out", tmp_path / "pages"

    def write_page(file):
        file.job.page.write_text("page")

    for _ in range(2):
        counts = locreg.restore_files(
            source, out, locreg.denoise_task(), options, heard.events(write_page), pages=pages
        )
    assert counts == locreg.FileCounts(total=2, skipped=2, failed=0)
    (pages / "a.png.html").unlink()
    counts = locreg.restore_files(
        source, out, locreg.denoise_task(), options, heard.events(write_page), pages=pages
    )
    assert counts == locreg.FileCounts(total=2, skipped=1, failed=0)
    assert (pages / "a.png.html").read_text() == "page"


def test_weights_that_do_not_exist_are_refused_before_any_image_is_read(tmp_path, heard, source):
    options = locreg.FileOptions(weights="nothing")
    with pytest.raises(LocregError, match="denoise-rgb"):
        locreg.restore_files(
            source, tmp_path / "out", locreg.denoise_task(), options, heard.events()
        )
    assert heard.messages == []
    assert not (tmp_path / "out").exists()


def test_grey_files_get_grey_weights(tmp_path, heard):
    PIL.Image.fromarray(SMALL[..., 0]).save(tmp_path / "grey.png")
    PIL.Image.fromarray(SMALL).save(tmp_path / "colour.png")
    options = locreg.FileOptions(restoration=locreg.RestoreOptions(sigma=0.1))
    for name in ("grey", "colour"):
        locreg.restore_files(
            tmp_path / f"{name}.png", tmp_path / f"{name}_out.png", locreg.denoise_task(), options,
            heard.events(),
        )  # fmt: skip
    assert [file.weights for file in heard.files] == ["denoise-gray", "denoise-rgb"]
    assert read_image(tmp_path / "grey_out.png").pixels.shape == (1, 20, 24)


def test_without_callbacks_errors_go_to_the_log(source, tmp_path, options, caplog):
    counts = locreg.restore_files(source, tmp_path / "out", locreg.denoise_task(), options)
    assert counts == locreg.FileCounts(total=3, skipped=0, failed=1)
    assert "b.png is not an image" in caplog.text


def test_an_input_that_is_gone_fails_alone_although_it_has_a_result(
    tmp_path, heard, options, source
):
    (source / "b.png").unlink()
    (tmp_path / "elsewhere.png").write_bytes((source / "a.png").read_bytes())
    (source / "a.png").unlink()
    (source / "a.png").symlink_to(tmp_path / "elsewhere.png")
    task, target = locreg.denoise_task(), tmp_path / "out"
    assert locreg.restore_files(source, target, task, options, heard.events()).failed == 0
    (tmp_path / "elsewhere.png").unlink()
    counts = locreg.restore_files(source, target, task, options, heard.events())
    assert counts == locreg.FileCounts(total=2, skipped=1, failed=1)
    assert "a.png" in heard.messages[-1]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_folder_is_restored_alike_by_any_number_of_workers(tmp_path, heard, source, workers):
    options = locreg.FileOptions(
        restoration=locreg.RestoreOptions(sigma=0.1, noise="white"), workers=workers
    )
    task, target = locreg.denoise_task(), tmp_path / "out"
    counts = locreg.restore_files(source, target, task, options, heard.events())
    assert counts == locreg.FileCounts(total=3, skipped=0, failed=1)
    assert [file.job.source.name for file in heard.files] == ["a.png", "c.png"]
    assert "b.png" in heard.messages[0]
    assert len(heard.begun) == (2 if workers == 1 else 0)
    alone = tmp_path / "alone.png"
    locreg.restore_files(source / "c.png", alone, task, options)
    assert (target / "c.png").read_bytes() == alone.read_bytes()
    again = locreg.restore_files(source, target, task, options, heard.events())
    assert (again.skipped, again.failed) == (2, 1)
