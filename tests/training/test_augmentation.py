"""Colours and scale that training changes."""

import numpy as np
import torch

from locreg.training.augmentation import enlarge, vary_colours


def patches(count=40):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_some_patches_keep_their_colours_and_all_stay_in_range():
    before = patches()
    after = vary_colours(before, np.random.default_rng(0))
    kept = (after == before).flatten(1).all(1).float().mean()
    assert 0.2 < kept < 0.6
    assert after.min() >= 0
    assert after.max() <= 1


def test_saturation_changes_both_ways():
    before = patches()
    after = vary_colours(before, np.random.default_rng(0))
    ratio = (after.amax(1) - after.amin(1)).mean((1, 2)) / (before.amax(1) - before.amin(1)).mean(
        (1, 2)
    )
    assert ratio.min() < 0.7
    assert ratio.max() > 1.3


def test_grey_patches_stay_grey_but_for_white_balance():
    grey = patches()[:, :1].expand(-1, 3, -1, -1)
    after = vary_colours(grey, np.random.default_rng(1))
    inside = after.amax(1) < 1
    ratio = (after[:, 0] / after[:, 1].clamp_min(1e-3)).masked_fill(~inside, float("nan"))
    spread = np.nanstd(ratio.flatten(1).numpy(), axis=1)
    assert np.nanmax(spread) < 0.05


def test_the_same_seed_gives_the_same_colours():
    first, second = (vary_colours(patches(), np.random.default_rng(2)) for _ in range(2))
    assert torch.equal(first, second)


def test_enlarging_divides_the_slope_of_a_ramp():
    ramp = torch.linspace(0.2, 0.8, 61).expand(12, 3, 61, 61)
    slope = (ramp[0, 0, 30, 31] - ramp[0, 0, 30, 30]).item()
    after = enlarge(ramp, 3.0, np.random.default_rng(0))
    ratios = slope / (after[:, 0, 30, 31] - after[:, 0, 30, 30])
    assert ratios.min() >= 0.99
    assert ratios.max() <= 3.2  # the part is a whole number of pixels wide
    assert ratios.max() > 2 * ratios.min()
    assert torch.allclose(after[:, :, 30, 30], ramp[:, :, 30, 30], atol=slope)


def test_nothing_is_enlarged_by_a_factor_of_1():
    before = patches()
    assert torch.allclose(enlarge(before, 1.0, np.random.default_rng(0)), before, atol=1e-6)
