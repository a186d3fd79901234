"""Shared pieces of the tests: small critics and photographs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
import skimage.data
import torch
from hypothesis import settings

from locreg.cli import main
from locreg.critic import Layer, PatchCritic
from locreg.weights import Calibration, Weights, save_weights

# Machines are shared: how long an example takes decides nothing. The same examples every time.
settings.register_profile("locreg", deadline=None, derandomize=True)
settings.load_profile("locreg")

SMOOTH_ACTIVATIONS = ("silu", "softplus", "elu", "tanh", "mcp")


def small_critic(
    activation: str = "relu", *, in_channels: int = 1, stride: int = 1, seed: int = 0
) -> PatchCritic:
    """A critic of receptive field 7 (9 with stride 3) in float64, its parameters not trained."""
    layers = (
        Layer(channels=5, activation=activation),
        Layer(channels=4, activation=activation, kernel=4 if stride == 3 else 3, stride=stride),
        Layer(channels=1, kernel=2 if stride == 3 else 3, activation="identity", bias=False),
    )
    generator = torch.Generator().manual_seed(seed)
    critic = PatchCritic(layers, in_channels=in_channels, generator=generator).double()
    with torch.no_grad():
        for bias in critic.biases.values():
            bias.copy_(0.3 * torch.randn(bias.shape, generator=generator, dtype=torch.float64))
    return critic.requires_grad_(False)


def random_image(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Uniform noise in [0, 1]."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class Quadratic:
    """R(x) = |x|^2 / 2."""

    def value_and_grad(self, x):
        return 0.5 * x.flatten(1).square().sum(1), x


@pytest.fixture
def locreg(monkeypatch, capsys):
    """Run a command in this process: (exit status, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["locreg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A CC0 photograph that scikit-image ships, (512, 512, 3) uint8."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Smooth random images in colour and one in grey."""
    folder = tmp_path_factory.mktemp("clean")
    random = np.random.default_rng(0)
    for k in range(8):
        waves = random.uniform(0, 40, (3, 2))
        y, x = np.mgrid[0:40, 0:48] / 48
        image = np.stack([np.sin(a * y + b * x) for a, b in waves], axis=2) * 100 + 128
        samples = image.astype(np.uint8)[:, :, : 1 if k == 0 else 3]
        file = pyvips.Image.new_from_array(samples)
        file.copy(interpretation="b-w" if k == 0 else "srgb").write_to_file(
            str(folder / f"{k}.png")
        )
    return folder


@pytest.fixture
def weight_file(tmp_path: Path) -> Path:
    """A small colour weight file with a calibration."""
    critic = PatchCritic(
        (Layer(channels=4), Layer(channels=1, activation="identity", bias=False)), in_channels=3
    ).requires_grad_(False)
    quantiles = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    calibration = Calibration(
        lam_polynomial=(-2.0, 1.0),
        sigma_range=(0.05, 0.4),
        quantile_levels=(0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99),
        clean_patches=quantiles,
        degraded_patches=tuple(q + 1 for q in quantiles),
        clean_images=quantiles,
        degraded_images=tuple(q + 1 for q in quantiles),
    )
    path = tmp_path / "small.safetensors"
    save_weights(Weights(critic=critic, calibration=calibration), path)
    return path
