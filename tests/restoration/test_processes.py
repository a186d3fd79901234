"""Restoring in other processes, after this one has used its threads."""

import multiprocessing

import numpy as np
import pytest

import locreg


def restored(seed):
    y = np.random.default_rng(seed).random((1, 1, 40, 48))
    options = locreg.RestoreOptions(sigma=0.1)
    return locreg.restore(y, locreg.load("denoise-gray"), options=options).image.numpy()


@pytest.mark.slow
def test_spawned_processes_restore_as_this_one_does():
    """Forked ones would wait for threads that they do not have (docs/api.md)."""
    expected = [restored(seed) for seed in range(2)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map_async(restored, range(2)).get(timeout=120)
    np.testing.assert_array_equal(found, expected)
