"""What an installation without PyTorch can do, and what it says where PyTorch is needed."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

RUN = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "torch" else find(name, *rest)
sys.argv[0] = "locreg"
from locreg.cli.main import main
main()
"""


def locreg(*arguments):
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def noisy(tmp_path, photograph):
    noise = np.random.default_rng(0).normal(0, 20, (60, 70, 3))
    path = tmp_path / "noisy.png"
    Image.fromarray((photograph[:60, :70] + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


def test_photographs_are_denoised_with_a_page(tmp_path, noisy):
    done = locreg(
        "denoise", noisy, "-o", tmp_path / "out.png", "--json", "--report", tmp_path / "pages"
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["noise"]["kind"] == "white"
    assert record["removed"] > 0.05
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (70, 60)
    (page,) = (tmp_path / "pages").glob("*.html")
    assert "Where the result still looks damaged" in page.read_text()


def test_stacks_grey_images_and_ensembles_are_denoised(tmp_path):
    planes = np.random.default_rng(0).normal(0.5, 0.1, (2, 40, 44)).astype(np.float32)
    tifffile.imwrite(tmp_path / "stack.tif", planes, metadata={"axes": "ZYX"}, imagej=True)
    done = locreg("denoise", tmp_path / "stack.tif", "-o", tmp_path / "out.tif", "--ensemble")
    assert done.returncode == 0, done.stderr
    assert tifffile.imread(tmp_path / "out.tif").std() < 0.5 * planes.std()


@pytest.mark.parametrize(
    "command",
    [
        ("deblur", "--kernel", "gaussian:3:1"),
        ("upscale",),
        ("denoise", "--weights", "ridge-rgb"),
        ("denoise", "--lam", "sure"),
        ("denoise", "--precision", "bfloat16"),
        ("denoise", "--device", "cuda"),
    ],
)
def test_what_needs_pytorch_says_so(tmp_path, noisy, command):
    task, *options = command
    done = locreg(task, noisy, "-o", tmp_path / "out.png", *options)
    assert done.returncode == 1
    assert "needs PyTorch" in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_weights_are_shown_and_images_scored(tmp_path, noisy):
    assert "receptive_field" in locreg("info", "denoise-rgb").stdout
    done = locreg("score", noisy, "-o", tmp_path / "map.png")
    assert done.returncode == 0, done.stderr
