"""Real processes on machines that fail: nothing half-written, and the rest is done."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and mount"),
]

OPTIONS = ("--sigma", "0.1", "--steps", "60")
NUMBER = 6


@pytest.fixture
def images(tmp_path):
    """Noisy images of several formats, and a stack."""
    folder = tmp_path / "in"
    folder.mkdir()
    for k, suffix in enumerate((".png", ".jpg", ".tif", ".webp", ".png")):
        random = np.random.default_rng(k)
        pixels = random.integers(90, 160, (180, 200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}{suffix}")
    stack = np.random.default_rng(9).integers(90, 160, (4, 120, 100, 3), dtype=np.uint8)
    tifffile.imwrite(folder / "stack.tif", stack, imagej=True, metadata={"axes": "ZYXS"})
    return folder


@pytest.fixture
def command(images, weight_file):
    """Start ``locreg denoise`` of the images in a process of its own."""

    def start(target, *more):
        arguments = ("denoise", images, "-o", target, "--weights", weight_file, *OPTIONS, *more)
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from locreg.cli.main import main; main()",
                *map(str, arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with little space, whose options can be changed."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        arguments = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(arguments, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a file system")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


def results(folder):
    """The content of the results by their name; temporary files are none."""
    return {f.name: f.read_bytes() for f in folder.iterdir() if not f.name.startswith(".")}


def finished(process):
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out, err


def after_first_result(process, folder):
    """Wait until the process has written something."""
    end = time.monotonic() + 120
    while not (folder.is_dir() and results(folder)):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)


@pytest.fixture
def expected(command, tmp_path):
    status, _, _ = finished(command(tmp_path / "undisturbed"))
    assert status == 0
    found = results(tmp_path / "undisturbed")
    assert len(found) == NUMBER
    return found


def test_a_killed_process_leaves_whole_files_and_the_next_one_does_the_rest(
    command, tmp_path, expected
):
    target = tmp_path / "out"
    for wait in (0.0, 0.2, 0.5):
        process = command(target)
        after_first_result(process, target)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = results(target)
        assert found
        assert found.items() <= expected.items()
    status, _, err = finished(command(target))
    assert status == 0
    assert "skipped" in err
    assert results(target) == expected


def test_a_full_disk_keeps_what_is_whole_and_can_be_gone_on_with(command, small_disk, expected):
    target = small_disk("size=256k") / "out"
    status, _, err = finished(command(target))
    found = results(target)
    assert status == 1
    assert 0 < len(found) < NUMBER
    assert found.items() <= expected.items()
    assert err.count("No space left on device") == NUMBER - len(found)
    assert not [f for f in target.iterdir() if f.name.startswith(".locreg-")]
    subprocess.run(["mount", "-o", "remount,size=8m", str(target.parent)], check=True)
    assert finished(command(target))[0] == 0
    assert results(target) == expected


def test_a_disk_that_cannot_be_written_to_is_said_once(command, small_disk):
    target = small_disk("size=1m") / "out"
    target.mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(target.parent)], check=True)
    status, _, err = finished(command(target))
    assert status == 1
    assert "Read-only file system" in err
    assert results(target) == {}


def test_files_that_cannot_be_read_fail_alone(command, images, tmp_path, expected):
    (images / "broken.png").symlink_to("/proc/self/mem")
    (images / "gone.png").symlink_to(images / "nowhere.png")
    if os.getuid():
        (images / "secret.png").write_bytes((images / "0.png").read_bytes())
        (images / "secret.png").chmod(0)
    status, _, err = finished(command(tmp_path / "out"))
    assert status == 1
    assert results(tmp_path / "out") == expected
    for name in ("broken.png", "gone.png", *(["secret.png"] if os.getuid() else [])):
        (line,) = [line for line in err.splitlines() if f"{name} " in line and "error" in line]
        assert "cannot be read" in line or "does not exist" in line


@pytest.mark.parametrize("which", ["in", "out"])
def test_a_folder_that_vanishes_stops_only_its_own_files(
    command, images, tmp_path, expected, which
):
    target = tmp_path / "out"
    process = command(target)
    after_first_result(process, target)
    shutil.rmtree(images if which == "in" else target)
    status, _, err = finished(process)
    assert status == 1
    assert f"of {NUMBER} images failed" in err
    if which == "in" or target.exists():
        assert results(target).items() <= expected.items()
