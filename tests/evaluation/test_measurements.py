"""A CSV file of measurements: every finished line is found again, whatever its name is."""

import pytest

from locreg.errors import LocregError
from locreg.evaluation.measurements import Measurements


def test_an_empty_file_and_a_line_cut_in_its_last_value(tmp_path):
    path = tmp_path / "m.csv"
    path.touch()
    known = Measurements(path, ["name"], ["psnr"])
    known.add({"name": "a", "psnr": "29.45"})
    known.add({"name": "b", "psnr": "30.5"})
    path.write_bytes(path.read_bytes().rstrip()[:-2])
    known = Measurements(path, ["name"], ["psnr"])
    assert known.find({"name": "a"})["psnr"] == "29.45"
    assert known.find({"name": "b"}) is None
    known.add({"name": "b", "psnr": "30.5"})
    assert len(Measurements(path, ["name"], ["psnr"]).rows) == 2


@pytest.mark.parametrize("name", ["a\u2028b", "a\nb", "a\rb", 'a"b,c', "b\udcff"])
def test_lines_are_found_by_any_name(tmp_path, name):
    path = tmp_path / "m.csv"
    Measurements(path, ["name"], ["psnr"]).add({"name": name, "psnr": "30.5"})
    assert Measurements(path, ["name"], ["psnr"]).find({"name": name})["psnr"] == "30.5"


def test_other_columns_are_not_overwritten(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(LocregError, match="something else"):
        Measurements(path, ["a"], ["c"])
    assert path.read_text() == "a,b\n1,2\n"


def test_a_line_is_measured_once(tmp_path):
    path, calls = tmp_path / "m.csv", []

    def measure():
        calls.append(None)
        return {"psnr": "30.5"}

    for _ in range(2):
        row = Measurements(path, ["name"], ["psnr"]).once({"name": "a"}, measure)
        assert row == {"name": "a", "psnr": "30.5"}
    assert len(calls) == 1


def test_the_later_of_two_equal_lines_counts(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("name,psnr\na,29.0\na,31.0\n")
    assert Measurements(path, ["name"], ["psnr"]).find({"name": "a"})["psnr"] == "31.0"
