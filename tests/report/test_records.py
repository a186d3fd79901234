"""Records of what was done, as plain data and as sentences."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

import locreg
from locreg.regularizer.stored_weights import read_weights
from locreg.report.records import (
    history_record,
    outline,
    restoration_record,
    sentence,
    weights_record,
)


@contextlib.contextmanager
def no_progress(*_):
    yield lambda *_: None


@pytest.fixture
def options(weight_file):
    restoration = locreg.RestoreOptions(sigma=0.1, steps=3)
    return locreg.FileOptions(weights=str(weight_file), restoration=restoration)


@pytest.fixture
def file(tmp_path, options):
    """A small image upscaled with three steps."""
    samples = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    PIL.Image.fromarray(samples).save(tmp_path / "in.png")
    files = []
    events = locreg.Events(message=print, progress=no_progress, restored=files.append)
    locreg.restore_files(
        tmp_path / "in.png", tmp_path / "out.png", locreg.upscale_task(3), options, events
    )
    return files[0]


def test_a_record_says_what_was_done_in_plain_data(file, options, tmp_path):
    record = restoration_record(file, options)
    assert json.loads(json.dumps(record)) == record
    assert record["input"] == str(tmp_path / "in.png")
    assert record["output"] == str(tmp_path / "out.png")
    assert (record["task"], record["factor"]) == ("upscale", 3)
    assert (record["sigma"], record["lam"]) == (0.1, file.restoration.lam)
    assert (record["iterations"], record["status"]) == (3, "maximum steps")
    assert not record["learned"]


def test_the_history_has_the_energy_of_every_step(file):
    history = history_record(file.restoration.solution)
    assert len(history) == 4
    lam = file.restoration.lam
    for step in history:
        assert step["energy"] == pytest.approx(step["data_term"] + lam * step["regularizer"])
        assert step["gradient_norm"] > 0


def test_a_sentence_names_what_a_person_asks_for(file, options):
    record = restoration_record(file, options)
    text = sentence(record)
    assert text.startswith(f"{record['output']}: ")
    assert "0.1" in text
    assert "3 steps" in text
    alone = sentence(record | {"iterations": 1, "sigma": None})
    assert "1 step," in alone
    assert "sigma" not in alone
    assert "noise" not in alone


def test_weights_are_described_in_plain_data(weight_file):
    weights = read_weights(weight_file)
    record = weights_record("mine", weights)
    json.dumps(record)
    assert (record["weights"], record["in_channels"], record["receptive_field"]) == ("mine", 3, 5)
    assert record["parameters"] == 3 * 4 * 9 + 4 + 4 * 9
    assert record["calibration"]["sigma_range"] == (0.05, 0.4)
    assert weights_record("mine", replace(weights, calibration=None))["calibration"] is None


def test_an_outline_indents_nested_data():
    text = outline(
        {"name": "x", "empty": {}, "inner": {"values": (1.0, 0.123456)}, "none": None,
         "rows": [{"a": 1, "b": 2.5}]}
    )  # fmt: skip
    assert text.splitlines() == [
        "name: x",
        "empty: {}",
        "inner:",
        "  values: 1, 0.12346",
        "none: none",
        "rows:",
        "  a 1, b 2.5",
    ]
