"""``locreg reproduce`` and ``locreg fit-epll``."""

import shutil

import numpy as np
import pytest

from locreg.evaluation.epll import load_mixture
from locreg.images.image_file import write_image


def test_the_command_makes_a_figure_from_the_weights_that_lie_there(
    paper_data, tmp_path, weight_file, locreg
):
    weights = tmp_path / "quick" / "weights"
    weights.mkdir(parents=True)
    shutil.copy(weight_file, weights / "alr-0.1-0.1.safetensors")
    status, page, said = locreg(
        "reproduce", "fig2", "--data", paper_data, "-o", tmp_path, "--quick"
    )
    assert status == 0
    assert page.strip() == str(tmp_path / "quick" / "results.md")
    assert "Quick run" in (tmp_path / "quick" / "results.md").read_text()
    assert "training" not in said


@pytest.mark.slow
def test_the_command_makes_the_figure_of_a_circle(paper_data, tmp_path, locreg):
    status, page, _ = locreg("reproduce", "fig1", "--data", paper_data, "-o", tmp_path, "--quick")
    assert status == 0
    assert page.strip() == str(tmp_path / "quick" / "results.md")


def test_what_cannot_be_reproduced_is_refused(paper_data, tmp_path, locreg):
    assert locreg("reproduce", "fig9", "--data", paper_data, "-o", tmp_path)[0] == 2
    arguments = ["--data", paper_data, "-o", tmp_path, "--processes", 0]
    assert locreg("reproduce", "fig1", *arguments)[0] == 2


def test_missing_images_to_test_on_are_named(tmp_path, locreg):
    (tmp_path / "bsds500").mkdir()
    for k in range(15):
        write_image(tmp_path / "bsds500" / f"{k}.png", np.zeros((1, 20, 20), np.float32))
    status, _, said = locreg("reproduce", "table2", "--data", tmp_path, "-o", tmp_path / "out")
    assert status == 1
    assert "cbsd68 does not exist" in said


def test_a_mixture_is_fitted_and_never_overwritten(folder, tmp_path, locreg):
    out = tmp_path / "epll.safetensors"
    fit = ["fit-epll", "--clean", folder, "-o", out, "--patch-size", 2]
    small = ["--components", 2, "--patches", 200, "--iterations", 2]
    status, printed, _ = locreg(*fit, *small)
    assert status == 0
    assert "log-likelihood" in printed
    mixture = load_mixture(out)
    assert (mixture.side, mixture.channels, len(mixture.shares)) == (2, 3, 2)
    written = out.read_bytes()
    assert locreg(*fit, *small)[0] == 1
    assert out.read_bytes() == written
    assert locreg(*fit, "--components", 0)[0] == 2
    assert locreg(*fit, "--patches", 5)[0] == 2
    assert locreg(*fit, "--channels", 2)[0] == 2
