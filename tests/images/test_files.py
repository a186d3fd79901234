"""Writing files safely, walking through folders, and sets of paths that overlap."""

import os

import pytest

from locreg.errors import LocregError, UsageError
from locreg.images.files import (
    as_paths,
    check_apart,
    files_below,
    make_folder,
    write_atomically,
)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LocregError, match=r"out\.png cannot be written: No space left"):
        write_atomically(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_writing_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real.txt").write_bytes(b"old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_atomically(tmp_path / "link.txt", b"new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_bytes() == b"new"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(LocregError, match=r"out\.png cannot be written: No such file"):
        write_atomically(tmp_path / "nowhere" / "out.png", b"new")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(LocregError, match="loop cannot be written"):
        write_atomically(tmp_path / "loop", b"new")


def test_folders_are_made_with_those_above_them(tmp_path):
    for _ in range(2):  # the second time they exist
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(LocregError, match="b cannot be made"):
        make_folder(tmp_path / "file" / "b")


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path):
    old, new, other = (tmp_path / n for n in (".locreg-a1b2c3", ".locreg-d4e5f6", ".other"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    make_folder(tmp_path)
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_every_folder_is_walked_once_even_through_links(tmp_path):
    for name in ("in/a.txt", "in/deep/b.txt", "in/.hidden/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in/deep/back").symlink_to(tmp_path / "in", target_is_directory=True)
    assert sorted(path.name for path in files_below(tmp_path / "in")) == ["a.txt", "b.txt"]
    with pytest.raises(OSError, match="No such file"):
        list(files_below(tmp_path / "nowhere"))


def test_one_path_or_several_become_several(tmp_path):
    assert as_paths(tmp_path) == (tmp_path,)
    assert as_paths((tmp_path, tmp_path / "a")) == (tmp_path, tmp_path / "a")


def test_paths_that_hold_each_other_are_refused(tmp_path):
    a, b = tmp_path / "a.tar", tmp_path / "b.tar"
    check_apart((a, b))
    for paths in ((a, a), (a, b, tmp_path), (tmp_path, b), ()):
        with pytest.raises(UsageError, match=r"overlap|at least one"):
            check_apart(paths)
