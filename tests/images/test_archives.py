"""Images in tar files: read as the files themselves, without unpacking."""

import gzip
import tarfile

import numpy as np
import pytest

from locreg.errors import LocregError
from locreg.images.archives import list_archive
from locreg.images.image_file import read_samples
from locreg.images.patches import PatchPool
from locreg.images.sources import list_sources


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
