"""Our tables beside the paper's, and what is said of its findings."""

import numpy as np

from locreg.evaluation.paper import printed
from locreg.evaluation.paper.tables import compare_table1, compare_table2


def cells(psnr):
    """Lines of an evaluation, from a PSNR for each method and level."""
    return [
        {
            "method": f"m{i}",
            "sigma": f"{sigma:g}",
            "image": image,
            "psnr": str(value + shift),
            "lpips": "",
        }
        for i, row in enumerate(psnr)
        for sigma, value in zip(printed.TABLE1_SIGMAS, row, strict=True)
        for image, shift in (("a", -1), ("b", 1))
    ]


def test_the_paper_s_own_numbers_confirm_its_findings():
    text = compare_table1(cells(printed.TABLE1), [f"m{i}" for i in range(5)])
    assert "| 0.05 | 33.24 (33.24, +0.00) | 28.94 (28.94, +0.00) |" in text
    assert "| [0.05, 0.3] | 32.92" in text
    assert "Cells below the paper's: 0 of 25" in text
    assert "wins at 0.3 and 0.4: yes, by +1.33 and +1.71 dB" in text
    assert "trained at 0.2 by +0.41 and +0.37 dB" in text
    assert "trained at 0.4 by -0.05 and +0.17 dB" in text
    assert "lie within 0.82 dB" in text


def test_findings_that_fail_are_said_to():
    worse = np.array(printed.TABLE1)
    worse[4] = 10
    text = compare_table1(cells(worse), [f"m{i}" for i in range(5)])
    assert "Cells below the paper's: 5 of 25" in text
    assert "wins at 0.3 and 0.4: NO" in text


def test_what_was_not_measured_is_said_so():
    rows = [
        {"method": "x", "sigma": f"{s:g}", "image": "a", "psnr": "29", "lpips": ""}
        for s in printed.TABLE2_SIGMAS
    ]
    text = compare_table2(rows, {"ALR": "x"}, {"x": "1"})
    assert "| ALR | 29.00 (28.85, +0.15) |" in text
    assert "| ALR | not measured (0.29) |" in text
