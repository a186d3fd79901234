"""The folder of a reproduction: its trainings go on where they ended, and its log."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import paper_scale
from locreg.errors import LocregError
from locreg.evaluation.paper import printed
from locreg.evaluation.paper.run import QUICK, Reproduction, Scale
from locreg.images.image_file import write_image
from locreg.regularizer.local_regularizer import load
from locreg.training.output import TrainingRun


def silent_run(data, out, **changes):
    return Reproduction(data, out, replace(paper_scale(), **changes), say=lambda _: None)


def test_a_part_is_timed_without_those_within_it_but_with_those_of_other_processes(
    paper_data, tmp_path, monkeypatch
):
    clock = iter([0.0, 1.0, 3.0, 4.0, 5.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    run, other = (Reproduction(paper_data, tmp_path, paper_scale()) for _ in range(2))
    with run.timed("table"):  # from 0 to 10
        with run.timed("training"):  # from 1 to 3
            pass
        with other.timed("elsewhere"):  # from 4 to 5
            pass
    monkeypatch.undo()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {record["part"]: record["seconds"] for record in log} == {
        "training": 2.0,
        "elsewhere": 1.0,
        "table": 8.0,
    }


def test_a_line_of_the_log_that_was_cut_off_is_left_out(paper_data, tmp_path):
    run = Reproduction(paper_data, tmp_path, paper_scale())
    with run.timed("first"):
        pass
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + log.read_text()[:20])
    assert [record["part"] for record in run.logged()] == ["first"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("calibration_images", "writes"),
    # The checkpoint is written before and after the training, then the weights, then their lam.
    [(0, 2), *(pytest.param(*numbers, marks=pytest.mark.slow) for numbers in ((0, 1), (1, 3)))],
)
def test_an_interrupted_training_goes_on(
    paper_data, tmp_path, monkeypatch, calibration_images, writes
):
    run = silent_run(paper_data, tmp_path, calibration_images=calibration_images)
    done = []

    def interrupt_the_next(descriptor, sync=os.fsync):
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(None)
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt_the_next)
        with pytest.raises(KeyboardInterrupt):
            run.critic(printed.FIGURE_NOISE)
    path = run.critic(printed.FIGURE_NOISE)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["finished"] for record in log] == [False, True]
    assert (load(path).calibration is not None) == bool(calibration_images)
    assert not TrainingRun(output=Path(path)).checkpoint.exists()
    assert run.critic(printed.FIGURE_NOISE) == path
    assert len(run.logged()) == 2  # nothing is trained again


@pytest.mark.slow
@pytest.mark.parametrize("calibration_images", [0, 1])
def test_a_training_without_a_checkpoint_begins_anew(paper_data, tmp_path, calibration_images):
    run = silent_run(paper_data, tmp_path, calibration_images=0)
    path = Path(run.critic(printed.FIGURE_NOISE))
    first = path.read_bytes()
    path.unlink()
    assert TrainingRun(output=path).log.exists()
    run = silent_run(paper_data, tmp_path, calibration_images=calibration_images)
    assert run.critic(printed.FIGURE_NOISE) == str(path)
    assert (load(str(path)).calibration is not None) == bool(calibration_images)
    if not calibration_images:
        assert path.read_bytes() == first


def test_a_mixture_is_fitted_once(paper_data, tmp_path):
    run = silent_run(paper_data, tmp_path)
    path = run.mixture()
    assert path.is_file()
    assert run.mixture() == path
    assert [record["part"] for record in run.logged()] == ["epll-rgb"]


def test_images_to_test_on_must_not_be_trained_on(tmp_path):
    for name in ("bsds500", "cbsd68"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "101085.png", np.zeros((3, 20, 20), np.float32))
    with pytest.raises(LocregError, match="such as 101085"):
        Reproduction(tmp_path, tmp_path / "out", paper_scale()).check_data()


def test_the_whole_work_is_the_default_and_a_quick_run_says_so(paper_data, tmp_path):
    assert Reproduction(paper_data, tmp_path).scale == Scale()
    assert not Scale().warning
    assert QUICK.warning.startswith("Quick run")
