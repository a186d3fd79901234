"""What `denoise-real` does to photographs, ramps and grey images."""

import numpy as np
import pytest
import torch

from locreg.degradation.camera_noise import add_camera_noise, draw_camera
from locreg.images.metrics import psnr
from locreg.regularizer.local_regularizer import load
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore


@pytest.fixture(scope="module")
def regularizer():
    return load("denoise-real")


@pytest.fixture(scope="module")
def scene(photograph):
    return torch.from_numpy(photograph.transpose(2, 0, 1)[None, :, 100:260, 60:220].copy()) / 255


def test_noise_of_a_camera_is_removed_better_than_by_an_energy_for_white_noise(scene, regularizer):
    gains = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        y = add_camera_noise(scene[0], draw_camera(random), random)[None]
        level = float((y - scene).square().mean().sqrt())
        options = RestoreOptions(sigma=level)
        quality = [
            psnr(restore(y, r, options=options).image, scene).item()
            for r in (regularizer, load("denoise-rgb"))
        ]
        gains.append((quality[0] - psnr(y, scene).item(), quality[0] - quality[1]))
    assert np.mean(gains, axis=0)[0] > 1.5
    assert np.mean(gains, axis=0)[1] > 0.3


@pytest.mark.parametrize("level", [0.01, 0.05])
@pytest.mark.parametrize("slope", [0.0, 0.002])
def test_the_stride_leaves_no_grid(regularizer, level, slope):
    """The four positions in a 2x2 square differ by less than half a step of an 8-bit image."""
    y = 0.3 + slope * torch.arange(96.0).expand(1, 3, 96, 96)
    change = (restore(y, regularizer, options=RestoreOptions(sigma=level)).image - y)[
        ..., 24:-24, 24:-24
    ]
    means = torch.stack([change[..., i::2, j::2].mean((2, 3)) for i in (0, 1) for j in (0, 1)])
    assert (means - means.mean(0)).abs().max() < 0.5 / 255


def test_a_grey_photograph_is_restored(scene, regularizer):
    grey = scene[:, :1]
    y = grey + 0.05 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
    restored = restore(y, regularizer, options=RestoreOptions(sigma=0.05)).image
    assert psnr(restored, grey) > psnr(y, grey) + 3


def test_noise_of_a_sensor_is_removed_better_after_making_it_white(scene):
    gain, read_noise = 0.03, 0.01
    counts = np.random.default_rng(0).poisson(scene.numpy() / gain).astype(np.float32)
    noise = torch.randn(scene.shape, generator=torch.Generator().manual_seed(0))
    y = gain * torch.from_numpy(counts) + read_noise * noise
    regularizer = load("denoise-rgb")
    growing = restore(y, regularizer, options=RestoreOptions(gain=gain, read_noise=read_noise))
    constant = restore(y, regularizer, options=RestoreOptions(sigma=growing.sigma))
    assert psnr(growing.image, scene) > psnr(constant.image, scene) + 0.5
