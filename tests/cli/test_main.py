"""The entry point: help, version, pipes, and names of files."""

import os
import shutil
import subprocess
import sys

import pytest

from locreg.training.output import listing
from locreg.version import __version__

FAST = ("--steps", "2")


def test_the_version_is_printed(locreg):
    assert locreg("--version") == (0, f"locreg {__version__}\n", "")


COMMANDS = {
    "denoise": ("--sigma", "--lam", "--solver", "--report"),
    "deblur": ("--kernel", "--normalize-kernel", "--border"),
    "inpaint": ("--mask",),
    "upscale": ("--factor", "--antialiasing"),
    "restore": ("--clean", "--degraded", "--damage", "--iterations"),
    "score": ("--weights", "--white"),
    "train": ("--clean", "--degraded", "--noise", "--widths", "--resume"),
    "train-ridge": ("--clean", "--filters", "--group"),
    "train-denoiser": ("--clean", "--initial", "--borders"),
    "refine": ("--clean", "--initial", "--sigma", "--solver-steps"),
    "import-localreg": ("--clean",),
    "info": ("--json",),
    "evaluate": ("--test", "--methods", "--processes"),
    "fit-epll": ("--components", "--patches"),
    "reproduce": ("--data", "--quick"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_its_options(locreg, command):
    status, text, _ = locreg(command, "--help")
    assert status == 0
    assert f"locreg {command}" in text
    for option in COMMANDS[command]:
        assert option in text


def test_the_help_lists_every_command(locreg):
    status, text, _ = locreg("--help")
    assert status == 0
    for command in COMMANDS:
        assert command in text
    status, _, err = locreg("sharpen")
    assert status == 2
    assert "sharpen" in err


def test_help_shows_in_a_fresh_process_without_torch():
    code = (
        "import sys; sys.argv = ['locreg', '--help']\n"
        "from locreg.cli.main import main\n"
        "try: main()\n"
        "finally: sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'pyvips')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0
    for command in ("denoise", "score", "train", "info"):
        assert command in done.stdout


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("3", "3")])
def test_numpy_multiplies_in_one_thread_unless_the_user_wants_more(given, expected):
    code = (
        "import os, sys; sys.argv = ['locreg', '--version']\n"
        "from locreg.cli.main import main\n"
        "assert 'numpy' not in sys.modules\n"
        "try: main()\n"
        "finally: print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    others = {name: v for name, v in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment = others | ({} if given is None else {"OPENBLAS_NUM_THREADS": given})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout.decode().split()[-1] == expected


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_restored(noisy, weight_file, tmp_path):
    """In a process of its own: the test's standard output takes any name."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    names = [os.fsdecode(name) for name in (b"b\xff.png", b"c.png")]
    for name in names:
        shutil.copy(noisy, source / name)
    command = ["denoise", source, "-o", out, "--weights", weight_file, "--sigma", "0.1", *FAST]
    done = subprocess.run(
        [sys.executable, "-c", "from locreg.cli.main import main; main()", *map(str, command),
         "--report", str(tmp_path / "pages")],
        capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir() if path.suffix == ".png"} == set(names)
    assert len(listing(sorted(source.iterdir()))) == 8


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pipes are others there")
def test_a_folder_is_restored_although_nobody_reads_the_output(noisy, weight_file, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(noisy, source / name)
    command = ["denoise", source, "-o", out, "--weights", weight_file, "--sigma", "0.1", *FAST]
    with subprocess.Popen(
        [sys.executable, "-c", "from locreg.cli.main import main; main()", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")
    assert sorted(path.name for path in out.glob("*.png")) == ["a.png", "b.png"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a shell with head")
def test_a_reader_that_has_read_enough_is_no_error():
    code = (
        "import sys; from locreg.cli.main import main; "
        "sys.argv = ['locreg', 'info', 'alr-rgb']; main()"
    )
    done = subprocess.run(
        f'{sys.executable} -c "{code}" | head -n 1', shell=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("weights: alr-rgb")
    assert done.stderr == ""
