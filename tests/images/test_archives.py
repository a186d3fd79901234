"""Tar files of photographs: the same training as from a folder, and nothing is unpacked."""

import gzip
import tarfile

import numpy as np
import pytest
import pyvips

from locreg.archives import list_archive
from locreg.errors import LocregError, UsageError
from locreg.images import list_sources, read_samples
from locreg.options import NoiseRange
from locreg.patches import PatchPool
from locreg.training_options import Recipe
from locreg.weights import load_weights


@pytest.fixture
def archive(tmp_path, folder):
    """The photographs of a folder in a tar file, among other things."""
    path = tmp_path / "images_000.tar"
    (tmp_path / "notes.txt").write_text("no image")
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "notes.txt", "notes.txt")
        for file in sorted(folder.iterdir()):
            tar.add(file, f"0/{file.name}")
        tar.add(tmp_path / "notes.txt", "0/._0.png")
        link = tarfile.TarInfo("0/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "0.png"
        tar.addfile(link)
    return path


def test_members_are_read_as_the_files_themselves(archive, folder):
    members = list_sources([archive])
    files = sorted(folder.iterdir())
    assert [member.name for member in members] == [f"0/{file.name}" for file in files]
    for member, file in zip(members, files, strict=True):
        np.testing.assert_array_equal(read_samples(member), read_samples(file))


def test_patches_are_those_of_the_folder(archive, folder):
    one, other = (
        PatchPool(list_sources([source]), size=7, channels=3, seed=3, capacity=4, renewal=1)
        for source in (archive, folder)
    )
    for k in range(10):
        np.testing.assert_array_equal(one.patches(5, k), other.patches(5, k))


def test_folders_and_archives_can_be_mixed(archive, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    pyvips.Image.black(9, 9).write_to_file(str(more / "x.png"))
    assert len(list_sources([archive, more])) == 9


def test_training_takes_archives(archive, tmp_path, locreg):
    out = tmp_path / "w.safetensors"
    done = locreg(
        "train", "--clean", archive, "--noise", "0.1", "-o", out, "--iterations", 2, "--widths", 2,
        "--held-out", 1, "--validation-size", 16, "--calibration-images", 0,
    )  # fmt: skip
    assert done[0] == 0, done
    assert load_weights(out).training["clean"] == "images_000.tar, 3 images"


def test_a_damaged_member_is_named_and_left_out(archive, caplog):
    content = bytearray(archive.read_bytes())
    member = list_sources([archive])[2]
    content[member.offset + 200 : member.offset + 700] = bytes(500)
    archive.write_bytes(content)
    pool = PatchPool(list_sources([archive]), size=7, channels=3, seed=0)
    assert pool.patches(4, 0).shape == (4, 3, 7, 7)
    assert f"{archive}:{member.name}" in caplog.text


def test_what_is_no_plain_tar_file_is_refused(archive, tmp_path):
    packed = tmp_path / "images.tar.gz"
    packed.write_bytes(gzip.compress(archive.read_bytes()))
    with pytest.raises(LocregError, match=r"images\.tar\.gz is compressed.*gunzip"):
        list_archive(packed)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[: list_sources([archive])[3].offset + 100])
    with pytest.raises(LocregError, match=r"cut\.tar is not a complete tar file"):
        list_archive(cut)
    for damage in (slice(257, 400), slice(0, 512)):  # a header
        content = bytearray(archive.read_bytes())
        header = list_sources([archive])[2].offset - 512
        content[header + damage.start : header + damage.stop] = b"x" * (damage.stop - damage.start)
        cut.write_bytes(content)
        with pytest.raises(LocregError, match=r"cut\.tar is not a complete tar file"):
            list_archive(cut)
    cut.write_bytes(archive.read_bytes()[: list_sources([archive])[3].offset - 512])
    with pytest.raises(LocregError, match=r"cut\.tar is not a complete tar file"):
        list_archive(cut)
    text = tmp_path / "notes.txt"
    with pytest.raises(LocregError, match="not a complete tar file"):
        list_archive(text)
    with pytest.raises(LocregError, match="cannot be read"):
        list_archive(tmp_path / "nowhere.tar")


def test_an_archive_without_images_is_refused(tmp_path):
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(LocregError, match="holds no images"):
        list_sources([tmp_path / "empty.tar"])


def test_images_that_would_come_twice_are_refused(tmp_path):
    a, b, noise = tmp_path / "a.tar", tmp_path / "b.tar", NoiseRange(low=0.1, high=0.1)
    assert Recipe(clean=(a, b), noise=noise).clean_paths == (a, b)
    for clean, degraded in (((a, a), None), ((a, b), (tmp_path,)), ((tmp_path,), (b,)), ((), None)):
        with pytest.raises(UsageError, match=r"overlap|at least one"):
            Recipe(clean=clean, degraded=degraded, noise=None if degraded else noise)
