"""The exported file, run by onnxruntime alone, against `locreg.denoise`."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from conftest import conditioned_critic
from locreg.errors import LocregError, UsageError
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.denoising_energy import load_energy
from locreg.regularizer.export_denoiser import export_denoiser
from locreg.regularizer.layers import Layer
from locreg.regularizer.weights import Weights, save_weights
from locreg.restoration.denoise import denoise
from locreg.restoration.options import RestoreOptions


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The sessions of the packaged energies."""
    folder = tmp_path_factory.mktemp("exported")
    for name in ("denoise-rgb", "denoise-gray"):
        export_denoiser(name, folder / f"{name}.onnx")
    return {
        name: onnxruntime.InferenceSession(folder / f"{name}.onnx")
        for name in ("denoise-rgb", "denoise-gray")
    }


def run(session, image, level):
    inputs = {"image": image, "level": np.array(level, np.float32)}
    return session.run(["denoised"], inputs)[0]


@pytest.mark.parametrize("size", [(16, 16), (1, 9), (131, 40)])
@pytest.mark.parametrize("name", ["denoise-rgb", "denoise-gray"])
def test_the_file_denoises_images_of_any_size_as_locreg_does(exported, name, size):
    energy = load_energy(name)
    image = np.random.default_rng(0).random((1, energy.in_channels, *size), dtype=np.float32)
    expected = denoise(image, energy, RestoreOptions(sigma=0.1, noise="white")).image
    np.testing.assert_allclose(run(exported[name], image, 0.1), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_file_denoises_alike_on_several_threads(tmp_path):
    """Threads that added to the same mirrored pixel lost something in one of four runs."""
    export_denoiser("denoise-rgb", tmp_path / "file.onnx")
    image = np.random.default_rng(0).random((1, 3, 321, 481), dtype=np.float32)
    results = []
    for threads, runs in ((1, 1), (2, 20)):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(tmp_path / "file.onnx", options)
        results += [run(session, image, 0.1) for _ in range(runs)]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=0, atol=1e-5)


def test_an_energy_of_single_pixels_is_exported(tmp_path):
    layers = (
        Layer(channels=3, kernel=1, activation="silu"),
        Layer(channels=1, kernel=1, activation="identity", bias=False),
    )
    critic = PatchCritic(layers, in_channels=1, noise_conditioned=True)
    save_weights(Weights(critic=critic), tmp_path / "pixels.safetensors")
    export_denoiser(tmp_path / "pixels.safetensors", tmp_path / "pixels.onnx", 1)
    image = np.random.default_rng(0).random((1, 1, 20, 27), dtype=np.float32)
    energy = load_energy(tmp_path / "pixels.safetensors")
    expected = denoise(image, energy, RestoreOptions(sigma=0.1, noise="white", steps=1)).image
    found = run(onnxruntime.InferenceSession(tmp_path / "pixels.onnx"), image, 0.1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_file_says_what_it_is(exported):
    metadata = exported["denoise-rgb"].get_modelmeta().custom_metadata_map
    assert metadata["channels"] == "3"
    assert metadata["steps"] == "1"
    assert int(metadata["receptive_field"]) >= 60
    assert len(metadata["weights_sha256"]) == 64


@pytest.mark.parametrize("steps", [1, 3])
def test_your_own_energy_is_exported_with_any_number_of_steps(tmp_path, steps):
    weights = tmp_path / "mine.safetensors"
    save_weights(Weights(critic=conditioned_critic(channels=1).float()), weights)
    export_denoiser(weights, tmp_path / "mine.onnx", steps)
    image = np.random.default_rng(0).random((1, 1, 20, 27), dtype=np.float32)
    options = RestoreOptions(sigma=0.2, steps=steps, noise="white")
    expected = denoise(image, load_energy(weights), options).image
    found = run(onnxruntime.InferenceSession(tmp_path / "mine.onnx"), image, 0.2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_refused(tmp_path):
    (tmp_path / "old.onnx").write_bytes(b"old")
    with pytest.raises(LocregError, match=r"old.onnx exists already"):
        export_denoiser("denoise-rgb", tmp_path / "old.onnx")
    assert (tmp_path / "old.onnx").read_bytes() == b"old"
    with pytest.raises(LocregError, match=r"alr-rgb holds a critic.*give a denoising energy"):
        export_denoiser("alr-rgb", tmp_path / "new.onnx")
    with pytest.raises(UsageError, match="suffix"):
        export_denoiser("denoise-rgb", tmp_path / "new.pt")
    with pytest.raises(UsageError, match="steps"):
        export_denoiser("denoise-rgb", tmp_path / "new.onnx", 0)
    with pytest.raises(LocregError, match="does not exist"):
        export_denoiser("denoise-rgb", tmp_path / "none" / "new.onnx")
    for first in (Layer(channels=4, stride=3), Layer(channels=4, kernel=2, stride=4)):
        layers = (first, Layer(channels=1, kernel=1, activation="identity"))
        strided = PatchCritic(layers, in_channels=1, noise_conditioned=True)
        save_weights(Weights(critic=strided), tmp_path / "strided.safetensors")
        with pytest.raises(LocregError, match="strides that do not divide 128, or that leave"):
            export_denoiser(tmp_path / "strided.safetensors", tmp_path / "new.onnx")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["old.onnx", "strided.safetensors"]


def test_the_lines_in_the_pages_run(tmp_path, photograph):
    """In a process of its own, in which locreg cannot be imported."""
    page = (Path(__file__).parents[2] / "docs/export.md").read_text()
    (lines,) = re.findall(r"<!-- export -->\n```python\n(.*?)```", page, re.S)
    export_denoiser("denoise-rgb", tmp_path / "denoise.onnx")
    noise = np.random.default_rng(0).normal(0, 25, (70, 80, 3))
    noisy = (photograph[:70, :80] + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "photo.png")
    alone = "import sys\nsys.modules['locreg'] = None\n" + lines
    subprocess.run([sys.executable, "-c", alone], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "clean.png") as clean:
        error = np.asarray(clean, float) - photograph[:70, :80]
    assert error.std() < 0.6 * (noisy - photograph[:70, :80].astype(float)).std()
