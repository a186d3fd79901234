"""Finding the images of folders and tar files, and splitting them."""

import tarfile

import numpy as np
import pytest
import pyvips

from locreg.errors import LocregError
from locreg.images.sources import (
    find_channels,
    list_images,
    list_sources,
    shuffled,
    split_sources,
)


@pytest.fixture
def archive(tmp_path, folder):
    """A tar file with the photographs of the folder."""
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, "0")
    return path


def test_linked_folders_are_searched_once_and_hidden_ones_never(tmp_path):
    for name in ("in/a.png", "in/deep/b.png", "in/.thumbs/t.png", "in/.u.png", "elsewhere/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for link, target in (("more", "elsewhere"), ("deep/back", "in"), ("again", "in/deep")):
        (tmp_path / "in" / link).symlink_to(tmp_path / target, target_is_directory=True)
    found = list_images(tmp_path / "in")
    assert [path.name for path in found] == ["a.png", "b.png", "c.png"]


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(LocregError, match="holds no images"):
        list_images(tmp_path)
    with pytest.raises(LocregError, match="not a folder"):
        list_images(tmp_path / "nowhere")


def test_folders_and_archives_can_be_mixed(archive, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    pyvips.Image.black(9, 9).write_to_file(str(more / "x.png"))
    assert len(list_sources([archive, more])) == 9


def test_an_archive_without_images_is_refused(tmp_path):
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(LocregError, match="holds no images"):
        list_sources([tmp_path / "empty.tar"])


def test_too_few_images_are_refused(folder):
    assert len(list_images(folder)) == 8
    with pytest.raises(LocregError, match="at least 10"):
        split_sources([folder], held_out=8, seed=0)


def test_a_split_is_random_and_loses_nothing(folder):
    files = list_images(folder)
    training, held_out = split_sources([folder], held_out=3, seed=5)
    assert (len(training), len(held_out)) == (5, 3)
    assert sorted([*training, *held_out]) == files
    assert split_sources([folder], held_out=3, seed=5) == (training, held_out)
    assert split_sources([folder], held_out=3, seed=6) != (training, held_out)
    assert shuffled(files, 5) == [*held_out, *training]


def test_the_channels_of_a_folder_are_found(folder, tmp_path):
    files = list_images(folder)
    (tmp_path / "text.png").write_text("no image")
    assert find_channels([*files, tmp_path / "text.png"]) == {1, 3}
    alpha = pyvips.Image.new_from_array(np.zeros((4, 4, 2), np.uint8))
    alpha.copy(interpretation="b-w").write_to_file(str(tmp_path / "grey.png"))
    assert find_channels([tmp_path / "grey.png"]) == {1}
    assert find_channels([]) == set()
