"""Shared pieces of the tests: small critics and photographs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips
import skimage.data
import torch
import torch.nn.functional as F
from hypothesis import settings

from locreg.cli.main import main
from locreg.degradation.learned_noise import NoiseModel
from locreg.images.image_file import write_image
from locreg.regularizer.criterion_record import DenoisingRecord
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import Layer, standard_layers
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.ridge import ridge_critic
from locreg.regularizer.stored_weights import Calibration
from locreg.regularizer.weights import Weights, save_weights

# Machines are shared: how long an example takes decides nothing. The same examples every time.
settings.register_profile("locreg", deadline=None, derandomize=True)
settings.load_profile("locreg")

# The images of the tests are tiny: more threads would only wait for each other. Commands that tests
# run in processes of their own inherit the setting.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# The order of the tests: from the bottom package up, so that the first failure is near its cause.
FLOORS = (
    *("test_house.py", "images", "degradation", "solvers", "regularizer", "training"),
    *("restoration", "report", "evaluation", "cli", "test_docs.py", "test_style.py"),
)

SMOOTH_ACTIVATIONS = ("silu", "softplus", "elu", "tanh", "mcp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by the floor of what they test."""
    tests = Path(__file__).parent
    items.sort(key=lambda item: FLOORS.index(item.path.relative_to(tests).parts[0]))


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


def half_resolution(z: torch.Tensor, padding: int = 0) -> torch.Tensor:
    """z (B, C, H, W) at half the resolution, with the weights 1, 3, 3, 1 in both directions."""
    line = torch.tensor([1.0, 3, 3, 1], dtype=z.dtype) / 8
    kernel = (line[:, None] * line).expand(z.shape[1], 1, 4, 4)
    return torch.nn.functional.conv2d(z, kernel, stride=2, padding=padding, groups=z.shape[1])


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


@dataclass
class Scaling:
    """The operator A x = factor x."""

    factor: float = 2.0

    def A(self, x):
        return self.factor * x

    def A_adjoint(self, y):
        return self.factor * y


def conditioned_regularizer(seed: int = 0, **criterion) -> LocalRegularizer:
    """A small grey noise-conditioned energy, not trained; arguments of `DenoisingRecord`."""
    generator = torch.Generator().manual_seed(seed)
    critic = PatchCritic(
        standard_layers((4,) * 6, "silu"), in_channels=1, noise_conditioned=True,
        generator=generator,
    )  # fmt: skip
    weights = Weights(critic=critic.requires_grad_(False), criterion=DenoisingRecord(**criterion))
    return LocalRegularizer(weights)


# Kernels that turn white noise into noise with neighbours that depend on each other.
NOISE_KERNELS = {
    "white": torch.ones(1, 1),
    "grainy": torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])) / 6,
    "streaks": torch.ones(1, 9) / 3,
}


def noise_model(
    kernel: torch.Tensor, mixing: torch.Tensor, *, slope: float = 0.0, clipped: bool = False
) -> NoiseModel:
    """White noise convolved with a kernel, its channels mixed by a matrix."""
    side = kernel.shape[-1] - 1
    correlation = F.conv2d(kernel[None, None], kernel[None, None], padding=side)[0, 0]
    covariance = torch.einsum("cd,hw->cdhw", mixing @ mixing.T, correlation)
    return NoiseModel(covariance, slope, clipped)


def shaded_scenes(count: int, seed: int, side: int = 192) -> list[torch.Tensor]:
    """Smooth colour backgrounds, each with three textured discs."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    scenes = []
    for _ in range(count):
        slopes = random.uniform(-0.1, 0.1, (3, 2))
        base = random.uniform(0.2, 0.8, 3)
        image = np.stack(
            [b + s[0] * rows + s[1] * columns for b, s in zip(base, slopes, strict=True)]
        )
        for _ in range(3):
            y, x, radius = random.uniform(0, 1, 3)
            inside = (rows - y) ** 2 + (columns - x) ** 2 < (0.15 * radius) ** 2
            texture = 0.1 * np.sin(random.uniform(50, 200) * (rows + columns))
            image = np.where(inside, random.uniform(0.1, 0.9, 3)[:, None, None] + texture, image)
        scenes.append(torch.from_numpy(image.clip(0, 1).astype(np.float32))[None])
    return scenes


def conditioned_critic(seed: int = 0, channels: int = 1) -> PatchCritic:
    """A critic that depends on the noise level, in float64, its parameters not trained."""
    layers = (
        Layer(channels=5, activation="silu"),
        Layer(channels=4, activation="softplus"),
        Layer(channels=1, activation="identity", bias=False),
    )
    generator = torch.Generator().manual_seed(seed)
    critic = PatchCritic(layers, in_channels=channels, noise_conditioned=True, generator=generator)
    for parameter in critic.biases.values():
        torch.nn.init.normal_(parameter, generator=generator)
    return critic.double()


def small_ridge_critic(
    channels: int = 1, *, seed: int = 0, filters: int = 6, group: int = 1
) -> PatchCritic:
    """A ridge critic with few filters, its parameters not trained."""
    generator = torch.Generator().manual_seed(seed)
    made = ridge_critic(filters, in_channels=channels, generator=generator, noise=0.1, group=group)
    return made.requires_grad_(False)


def ridge_with_contrast(*polynomial: float) -> Weights:
    """A ridge critic in float64 whose contrast is fitted for levels of 0.05 to 0.4."""
    quantiles = ("clean_patches", "degraded_patches", "clean_images", "degraded_images")
    calibration = Calibration(
        lam_polynomial=(-2.0, 1.0), sigma_range=(0.05, 0.4), quantile_levels=(0.5,),
        contrast_polynomial=polynomial, **dict.fromkeys(quantiles, (0.0,)),
    )  # fmt: skip
    return Weights(critic=small_ridge_critic().double(), calibration=calibration)


@pytest.fixture(scope="session")
def scene(photograph) -> torch.Tensor:
    """A crop of a photograph (1, 3, 54, 54) with room for a 7x7 kernel around 48x48."""
    crop = photograph[20:74, 190:244]
    return torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255


def save_picture(path: Path, samples: np.ndarray, interpretation: str = "srgb") -> None:
    """Write samples (H, W, C) with libvips alone."""
    image = pyvips.Image.new_from_array(samples)
    image.copy(interpretation=interpretation).write_to_file(str(path))


@pytest.fixture
def noisy(tmp_path, photograph) -> Path:
    """A noisy crop of a photograph, 64x80 pixels in colour, as an 8-bit file."""
    random = np.random.default_rng(0)
    crop = photograph[100:164, 150:230] + 25.5 * random.standard_normal((64, 80, 3))
    path = tmp_path / "noisy.png"
    save_picture(path, crop.clip(0, 255).astype(np.uint8))
    return path


@pytest.fixture
def three_images(tmp_path) -> Path:
    """A folder with two images in colour of different sizes, and a grey one in a subfolder."""
    folder = tmp_path / "test"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    shapes = {"a.png": (20, 24, 3), "b.png": (33, 17, 3), "more/c.png": (16, 16, 1)}
    for name, shape in shapes.items():
        samples = random.integers(0, 256, shape, dtype=np.uint8)
        pyvips.Image.new_from_array(samples).write_to_file(str(folder / name))
    return folder


@pytest.fixture(scope="session")
def paper_data(tmp_path_factory, photograph) -> Path:
    """Pieces of a photograph under the names of the data sets of the paper."""
    folder = tmp_path_factory.mktemp("data")
    pixels = photograph.transpose(2, 0, 1).astype(np.float32) / 255
    for name in ("bsds500", "cbsd68"):
        (folder / name).mkdir()
    for k in range(15):
        piece = pixels[:, 30 * k : 30 * k + 48, 200:264]
        write_image(folder / "bsds500" / f"{k:02}.png", piece)
    for name in ("119082.png", "101087.png"):
        write_image(folder / "cbsd68" / name, pixels[:, 100:140, 200:240])
    return folder


def paper_scale():
    """The smallest run of the reproduction of the paper."""
    from locreg.evaluation.paper.run import Scale

    return Scale(
        warning="Smallest run.",
        iterations=1,
        widths=(2, 2),
        filters=2,
        ridge_iterations=1,
        ridge_patch=16,
        packaged=False,
        calibration_images=1,
        calibration_size=16,
        table1_images=1,
        table2_images=1,
        crop=24,
        figure_crop=32,
        figure_patches=50,
        mixture_components=2,
        mixture_patches=500,
        mixture_iterations=2,
        circle_iterations=20,
    )


@pytest.fixture
def numbered_images(tmp_path: Path) -> Path:
    """A folder of twelve images; every pixel of image k has the value k in red."""
    for k in range(12):
        samples = np.zeros((20 + k, 30, 3), np.uint8)
        samples[:, :, 0] = k
        samples[:, :, 1] = np.arange(30)
        image = pyvips.Image.new_from_array(samples).copy(interpretation="srgb")
        image.write_to_file(str(tmp_path / f"{k:02}.png"))
    return tmp_path


def numbers_in(patches: np.ndarray) -> set[int]:
    """The numbers of the `numbered_images` that patches (N, 3, h, w) come from."""
    return set(np.rint(patches[:, 0] * 255).astype(int).ravel().tolist())


def animated(path: Path) -> None:
    random = np.random.default_rng(0)
    image = pyvips.Image.new_from_array(random.integers(0, 255, (8, 4, 3), np.uint8))
    image.copy(interpretation="srgb").write_to_file(str(path), page_height=4)


def float_file(value):
    def make(path):
        samples = np.zeros((4, 4, 3), np.float32)
        samples[1] = value
        pyvips.Image.new_from_array(samples).write_to_file(str(path))

    return make


def truncated(path):
    whole = path.with_name("whole.png")
    samples = np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8)
    PIL.Image.fromarray(samples).save(whole)
    path.write_bytes(whole.read_bytes()[:150])


# A name, what makes such a file, and words of the sentence that refuses it.
BAD_IMAGES = [
    ("empty.png", lambda p: p.write_bytes(b""), "empty"),
    ("text.png", lambda p: p.write_text("not a picture"), "not an image"),
    ("truncated.png", truncated, "damaged|not an image"),
    ("animated.gif", animated, "2 frames"),
    ("nan.tif", float_file(np.nan), "NaN or infinite"),
    ("infinite.tif", float_file(np.inf), "NaN or infinite"),
    ("counts.tif", float_file(4095.0), "up to 4095"),
    ("missing.png", lambda _: None, "does not exist"),
    ("cmyk.tif", lambda p: save_picture(p, np.zeros((4, 4, 4), np.uint8), "cmyk"), "cmyk"),
    ("wide.tif", lambda p: save_picture(p, np.zeros((4, 4), np.int32), "b-w"), "int32"),
]  # fmt: skip
