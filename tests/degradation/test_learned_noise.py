"""Noise learned from two folders: its statistics, what it is drawn with, what it refuses."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from locreg.errors import LocregError, UsageError
from locreg.images import ImageFile, write_image
from locreg.noise_model import NoiseModel, learn_noise
from locreg.recipes import train_denoiser_from_folder
from locreg.regularizer import LocalRegularizer, load
from locreg.restoration import restore
from locreg.training_options import CriticOptions, DenoiserRecipe, DenoisingOptions, SplitOptions
from locreg.validation import add_noise, psnr


def correlation(kernel):
    """Autocorrelation of white noise through a kernel (k, k), for lags -(k - 1) to k - 1."""
    side = kernel.shape[-1] - 1
    return F.conv2d(kernel[None, None], kernel[None, None], padding=side)[0, 0]


def model_of(kernel, mixing, *, slope=0.0, clipped=False):
    """Noise with the spatial correlation of a kernel and channels mixed by a matrix."""
    covariance = torch.einsum("cd,hw->cdhw", mixing @ mixing.T, correlation(kernel))
    return NoiseModel(covariance, slope, clipped)


def scenes(count, seed, side=240):
    """Photographs of a kind: shaded backgrounds with discs of other brightness and a texture."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    found = []
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
        found.append(torch.from_numpy(image.clip(0, 1).astype(np.float32))[None])
    return found


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_noise_is_drawn_with_the_covariance_of_the_model(seed):
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn((3, 3), generator=generator)
    mixing = 0.1 * torch.randn((3, 3), generator=generator)
    model = model_of(kernel, mixing)
    noise = model.degrade(torch.zeros(8, 3, 96, 96), seed)
    for down, right in ((0, 0), (0, 1), (2, 1), (1, -2), (4, 0)):
        here, there = noise[..., 4:-4, 4:-4], noise.roll((-down, -right), (2, 3))[..., 4:-4, 4:-4]
        found = torch.einsum("bchw,bdhw->cd", here, there) / here[:, 0].numel()
        lag = (min(down, 3) + 2, right + 2)  # beyond 2 there is none
        expected = model.covariance[:, :, lag[0], lag[1]] if down < 3 else torch.zeros(3, 3)
        assert (found - expected).abs().max() < 0.05 * model.level**2 * 3


def test_the_strength_follows_brightness_and_ends_are_cut_off():
    white = model_of(torch.ones(1, 1), 0.1 * torch.eye(1), slope=1.5)
    for brightness in (0.1, 0.5, 0.9):
        x = torch.full((1, 1, 200, 200), brightness)
        variance = white.degrade(x, 0).var().item()
        assert variance == pytest.approx(0.01 * (1 + 1.5 * (brightness - 0.5)), rel=0.05)
    cut = NoiseModel(white.covariance, 0.0, True).degrade(torch.ones(1, 1, 50, 50), 0)
    assert cut.max() == 1
    assert cut.min() > 0.4
    twice = white.degrade(x, 3, torch.tensor(2.0)) - x
    torch.testing.assert_close(twice, 2 * (white.degrade(x, 3) - x))


KERNELS = {
    "white": torch.ones(1, 1),
    "grainy": torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])) / 6,
    "streaks": torch.ones(1, 9) / 3,
}


@pytest.mark.parametrize("name", KERNELS)
def test_noise_is_learned_from_unpaired_folders(name):
    kernel = KERNELS[name]
    mixing = torch.tensor([[0.1, 0, 0], [0.05, 0.08, 0], [0, 0, 0.06]])
    true = model_of(kernel, mixing)
    noisy = [true.degrade(x, 1000 + index) for index, x in enumerate(scenes(12, seed=1))]
    found = learn_noise(scenes(12, seed=2), noisy)
    assert found.level == pytest.approx(true.level, rel=0.05)
    assert abs(found.slope) < 0.3
    assert not found.clipped
    reach, own = found.reach, true.reach
    for down in range(min(own, 3) + 1):
        for right in range(-min(own, 3), min(own, 3) + 1):
            expected = true.covariance[:, :, own + down, own + right]
            near = found.covariance[:, :, reach + down, reach + right]
            assert (near - expected).abs().max() < 0.12 * true.level**2


def test_the_noise_of_a_single_photograph_is_learned():
    true = model_of(KERNELS["grainy"], 0.1 * torch.eye(3))
    noisy = true.degrade(scenes(1, seed=7, side=480)[0], 1000)
    found = learn_noise(scenes(12, seed=2), [noisy])
    assert found.level == pytest.approx(true.level, rel=0.1)
    neighbours = found.covariance[0, 0, found.reach, found.reach + 1]
    assert neighbours / found.level**2 == pytest.approx(2 / 3, abs=0.1)


def test_noise_that_grows_with_brightness_is_learned():
    true = model_of(torch.ones(1, 1), 0.08 * torch.eye(3), slope=1.5)
    noisy = [
        true.degrade(x, 1000 + index).clamp(0, 1) for index, x in enumerate(scenes(20, seed=3))
    ]
    found = learn_noise(scenes(20, seed=4), noisy)
    assert found.level == pytest.approx(true.level, rel=0.1)
    assert found.slope == pytest.approx(1.5, abs=0.35)
    assert found.clipped


def test_a_thumbnail_among_the_images_is_left_out():
    clean = scenes(12, seed=5)
    noisy = [add_noise(x, 0.1, k) for k, x in enumerate(scenes(12, seed=6))]
    found = learn_noise(clean, noisy)
    again = learn_noise([torch.rand(1, 3, 5, 9), *clean], [torch.rand(1, 3, 60, 60), *noisy])
    assert again.level == pytest.approx(found.level, rel=1e-3)


def test_what_is_no_noise_is_refused():
    with pytest.raises(LocregError, match="no noise"):
        learn_noise(scenes(12, seed=5), scenes(12, seed=6))
    with pytest.raises(LocregError, match=r"too few.*a single one: 216"):
        learn_noise(scenes(12, seed=5), scenes(1, seed=6, side=215))
    with pytest.raises(LocregError, match="no noise"):  # large enough
        learn_noise(scenes(2, seed=5, side=192), scenes(1, seed=6, side=216))
    with pytest.raises(LocregError, match="too few"):
        learn_noise([torch.rand(1, 3, 60, 60)] * 9, [torch.rand(1, 3, 60, 60)] * 9)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Clean photographs, and others with grainy noise, in two folders."""
    found = []
    noise = model_of(KERNELS["grainy"], 0.1 * torch.eye(3))
    for name, seed in (("clean", 7), ("noisy", 8)):
        folder = tmp_path_factory.mktemp(name)
        for index, x in enumerate(scenes(14, seed)):
            degraded = noise.degrade(x, index) if name == "noisy" else x
            pixels = degraded[0].numpy()
            source = ImageFile(pixels, None, "float32", {})
            write_image(folder / f"{index}.tif", pixels, source)
        found.append(folder)
    return found


def recipe(folders):
    return DenoiserRecipe(
        clean=folders[0],
        degraded=folders[1],
        critic=CriticOptions(widths=(12,) * 6, activation="silu"),
        data=SplitOptions(held_out=2, validation_size=48),
        training=DenoisingOptions(
            iterations=150, batch=4, patch_size=24, weight_average=0.9, validate_every=75,
            last_learning_rate=1e-3, precision="float32",
        ),
    )  # fmt: skip


def test_an_energy_of_learned_noise_denoises_at_its_own_level(folders, tmp_path):
    path = tmp_path / "own.safetensors"
    trained = train_denoiser_from_folder(path, recipe(folders), progress=False)
    regularizer = load(path)
    level = regularizer.learned_level
    assert level == trained.criterion["level"] == pytest.approx(0.1, rel=0.1)
    assert "cut off" in trained.training["noise"]
    clean = scenes(1, seed=9)[0][..., :64, :64]
    y = model_of(KERNELS["grainy"], 0.1 * torch.eye(3)).degrade(clean, 99)
    found = restore(y, regularizer)
    assert found.sigma == level
    assert torch.equal(found.image, restore(y, regularizer, sigma="auto").image)
    assert psnr(found.image, clean).item() > psnr(y, clean).item() + 2
    weaker = restore(y, regularizer, sigma=0.75 * level).image
    assert (weaker - y).norm() < (found.image - y).norm()
    with pytest.raises(UsageError, match="give a sigma from"):
        restore(y, regularizer, sigma=0.5 * level)
    with pytest.raises(UsageError, match="white noise"):
        restore(y, regularizer, lam="sure")
    with pytest.raises(UsageError, match="denoising alone"):
        restore(y, regularizer, operator=Identity())
    with pytest.raises(LocregError, match="direction"):
        LocalRegularizer(trained, symmetric=True)


class Identity:
    """An operator that does nothing."""

    def A(self, x):
        return x

    A_adjoint = A


def test_white_noise_and_noisy_images_exclude_each_other(folders):
    from dataclasses import replace

    from locreg.options import NoiseRange

    with pytest.raises(UsageError, match="not both"):
        replace(recipe(folders), noise=NoiseRange(low=0, high=0.1))
    with pytest.raises(UsageError, match="overlap"):
        replace(recipe(folders), degraded=folders[0])


def test_clean_folders_hold_no_noise(folders, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for index, x in enumerate(scenes(14, seed=10)):
        write_image(other / f"{index}.png", x[0].numpy())
    from dataclasses import replace

    with pytest.raises(LocregError, match="In smooth places"):
        train_denoiser_from_folder(
            tmp_path / "w.safetensors", replace(recipe(folders), degraded=other), progress=False
        )
    assert not list(tmp_path.glob("w.*"))


def test_white_noise_of_the_model_is_that_of_the_field():
    x = torch.full((1, 1, 64, 64), 0.5)
    model = model_of(torch.ones(1, 1), 0.1 * torch.eye(1))
    assert model.degrade(x, 0).std() == pytest.approx(add_noise(x, 0.1, 0).std().item(), rel=0.05)
