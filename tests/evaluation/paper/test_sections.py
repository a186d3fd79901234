"""The paper's tables and figures: a very small run of all of them, and parts of it."""

import importlib.metadata
import json
import shutil
from dataclasses import replace

import pytest
import torch

from conftest import paper_scale
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError
from locreg.evaluation.epll import Mixture, save_mixture
from locreg.evaluation.paper import printed
from locreg.evaluation.paper.run import Reproduction
from locreg.evaluation.paper.sections import SECTIONS, reproduce
from locreg.regularizer.local_regularizer import load


def rows_of_tables(page):
    return [line for line in page.splitlines() if line.startswith("|")]


@pytest.mark.slow
def test_everything_is_made_once(paper_data, tmp_path):
    said = []
    run = Reproduction(paper_data, tmp_path, paper_scale(), say=said.append)
    page = reproduce(run, list(SECTIONS)).read_text()
    assert "Smallest run." in page
    for name, (title, _) in SECTIONS.items():
        assert title in page
        if name.startswith("fig"):
            assert (tmp_path / f"{name}.png").stat().st_size > 5_000
    assert sum("training alr-" in sentence for sentence in said) == 5
    assert sum("training ridge-" in sentence for sentence in said) == 5
    assert len((tmp_path / "table1.csv").read_text().splitlines()) == 1 + 10 * 5
    assert page.count("| [0.05, 0.3] |") == 2  # the paper's critics and ridge critics
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    parts = [record["part"] for record in log]
    assert [part for part in parts if part in SECTIONS] == list(SECTIONS)
    assert sum(part.startswith("alr-") for part in parts) == 5
    assert "epll-rgb" in parts
    assert run.logged() == log

    made = sorted([*(tmp_path / "weights").iterdir(), *tmp_path.glob("*.csv")])
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in made]
    again = reproduce(run, ["table1", "table2"]).read_text()
    assert rows_of_tables(again) == rows_of_tables(page)
    assert sorted([*(tmp_path / "weights").iterdir(), *tmp_path.glob("*.csv")]) == made
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in made] == before
    assert [record["part"] for record in run.logged()] == [*parts, "table1", "table2"]


@pytest.fixture
def run_with_weights(paper_data, tmp_path, weight_file):
    """A run that finds all its weights, and the list of what it says."""
    folder = tmp_path / "out" / "weights"
    folder.mkdir(parents=True)
    for noise in printed.TRAINING_NOISE:
        for kind in ("alr", "ridge"):
            name = f"{kind}-{noise.low:g}-{noise.high:g}.safetensors"
            shutil.copy(weight_file, folder / name)
    covariances = 0.1 * torch.eye(27)[None]
    save_mixture(Mixture(torch.ones(1), covariances, 3, {}), folder / "epll-rgb.safetensors")
    said = []
    scale = replace(paper_scale(), crop=16)
    return Reproduction(paper_data, tmp_path / "out", scale, say=said.append), said


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "table1" else n for n in SECTIONS],
)
def test_a_section_is_made_from_the_weights_that_lie_there(run_with_weights, name, monkeypatch):
    def without_bm3d(package, found=importlib.metadata.Distribution.from_name):
        if package in ("bm3d", "ptwt"):
            raise importlib.metadata.PackageNotFoundError(package)
        return found(package)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", without_bm3d)
    run, said = run_with_weights
    page = reproduce(run, [name]).read_text()
    title = SECTIONS[name][0]
    assert "Smallest run." in page
    assert title in page
    assert said[0] == title
    assert not any("training" in sentence or "fitting" in sentence for sentence in said)
    assert any("BM3D is left out" in sentence for sentence in said) == (name in ("table2", "fig4"))
    assert [record["part"] for record in run.logged()] == [name]
    if name.startswith("fig"):
        assert (run.out / f"{name}.png").stat().st_size > 5_000
        assert f"![{name}]({name}.png)" in page
        return
    csv = (run.out / f"{name}.csv").read_bytes()
    again = reproduce(run, [name]).read_text()
    assert rows_of_tables(again) == rows_of_tables(page)
    assert (run.out / f"{name}.csv").read_bytes() == csv  # nothing is measured again
    if name == "table1":
        assert len(csv.decode().splitlines()) == 1 + 10 * 5
        assert page.count("| [0.05, 0.3] |") == 2  # the paper's critics and ridge critics


def test_scores_rise_with_the_noise_level(photograph):
    """Figure 3 of the paper, for the packaged critic."""
    clean = torch.from_numpy(photograph[100:260, 200:360].copy()).permute(2, 0, 1)[None] / 255
    regularizer = load("alr-rgb")
    scores = [
        regularizer.score_map(add_noise(clean, sigma, seed=0)).mean().item()
        for sigma in printed.FIGURE3_SIGMAS
    ]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)


def test_missing_data_are_named(tmp_path):
    with pytest.raises(LocregError, match="must hold the folders bsds500"):
        reproduce(Reproduction(tmp_path, tmp_path / "out"), ["fig1"])
    assert not (tmp_path / "out").exists()
