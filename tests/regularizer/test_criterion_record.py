"""Records of criteria are written to headers and read back."""

import json

import pytest

from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError
from locreg.regularizer.criterion_record import (
    BilevelRecord,
    DenoisingRecord,
    WassersteinRecord,
    read_criterion_record,
)

RECORDS = [
    WassersteinRecord(penalty=5.0),
    WassersteinRecord(penalty=None, penalty_form="one-sided"),
    DenoisingRecord(),
    DenoisingRecord(noise=NoiseRange(low=0.0, high=0.5), steps=2),
    DenoisingRecord(level=0.07, white=4095.0),
    DenoisingRecord(name="damage", level=0.1, noise=NoiseRange(low=0.0, high=0.5), white=1023.0),
    BilevelRecord(sigma=0.1, lam=0.02),
]


@pytest.mark.parametrize("record", RECORDS, ids=repr)
def test_a_record_is_read_back_from_the_json_of_a_header(record):
    assert read_criterion_record(json.loads(json.dumps(record.describe()))) == record


@pytest.mark.parametrize(
    ("header", "record"),
    [
        ({"name": "wasserstein", "penalty": 5.0}, WassersteinRecord(penalty=5.0)),
        ({"name": "wasserstein"}, WassersteinRecord(penalty=None)),
        ({"name": "denoising"}, DenoisingRecord()),
        (
            {"name": "denoising", "noise": [0.1, 0.2]},
            DenoisingRecord(noise=NoiseRange(low=0.1, high=0.2)),
        ),
        ({"name": "damage", "level": 0.1}, DenoisingRecord(name="damage", level=0.1)),
        ({}, None),
    ],
)
def test_headers_of_older_versions_lack_later_keys(header, record):
    assert read_criterion_record(header) == record


def test_unknown_keys_of_a_known_criterion_are_ignored():
    header = BilevelRecord(sigma=0.1, lam=0.02).describe() | {"later": 1}
    assert read_criterion_record(header) == BilevelRecord(sigma=0.1, lam=0.02)


def test_an_unknown_criterion_is_refused_in_one_sentence():
    with pytest.raises(LocregError) as caught:
        read_criterion_record({"name": "contrastive"})
    said = str(caught.value)
    assert "'contrastive'" in said
    assert "newer" in said
    assert said.count(". ") == 0
    assert "\n" not in said
    assert said.endswith(".")


@pytest.mark.parametrize(
    "header",
    [{"name": "bilevel", "sigma": 0.1}, {"name": "denoising", "noise": 3}],
)
def test_an_incomplete_record_is_an_error(header):
    with pytest.raises((KeyError, TypeError)):
        read_criterion_record(header)
