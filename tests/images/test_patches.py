"""Random patches: reproducible, unbiased, bounded in memory, and not stopped by bad files."""

import tracemalloc
from collections import defaultdict

import numpy as np
import pytest
import pyvips
import torch

from conftest import numbers_in, random_image
from locreg.errors import LocregError
from locreg.images.image_file import write_image
from locreg.images.patches import PatchPool, centre, load_crops
from locreg.images.sources import split_sources


def test_a_batch_depends_on_seed_and_iteration_alone(numbered_images):
    files, _ = split_sources([numbered_images], held_out=0, seed=0)
    one = PatchPool(files, size=5, channels=3, seed=4, capacity=3, renewal=2)
    batches = [one.patches(6, k) for k in range(30)]
    again = PatchPool(files, size=5, channels=3, seed=4, capacity=3, renewal=2)
    for k in (29, 3, 17):
        np.testing.assert_array_equal(again.patches(6, k), batches[k])
    assert not np.array_equal(batches[0], batches[1])


def test_the_pool_holds_few_images_and_visits_all(numbered_images):
    files, _ = split_sources([numbered_images], held_out=0, seed=0)
    pool = PatchPool(files, size=5, channels=3, seed=0, capacity=3, renewal=1)
    seen = set()
    for k in range(12):
        held = numbers_in(pool.patches(40, k))
        assert len(held) == 3
        seen |= held
    assert seen == set(range(12))


def test_large_images_are_kept_as_crops(numbered_images):
    """Green counts columns: all patches of an image lie within 8 of its 30."""
    pool = PatchPool(sorted(numbered_images.iterdir()), size=5, channels=3, seed=0, crop=8)
    columns = defaultdict(set)
    for patch in np.rint(pool.patches(600, 0) * 255).astype(int):
        columns[patch[0, 0, 0]] |= set(patch[1].ravel().tolist())
    assert len(columns) == 12
    for found in columns.values():
        assert found == set(range(min(found), min(found) + 8))


def test_the_rest_of_a_large_image_is_not_kept_in_memory(tmp_path):
    write_image(tmp_path / "large.png", np.zeros((3, 1000, 1000), np.float32))
    tracemalloc.start()
    try:
        pool = PatchPool([tmp_path / "large.png"], size=5, channels=3, seed=0, crop=8)
        assert pool.patches(1, 0).shape == (1, 3, 5, 5)
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most > 3_000_000
    assert held < 300_000


def test_patches_may_be_larger_than_the_crops(numbered_images):
    pool = PatchPool(sorted(numbered_images.iterdir()), size=9, channels=3, seed=0, crop=8)
    assert pool.patches(2, 0).shape == (2, 3, 9, 9)


def test_augmentation_reaches_eight_orientations(numbered_images):
    corner = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
    pyvips.Image.new_from_array(corner).copy(interpretation="b-w").write_to_file(
        str(numbered_images / "corner.png")
    )
    for augment, count in ((True, 8), (False, 1)):
        pool = PatchPool(
            [numbered_images / "corner.png"], size=3, channels=1, seed=0, augment=augment
        )
        assert len({patch.tobytes() for patch in pool.patches(200, 0)}) == count


def test_unusable_files_are_named_counted_and_left_out(numbered_images, caplog):
    (numbered_images / "text.png").write_text("hello")
    (numbered_images / "zero.jpg").write_bytes(b"")
    tiny = pyvips.Image.new_from_array(np.zeros((3, 3, 3), np.uint8))
    tiny.copy(interpretation="srgb").write_to_file(str(numbered_images / "tiny.png"))
    files, _ = split_sources([numbered_images], held_out=0, seed=0)
    pool = PatchPool(files, size=5, channels=3, seed=0)
    assert pool.patches(8, 0).shape == (8, 3, 5, 5)
    assert {p.name for p in pool.skipped} == {"text.png", "zero.jpg", "tiny.png"}
    for name in ("text.png", "zero.jpg", "tiny.png"):
        assert name in caplog.text


def test_a_folder_without_usable_images_is_refused(tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.png").write_text("hello")
    pool = PatchPool(sorted(tmp_path.iterdir()), size=5, channels=3, seed=0)
    with pytest.raises(LocregError, match=r"None of 3 images.*\.png"):
        pool.patches(1, 0)


def test_the_middle_of_an_image_is_cut_out():
    image = random_image(2, 9, 4)
    assert torch.equal(centre(image, 5), image[:, 2:7])
    assert centre(image.numpy(), 20).shape == (2, 9, 4)


def test_crops_are_loaded_without_unreadable_files(numbered_images, caplog):
    (numbered_images / "text.png").write_text("hello")
    files = sorted(numbered_images.iterdir())
    crops = load_crops(files, size=24, channels=3)
    assert [tuple(crop.shape) for crop in crops] == [(1, 3, min(20 + k, 24), 24) for k in range(12)]
    assert [round(crop[0, 0].mean().item() * 255) for crop in crops] == list(range(12))
    assert "text.png" in caplog.text
    with pytest.raises(LocregError, match="None of the 1 images"):
        load_crops([numbered_images / "text.png"], size=24, channels=3)
