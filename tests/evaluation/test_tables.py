"""Means, paired differences with their intervals, and the tables that show them."""

import numpy as np
import pytest

from locreg.evaluation.tables import (
    Difference,
    in_words,
    markdown,
    paired_difference,
    student_interval,
    summarize,
)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(count):
    random = np.random.default_rng(count)
    hits = 0
    for _ in range(2000):
        low, high = student_interval(3 + random.standard_normal(count))
        hits += low <= 3 <= high
    assert abs(hits / 2000 - 0.95) < 0.02


def row(method, image, psnr, sigma="0.1"):
    return {"sigma": sigma, "method": method, "version": "1", "image": image, "psnr": str(psnr),
            "ssim": "0.5", "lpips": "", "seconds": "1", "megabytes": "2"}  # fmt: skip


def test_differences_are_of_the_images_that_both_have():
    rows = [row("a", "1", 30), row("a", "2", 31), row("b", "2", 30.5), row("b", "3", 99)]
    a, b = summarize(rows, reference="b")
    assert a.psnr == 30.5
    assert a.difference == Difference(mean=0.5, interval=None, images=1)
    assert b.difference is None
    assert a.lpips is None
    table = markdown([a, b], "b")
    assert "| a | 2 | 30.50 | +0.50 | **0.500** |  | 1.00 | 2 |" in table
    assert "| b | 2 | **64.75** |" in table


def test_every_noise_level_has_a_table():
    rows = [row("a", "1", 30), row("a", "1", 25, sigma="0.2")]
    text = markdown(summarize(rows, reference="a"), "a")
    assert text.index("Noise level 0.1:") < text.index("30.00") < text.index("Noise level 0.2:")
    assert text.index("Noise level 0.2:") < text.index("25.00")


def test_differences_in_words():
    rows = [row("a", name, psnr) for name, psnr in (("1", 30), ("2", 31), ("3", 32.4))]
    others = [row("b", name, 30) for name in ("1", "2", "3")]
    found = paired_difference(rows, others)
    assert in_words(found) == "+1.13 [-1.86, +4.13]"
    assert in_words(paired_difference(rows[:1], others)) == "+0.00"
    assert in_words(paired_difference(rows, [])) == ""
