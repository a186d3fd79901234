"""What lies around a weight file, and the command that it records."""

from dataclasses import replace

import pytest

from locreg.errors import LocregError
from locreg.training.output import TrainingRun, folder_names, listing, shell_command


def test_the_recorded_command_names_files_without_their_folders():
    command = shell_command(
        ["train", "--clean", "/home/me/sharp", "-o", "a.safetensors", "--resume"]
    )
    assert command == "locreg train --clean sharp -o a.safetensors"
    assert shell_command(["train", "--clean=/me/sharp"]) == "locreg train --clean=sharp"


def test_checkpoint_and_log_lie_beside_the_weight_file(tmp_path):
    run = TrainingRun(output=tmp_path / "w.safetensors")
    assert (run.checkpoint, run.log) == (tmp_path / "w.checkpoint", tmp_path / "w.log.jsonl")


def test_a_run_is_interrupted_where_it_left_a_checkpoint(tmp_path):
    run = TrainingRun(output=tmp_path / "w.safetensors")
    run.log.touch()
    assert not run.is_interrupted()
    assert not run.log.exists()  # of a training that had no checkpoint yet
    run.log.touch()
    run.checkpoint.touch()
    assert run.is_interrupted()
    assert run.log.exists()
    run.checkpoint.unlink()
    run.output.touch()
    assert not run.is_interrupted()
    assert run.log.exists()  # of the finished weight file


def test_a_log_of_another_training_is_not_overwritten(tmp_path):
    run = TrainingRun(output=tmp_path / "w.safetensors")
    run.log.write_text("precious")
    with pytest.raises(LocregError, match="exists already"):
        run.check()
    replace(run, resume=True).check()
    assert run.log.read_text() == "precious"


def test_listings_depend_on_names_and_not_on_folders(tmp_path):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        for name in ("1.png", "2.png" if folder != "c" else "3.png"):
            (tmp_path / folder / name).touch()
    found = [listing(sorted((tmp_path / folder).iterdir())) for folder in ("a", "b", "c")]
    assert found[0] == found[1] != found[2]
    assert folder_names([tmp_path / "a", tmp_path / "b"]) == "a + b"
