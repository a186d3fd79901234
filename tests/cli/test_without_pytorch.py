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
hidden = ("deepinv", "scipy", "torch", "torchmetrics", "torchvision")
PathFinder.find_spec = lambda name, *rest: None if name in hidden else find(name, *rest)
sys.argv[0] = "locreg"
from locreg.cli.main import main
main()
"""


def locreg(*arguments, path="", first=""):
    """Run the command; first a statement, and with modules of a path before those installed."""
    start = f"import sys\nsys.path.insert(0, {str(path)!r})\n{first}\n" if path or first else ""
    command = [sys.executable, "-c", start + RUN, *map(str, arguments)]
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
    assert record["engine"] == "onnxruntime"
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


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("", "ONNX Runtime cannot be loaded"),
        ("__version__ = '1.9.0'", "ONNX Runtime 1.9.0 is too old: update it by pip install"),
    ],
)
def test_a_broken_or_old_onnx_runtime_is_named(tmp_path, noisy, trouble, words):
    (tmp_path / "onnxruntime.py").write_text(trouble or "import a_part_that_is_lost")
    done = locreg("denoise", noisy, "-o", tmp_path / "out.png", path=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_too_little_memory_is_said(tmp_path, noisy):
    """The limit is on addresses, of which libraries take much more than they use."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (700 << 20,) * 2)"
    Image.open(noisy).resize((5000, 4000)).save(tmp_path / "large.png")
    target = tmp_path / "out.png"
    done = locreg("denoise", tmp_path / "large.png", "-o", target, first=limit)
    assert done.returncode == 1, done.stderr
    assert "does not fit into the memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()


def test_the_library_says_which_names_need_pytorch():
    names = "import locreg\nlocreg.denoise, locreg.load_energy\nlocreg.load"
    alone = RUN.replace("from locreg.cli.main import main\nmain()", names)
    done = subprocess.run(
        [sys.executable, "-c", alone], capture_output=True, text=True, check=False
    )
    assert "LocregError: locreg.load needs PyTorch: in the folder of locreg" in done.stderr
