"""Batches of clean and degraded patches for the critic."""

import numpy as np
import pytest

from conftest import numbers_in
from locreg.degradation.noise import NoiseRange
from locreg.images.image_file import write_image
from locreg.images.patches import PatchPool
from locreg.images.sources import split_sources
from locreg.training.criteria.wasserstein import UnpairedPatches


def test_clean_and_degraded_patches_come_from_different_images(numbered_images):
    files, held_out = split_sources([numbered_images], held_out=2, seed=1)
    halves = files[:5], files[5:]
    pools = [PatchPool(half, size=5, channels=3, seed=k) for k, half in enumerate(halves)]
    source = UnpairedPatches(pools[0], pools[1], None, seed=0)
    clean, degraded = set(), set()
    for k in range(40):
        parts = source.batch(16, k)
        clean |= numbers_in(parts[0])
        degraded |= numbers_in(parts[1])
    assert clean.isdisjoint(degraded)
    names = {int(p.stem) for p in held_out}
    assert len(names) == 2
    assert names.isdisjoint(clean | degraded)


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
