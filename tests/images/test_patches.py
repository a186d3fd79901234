"""Unpaired sampling: reproducible, unbiased, bounded in memory, and not stopped by bad files."""

import numpy as np
import pytest
import pyvips

from locreg.errors import LocregError, UsageError
from locreg.images import write_image
from locreg.options import NoiseRange
from locreg.patches import PatchPool, UnpairedPatches, add_noise_in_range, split_sources


@pytest.fixture
def folder(tmp_path):
    """Twelve images; every pixel of image k has the value k in red."""
    for k in range(12):
        samples = np.zeros((20 + k, 30, 3), np.uint8)
        samples[:, :, 0] = k
        samples[:, :, 1] = np.arange(30)
        image = pyvips.Image.new_from_array(samples).copy(interpretation="srgb")
        image.write_to_file(str(tmp_path / f"{k:02}.png"))
    return tmp_path


def which(patches):
    return set(np.rint(patches[:, 0] * 255).astype(int).ravel().tolist())


def test_a_batch_depends_on_seed_and_iteration_alone(folder):
    files, _ = split_sources([folder], held_out=0, seed=0)
    one = PatchPool(files, size=5, channels=3, seed=4, capacity=3, renewal=2)
    batches = [one.patches(6, k) for k in range(30)]
    again = PatchPool(files, size=5, channels=3, seed=4, capacity=3, renewal=2)
    for k in (29, 3, 17):
        np.testing.assert_array_equal(again.patches(6, k), batches[k])
    assert not np.array_equal(batches[0], batches[1])


def test_the_pool_holds_few_images_and_visits_all(folder):
    files, _ = split_sources([folder], held_out=0, seed=0)
    pool = PatchPool(files, size=5, channels=3, seed=0, capacity=3, renewal=1)
    seen = set()
    for k in range(12):
        seen |= which(pool.patches(40, k))
        assert len(pool._slots) == 3
    assert seen == set(range(12))


def test_large_images_are_kept_as_crops(folder):
    pool = PatchPool(sorted(folder.iterdir()), size=5, channels=3, seed=0, crop=8)
    pool.patches(1, 0)
    assert {image.shape for image in pool._slots.values()} == {(3, 8, 8)}


def test_patches_may_be_larger_than_the_crops(folder):
    pool = PatchPool(sorted(folder.iterdir()), size=9, channels=3, seed=0, crop=8)
    assert pool.patches(2, 0).shape == (2, 3, 9, 9)


def test_clean_and_degraded_patches_come_from_different_images(folder):
    files, held_out = split_sources([folder], held_out=2, seed=1)
    halves = files[:5], files[5:]
    pools = [PatchPool(half, size=5, channels=3, seed=k) for k, half in enumerate(halves)]
    source = UnpairedPatches(pools[0], pools[1], None, seed=0)
    clean, degraded = set(), set()
    for k in range(40):
        parts = source.batch(16, k)
        clean |= which(parts[0])
        degraded |= which(parts[1])
    assert clean.isdisjoint(degraded)
    names = {int(p.stem) for p in held_out}
    assert len(names) == 2
    assert names.isdisjoint(clean | degraded)


def test_noise_levels_are_uniform_in_the_range():
    random = np.random.default_rng(0)
    zeros = np.zeros((2000, 3, 15, 15), np.float32)
    levels = add_noise_in_range(zeros, NoiseRange(low=0.05, high=0.3), random).std(axis=(1, 2, 3))
    assert levels.min() == pytest.approx(0.05, abs=0.006)
    assert levels.max() == pytest.approx(0.3, abs=0.03)
    assert levels.mean() == pytest.approx(0.175, abs=0.005)
    assert levels.std() == pytest.approx(0.25 / 12**0.5, abs=0.005)


def test_augmentation_reaches_eight_orientations(folder):
    corner = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
    pyvips.Image.new_from_array(corner).copy(interpretation="b-w").write_to_file(
        str(folder / "corner.png")
    )
    for augment, count in ((True, 8), (False, 1)):
        pool = PatchPool([folder / "corner.png"], size=3, channels=1, seed=0, augment=augment)
        assert len({patch.tobytes() for patch in pool.patches(200, 0)}) == count


def test_unusable_files_are_named_counted_and_left_out(folder, caplog):
    (folder / "text.png").write_text("hello")
    (folder / "zero.jpg").write_bytes(b"")
    tiny = pyvips.Image.new_from_array(np.zeros((3, 3, 3), np.uint8))
    tiny.copy(interpretation="srgb").write_to_file(str(folder / "tiny.png"))
    files, _ = split_sources([folder], held_out=0, seed=0)
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


def test_too_few_images_are_refused(folder):
    with pytest.raises(LocregError, match="at least 14"):
        split_sources([folder], held_out=12, seed=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [("25", "25/255"), ("-1", "at least 0"), ("0.3:0.1", "low <= high"), ("a:b", "0.05:0.3"),
     ("nan", "at least 0"), ("1000", "above 1")],
)  # fmt: skip
def test_impossible_noise_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        NoiseRange.parse(text)


def test_common_patches_measure_the_same_with_less_spread(tmp_path):
    """The mean of |z|^2 grows by D sigma^2, whichever scenes the noisy patches show."""
    sigma, size, count = 0.1, 5, 32
    for k in range(10):
        write_image(tmp_path / f"{k}.png", np.full((3, 20, 20), k / 10, np.float32))
    files = sorted(tmp_path.iterdir())

    def gains(degraded):
        clean = PatchPool(files[0::2], size=size, channels=3, seed=0)
        patches = UnpairedPatches(clean, degraded, NoiseRange(low=sigma, high=sigma), seed=0)
        for k in range(60):
            z, noisy, _ = patches.batch(count, k)
            yield float(np.square(noisy).sum() - np.square(z).sum()) / count

    apart = list(gains(PatchPool(files[1::2], size=size, channels=3, seed=1)))
    common = list(gains(None))
    assert np.mean(common) == pytest.approx(3 * size**2 * sigma**2, abs=0.1)
    assert np.std(common) < 0.2 * np.std(apart)
