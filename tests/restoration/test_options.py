"""RestoreOptions and FileOptions: values become plain numbers, and impossible ones are refused."""

import math

import numpy as np
import pytest
import torch

from conftest import random_image, small_critic
from locreg.errors import UsageError
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.options import FileOptions, RestoreOptions
from locreg.restoration.restore import restore
from locreg.solvers.options import AdamOptions

NUMBERS = [0.25, "0.25", " 0.25 ", "2.5e-1", np.float32(0.25), np.float64(0.25), np.array(0.25),
           torch.tensor(0.25)]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_a_number_of_any_kind_becomes_a_float(number):
    options = RestoreOptions(sigma=number, lam=number)
    assert (options.sigma, options.lam) == (0.25, 0.25)
    assert type(options.sigma) is type(options.lam) is float
    assert options == RestoreOptions(sigma=0.25, lam=0.25)


@pytest.mark.parametrize("number", [0, 1, "0", np.int64(1)], ids=repr)
def test_whole_numbers_become_floats_too(number):
    options = RestoreOptions(sigma=number, lam=number)
    assert type(options.sigma) is type(options.lam) is float
    assert options.sigma == options.lam == float(number)


@pytest.mark.parametrize("lam", [np.float32(0.01), torch.tensor(0.01), "0.01", 0.01])
def test_a_lam_of_any_kind_restores_alike(lam):
    solver = AdamOptions(steps=1)
    found = restore(
        random_image(1, 1, 9, 9),
        LocalRegularizer(small_critic()),
        options=RestoreOptions(lam=lam, solver=solver),
    )
    assert found.lam == pytest.approx(0.01)
    assert type(found.lam) is float


def test_words_are_kept():
    assert RestoreOptions().sigma == "auto"
    assert RestoreOptions().lam is None
    assert RestoreOptions(lam="auto") == RestoreOptions()
    for rule in ("sure", "discrepancy", "score"):
        assert RestoreOptions(lam=rule).lam == rule


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sigma": 25}, "25/255"),
        ({"sigma": "25"}, "25/255"),
        ({"sigma": -0.1}, "at least 0"),
        ({"sigma": math.nan}, "at least 0"),
        ({"sigma": math.inf}, "."),
        ({"sigma": None}, "sigma must be a number or auto, got None"),
        ({"sigma": "loud"}, "sigma must be a number or auto, got 'loud'"),
        ({"sigma": [0.1, "loud"]}, "sigma must be a number, got 'loud'"),
        ({"lam": -1.0}, "lam must be at least 0"),
        ({"lam": "-1"}, "lam must be at least 0"),
        ({"lam": math.nan}, "lam must be at least 0"),
        ({"lam": math.inf}, "lam must be at least 0 and finite"),
        ({"lam": "best"}, "lam must be a number or auto, sure, discrepancy or score, got 'best'"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"sigma": 0, "lam": "sure"}, "lam sure needs noise"),
        ({"sigma": "0", "lam": "discrepancy"}, "lam discrepancy needs noise"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        RestoreOptions(**wrong)


def test_without_noise_the_score_can_still_choose_lam():
    assert RestoreOptions(sigma=0, lam="score").sigma == 0


@pytest.mark.parametrize("white", [0, -1, math.nan, math.inf])
def test_white_must_be_positive(white):
    with pytest.raises(UsageError, match="white must be positive"):
        FileOptions(white=white)


def test_files_are_restored_with_the_best_weights_unless_others_are_chosen():
    assert FileOptions().weights == "auto"
    assert FileOptions().restoration == RestoreOptions()
    assert FileOptions(white=4095).white == 4095


def test_options_cannot_be_changed():
    with pytest.raises(AttributeError):
        RestoreOptions().sigma = 0.1
    with pytest.raises(AttributeError):
        FileOptions().white = 1.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"strength": -1}, "strength must be from 0"),
        ({"strength": 5}, "strength must be from 0"),
        ({"strength": math.nan}, "strength must be from 0"),
        ({"strength": 0.5, "lam": 0.1}, "give one of them"),
        ({"noise": "pink"}, "noise must be one of"),
        ({"noise": "poisson-gaussian", "sigma": 0.1}, "no single level"),
        ({"gain": 0.01, "sigma": 0.1}, "no single level"),
        ({"gain": 0.01, "noise": "camera"}, "leave them out"),
        ({"gain": 0.0}, "gain must be positive"),
        ({"read_noise": -0.1}, "at least 0"),
    ],
)
def test_noise_that_cannot_be_meant_is_refused(values, words):
    with pytest.raises(UsageError, match=words):
        RestoreOptions(**values)


def test_a_level_may_stand_beside_a_kind_of_one_level():
    for kind in ("white", "camera"):
        assert RestoreOptions(noise=kind, sigma=0.1).noise == kind
