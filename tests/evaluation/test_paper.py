"""The paper's tables and figures: a very small run of all of them, and what is said of them."""

import json

import numpy as np
import pytest
import torch

from locreg import paper
from locreg.errors import LocregError
from locreg.images import write_image
from locreg.paper_sections import SECTIONS, reproduce
from locreg.paper_tables import compare_table1, compare_table2
from locreg.regularizer import load
from locreg.reproduction import QUICK, Reproduction, Scale
from locreg.validation import add_noise

SMALLEST = Scale(
    warning="Smallest run.",
    iterations=1,
    widths=(2, 2),
    filters=2,
    ridge_iterations=1,
    ridge_patch=16,
    packaged=False,
    calibration_images=1,
    calibration_size=16,
    table1_images=1,
    table2_images=1,
    crop=24,
    figure_crop=32,
    figure_patches=50,
    mixture_components=2,
    mixture_patches=500,
    mixture_iterations=2,
    circle_iterations=20,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory, photograph):
    """Pieces of a photograph under the names of the data sets."""
    folder = tmp_path_factory.mktemp("data")
    pixels = photograph.transpose(2, 0, 1).astype(np.float32) / 255
    for name in ("bsds500", "cbsd68"):
        (folder / name).mkdir()
    for k in range(15):
        piece = pixels[:, 30 * k : 30 * k + 48, 200:264]
        write_image(folder / "bsds500" / f"{k:02}.png", piece)
    for name in ("119082.png", "101087.png"):
        write_image(folder / "cbsd68" / name, pixels[:, 100:140, 200:240])
    return folder


def test_everything_is_made_once(data, tmp_path, monkeypatch):
    said = []
    run = Reproduction(data, tmp_path, SMALLEST, say=said.append)
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

    monkeypatch.setattr("locreg.reproduction.train_from_folders", None)  # nothing is missing
    monkeypatch.setattr("locreg.reproduction.fit_mixture", None)
    again = reproduce(run, ["table1", "table2"]).read_text()
    assert [s for s in again.splitlines() if s.startswith("|")] == [
        s for s in page.splitlines() if s.startswith("|")
    ]


def test_a_part_is_timed_without_those_within_it_but_with_those_of_other_processes(
    data, tmp_path, monkeypatch
):
    clock = iter([0.0, 1.0, 3.0, 4.0, 5.0, 10.0])
    monkeypatch.setattr("locreg.reproduction.time.perf_counter", lambda: next(clock))
    run, other = (Reproduction(data, tmp_path, SMALLEST) for _ in range(2))
    with run.timed("table"):  # from 0 to 10
        with run.timed("training"):  # from 1 to 3
            pass
        with other.timed("elsewhere"):  # from 4 to 5
            pass
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {record["part"]: record["seconds"] for record in log} == {
        "training": 2.0,
        "elsewhere": 1.0,
        "table": 8.0,
    }


def test_an_interrupted_training_goes_on(data, tmp_path, monkeypatch):
    run = Reproduction(data, tmp_path, SMALLEST, say=lambda _: None)

    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("locreg.recipes.calibrate_white_noise", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.critic(paper.FIGURE_NOISE)
    path = run.critic(paper.FIGURE_NOISE)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["finished"] for record in log] == [False, True]
    assert load(path).calibration is not None


def test_a_training_without_a_checkpoint_begins_anew(data, tmp_path, monkeypatch):
    run = Reproduction(data, tmp_path, SMALLEST, say=lambda _: None)

    def interrupt(output, *_args, **_options):
        output.with_name(output.stem + ".log.jsonl").write_text("{}\n")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("locreg.reproduction.train_from_folders", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.critic(paper.FIGURE_NOISE)
    assert load(run.critic(paper.FIGURE_NOISE)).calibration is not None


def test_images_to_test_on_must_not_be_trained_on(tmp_path):
    for name in ("bsds500", "cbsd68"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "101085.png", np.zeros((3, 20, 20), np.float32))
    with pytest.raises(LocregError, match="such as 101085"):
        reproduce(Reproduction(tmp_path, tmp_path / "out", SMALLEST), ["fig1"])


def test_scores_rise_with_the_noise_level(photograph):
    """Figure 3 of the paper, for the packaged critic."""
    clean = torch.from_numpy(photograph[100:260, 200:360].copy()).permute(2, 0, 1)[None] / 255
    regularizer = load("alr-rgb")
    scores = [
        regularizer.score_map(add_noise(clean, sigma, seed=0)).mean().item()
        for sigma in paper.FIGURE3_SIGMAS
    ]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)


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
        for sigma, value in zip(paper.TABLE1_SIGMAS, row, strict=True)
        for image, shift in (("a", -1), ("b", 1))
    ]


def test_the_paper_s_own_numbers_confirm_its_findings():
    text = compare_table1(cells(paper.TABLE1), [f"m{i}" for i in range(5)])
    assert "| 0.05 | 33.24 (33.24, +0.00) | 28.94 (28.94, +0.00) |" in text
    assert "| [0.05, 0.3] | 32.92" in text
    assert "Cells below the paper's: 0 of 25" in text
    assert "wins at 0.3 and 0.4: yes, by +1.33 and +1.71 dB" in text
    assert "by +0.41 and +0.37 dB, from that of 0.4 at 0.4 by -0.05 and +0.17 dB" in text
    assert "lie within 0.82 dB" in text


def test_findings_that_fail_are_said_to():
    worse = np.array(paper.TABLE1)
    worse[4] = 10
    text = compare_table1(cells(worse), [f"m{i}" for i in range(5)])
    assert "Cells below the paper's: 5 of 25" in text
    assert "wins at 0.3 and 0.4: NO" in text


def test_what_was_not_measured_is_said_so():
    rows = [
        {"method": "x", "sigma": f"{s:g}", "image": "a", "psnr": "29", "lpips": ""}
        for s in paper.TABLE2_SIGMAS
    ]
    text = compare_table2(rows, {"ALR": "x"}, {"x": "1"})
    assert "| ALR | 29.00 (28.85, +0.15) |" in text
    assert "| ALR | not measured (0.29) |" in text


def test_missing_data_are_named(tmp_path, locreg):
    with pytest.raises(LocregError, match="must hold the folders bsds500"):
        reproduce(Reproduction(tmp_path, tmp_path / "out"), ["fig1"])
    (tmp_path / "bsds500").mkdir()
    for k in range(15):
        write_image(tmp_path / "bsds500" / f"{k}.png", np.zeros((1, 20, 20), np.float32))
    status, _, said = locreg("reproduce", "table2", "--data", tmp_path, "-o", tmp_path / "out")
    assert status == 1
    assert "cbsd68 does not exist" in said


def test_the_command_makes_a_figure(data, tmp_path, locreg, monkeypatch):
    monkeypatch.setattr("locreg.reproduction.QUICK", SMALLEST)
    status, page, _ = locreg("reproduce", "fig1", "--data", data, "-o", tmp_path, "--quick")
    assert status == 0
    assert page.strip() == str(tmp_path / "quick" / "results.md")
    assert QUICK.warning.startswith("Quick run")
    assert locreg("reproduce", "fig9", "--data", data, "-o", tmp_path)[0] == 2
