"""The pages are built without a warning, their examples run, and the interface is described."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import locreg

ROOT = Path(__file__).parents[1]


def test_the_pages_are_built_without_warnings(tmp_path):
    for folder in ("docs", "examples"):  # a copy, in which no example has been run before
        ignore = shutil.ignore_patterns("gallery", "_build")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in ("index", "method", "results", "weights", "api", "gallery/plot_a_denoise"):
        assert (tmp_path / "site" / f"{page}.html").exists()
    examples = {path.stem for path in (ROOT / "examples").glob("plot_*.py")}
    assert examples == {path.stem for path in (tmp_path / "site/gallery").glob("plot_*.html")}


def test_every_public_name_is_described():
    described = set(
        re.findall(r"^\.\. auto\w+:: locreg\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.M)
    )
    assert set(locreg.__all__) <= described
