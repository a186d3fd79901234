"""Which files are read and written: names, folders, and what is never overwritten."""

from pathlib import Path

import pytest

from locreg.errors import LocregError, UsageError
from locreg.restoration.jobs import Job, check_folders, plan_jobs


@pytest.fixture
def folder(tmp_path):
    """Empty files with names of images: a job needs no more."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.jpg", "c.gif", "notes.txt"):
        (folder / name).touch()
    return folder


def test_a_folder_keeps_its_structure_and_its_names(folder, tmp_path):
    out, pages = tmp_path / "out", tmp_path / "pages"
    jobs = plan_jobs(folder, out, pages).jobs
    assert [job.target.relative_to(out) for job in jobs] == [
        Path("a.png"), Path("c.png"), Path("deep/b.jpg")
    ]  # fmt: skip
    assert [job.page.relative_to(pages) for job in jobs] == [
        Path("a.png.html"), Path("c.png.html"), Path("deep/b.jpg.html")
    ]  # fmt: skip
    assert (out / "deep").is_dir()
    assert (pages / "deep").is_dir()


def test_an_image_may_be_written_into_a_folder(folder, tmp_path):
    (tmp_path / "out").mkdir()
    assert plan_jobs(folder / "c.gif", tmp_path / "out").jobs == [
        Job(folder / "c.gif", tmp_path / "out" / "c.png")
    ]


def test_a_job_is_finished_when_image_and_page_exist(tmp_path):
    image, page = tmp_path / "a.png", tmp_path / "a.html"
    jobs = Job(tmp_path / "in.png", image), Job(tmp_path / "in.png", image, page)
    assert [job.finished for job in jobs] == [False, False]
    image.touch()
    assert [job.finished for job in jobs] == [True, False]
    page.touch()
    assert [job.finished for job in jobs] == [True, True]


def test_results_inside_the_folder_of_images_are_not_restored_again(folder):
    out = folder / "out"
    out.mkdir()
    (out / "a.png").touch()
    assert [job.source.name for job in plan_jobs(folder, out).jobs] == ["a.png", "c.gif", "b.jpg"]


def test_two_images_are_not_written_to_one_file_and_the_others_are(folder, tmp_path):
    (folder / "c.png").touch()
    plan = plan_jobs(folder, tmp_path / "out")
    assert [job.source.name for job in plan.jobs] == ["a.png", "b.jpg"]
    ((sentence, number),) = plan.refused.items()
    assert number == 2
    assert "would both be written to" in sentence


def test_several_images_and_folders_are_written_into_one(folder, tmp_path):
    other = tmp_path / "d.png"
    other.touch()
    out = tmp_path / "out"
    plan = plan_jobs([other, folder / "deep", folder / "c.gif"], out)
    assert [job.target.name for job in plan.jobs] == ["d.png", "b.jpg", "c.png"]
    assert plan_jobs(folder, out).left_out == {".txt": 1}
    for target in (other, tmp_path / "new.png"):
        with pytest.raises(UsageError, match="names one image: give a folder"):
            plan_jobs([other, folder / "a.png"], target)
    with pytest.raises(UsageError, match="must be a folder too"):
        plan_jobs([other, folder / "a.png"], folder / "notes.txt")


def test_no_output_is_an_input(folder, tmp_path):
    image, link = folder / "a.png", tmp_path / "link.png"
    link.symlink_to(image)
    for target in (image, folder, link):
        with pytest.raises(UsageError, match="never overwritten"):
            plan_jobs(image, target)
    for target in (folder, folder / ".." / "in"):
        with pytest.raises(UsageError, match="folder of the inputs"):
            plan_jobs(folder, target)
    mask = tmp_path / "mask.png"
    mask.touch()
    with pytest.raises(UsageError, match="never overwritten"):
        plan_jobs(image, mask, others=[mask])


@pytest.mark.parametrize(
    ("source", "target", "error", "words"),
    [
        ("in", "in/a.png", UsageError, "give a folder for the results"),
        ("in", ".", UsageError, "give another folder"),
        ("nothing.png", "out.png", LocregError, "does not exist"),
        ("empty", "out", LocregError, "holds no images"),
        ("in/a.png", "out.xyz", LocregError, "no format"),
        ("in/a.png", "nowhere/out.png", LocregError, "does not exist"),
    ],
)
def test_paths_that_cannot_work_are_refused(folder, tmp_path, source, target, error, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=words):
        plan_jobs(tmp_path / source, tmp_path / target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "in"]
    assert folder.is_dir()


def test_folders_of_inputs_and_outputs_lie_apart(folder, tmp_path):
    check_folders(folder, tmp_path / "out")
    for target in (folder, folder / "out", tmp_path):
        with pytest.raises(UsageError, match="overlap"):
            check_folders(folder, target)
    with pytest.raises(UsageError, match="is not a folder"):
        check_folders(folder / "a.png", tmp_path / "out")
    with pytest.raises(LocregError, match="make this folder first"):
        check_folders(folder, tmp_path / "nowhere" / "out")
