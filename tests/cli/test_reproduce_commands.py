"""`locreg reproduce` and `locreg fit-epll`."""

import numpy as np
import PIL.Image
import pytest

from locreg.evaluation.epll import load_mixture
from locreg.evaluation.paper.printed import FIGURE_NOISE
from locreg.regularizer.critic import PatchCritic, standard_layers
from locreg.regularizer.weights import Weights, save_weights


@pytest.fixture
def data(tmp_path, photograph):
    """Pieces of a photograph under the name of the data set to train on."""
    folder = tmp_path / "data" / "bsds500"
    folder.mkdir(parents=True)
    for k in range(15):
        piece = photograph[30 * k : 30 * k + 40, 200:248]
        PIL.Image.fromarray(piece).save(folder / f"{k:02}.png")
    return folder.parent


def test_a_figure_is_made_with_the_weights_that_are_there(locreg, data, tmp_path):
    out = tmp_path / "out"
    weights = out / "quick" / "weights" / f"alr-{str(FIGURE_NOISE).replace(':', '-')}.safetensors"
    weights.parent.mkdir(parents=True)
    critic = PatchCritic(standard_layers((2,) * 6, "relu")).requires_grad_(False)
    save_weights(Weights(critic=critic), weights)
    before = weights.read_bytes()
    status, page, err = locreg("reproduce", "fig2", "--data", data, "-o", out, "--quick")
    assert status == 0, err
    assert page.strip() == str(out / "quick" / "results.md")
    assert "fig2.png" in (out / "quick" / "results.md").read_text()
    assert np.asarray(PIL.Image.open(out / "quick" / "fig2.png")).shape[2] in (3, 4)
    assert weights.read_bytes() == before


def test_what_is_no_figure_or_has_no_data_is_refused(locreg, data, tmp_path):
    assert locreg("reproduce", "fig9", "--data", data, "-o", tmp_path / "out")[0] == 2
    status, _, err = locreg("reproduce", "fig1", "--data", tmp_path, "-o", tmp_path / "out")
    assert status == 1
    assert "bsds500" in err
    command = ("reproduce", "fig1", "--data", data, "-o", tmp_path / "out", "--processes", 0)
    status, _, err = locreg(*command)
    assert (status, "processes must be at least 1" in err) == (2, True)


def test_a_mixture_is_fitted_to_patches(locreg, data, tmp_path):
    mixture, photographs = tmp_path / "epll.safetensors", data / "bsds500"
    fit = ("fit-epll", "--clean", photographs, "-o", mixture, "--components", 2,
           "--patch-size", 4, "--patches", 200, "--iterations", 2)  # fmt: skip
    status, text, err = locreg(*fit)
    assert status == 0, err
    assert f"{mixture}: log-likelihood" in text
    assert load_mixture(mixture).covariances.shape == (2, 48, 48)
    status, _, err = locreg(*fit)
    assert (status, "exists already" in err) == (1, True)
    assert locreg(*fit[:-1], 0)[0] == 2
