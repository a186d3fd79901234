"""How noise of cameras and sensors is removed from photographs and ramps."""

import numpy as np
import pytest
import torch

from conftest import conditioned_critic, half_resolution, random_image
from locreg.degradation.camera_noise import add_camera_noise, draw_camera
from locreg.degradation.noise import add_noise
from locreg.images.metrics import psnr
from locreg.regularizer.local_regularizer import LocalRegularizer, load
from locreg.restoration.defaults import COARSE_SHARE, FINE_SHARE
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore


@pytest.fixture(scope="module")
def scene(photograph):
    return torch.from_numpy(photograph.transpose(2, 0, 1)[None, :, 100:260, 60:220].copy()) / 255


@pytest.mark.slow
def test_noise_of_a_camera_is_removed_better_than_white_noise_of_its_level_would_be(scene):
    """In a photograph as cameras take it, which is smoother than one that was shrunk."""
    gains, regularizer = [], load("denoise-rgb")
    scene = torch.nn.functional.interpolate(scene[..., :80, :80], scale_factor=2, mode="bicubic")
    scene = scene.clamp(0, 1)
    for seed in range(6):
        random = np.random.default_rng(seed)
        y = add_camera_noise(scene[0], draw_camera(random), random)[None]
        level = float((y - scene).square().mean().sqrt())
        found, white = (
            psnr(restore(y, regularizer, options=options).image, scene).item()
            for options in (
                RestoreOptions(sigma=level, noise="camera"),
                RestoreOptions(sigma=level, noise="white"),
            )
        )
        gains.append((found - psnr(y, scene).item(), found - white))
    assert np.mean(gains, axis=0)[0] > 1.5
    assert np.mean(gains, axis=0)[1] > 0.3


def test_noise_of_a_camera_is_removed_at_half_the_resolution_first():
    """The first step enlarges what happens at half the resolution; the second is the usual one."""
    regularizer, level = LocalRegularizer(conditioned_critic(channels=3)), 0.05
    y = random_image(1, 3, 64, 68)
    found = restore(y, regularizer, options=RestoreOptions(sigma=level, noise="camera"))
    half = half_resolution(y, padding=1)
    low = restore(half, regularizer, options=RestoreOptions(sigma=COARSE_SHARE * level))
    change = torch.nn.functional.interpolate(low.image - half, scale_factor=2, mode="bilinear")
    fine = restore(y + change, regularizer, options=RestoreOptions(sigma=FINE_SHARE * level))
    inner = (..., slice(24, -24), slice(24, -24))  # away from the borders, which differ
    torch.testing.assert_close(found.image[inner], fine.image[inner])
    assert found.sigma == level
    assert found.solution.steps == 2
    torch.testing.assert_close(found.residual, y - found.image)


@pytest.mark.parametrize("level", [0.01, 0.05])
@pytest.mark.parametrize("slope", [0.0, 0.002])
@pytest.mark.parametrize("kind", ["camera", "white"])
def test_coarse_steps_and_scales_leave_no_grid(level, slope, kind):
    """The positions in a square of 4x4 pixels differ by less than half a step of 8 bits."""
    y = 0.3 + slope * torch.arange(96.0).expand(1, 3, 96, 96)
    options = RestoreOptions(sigma=level, noise=kind)
    change = (restore(y, load("denoise-rgb"), options=options).image - y)[..., 24:-24, 24:-24]
    means = torch.stack([change[..., i::4, j::4].mean((2, 3)) for i in range(4) for j in range(4)])
    assert (means - means.mean(0)).abs().max() < 0.5 / 255


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_the_strength_counts_for_noise_of_a_camera(scene, strength):
    random = np.random.default_rng(1)
    y = add_camera_noise(scene[0], draw_camera(random), random)[None]
    change = [
        (restore(y, load("denoise-rgb"), options=options).image - y).norm()
        for options in (
            RestoreOptions(sigma=0.05, noise="camera", strength=strength),
            RestoreOptions(sigma=0.05, noise="camera"),
        )
    ]
    assert (change[0] < change[1]) == (strength < 1)
    assert (change[0] == 0) == (strength == 0)


def test_noise_of_a_sensor_is_removed_better_after_making_it_white(scene):
    gain, read_noise = 0.03, 0.01
    counts = np.random.default_rng(0).poisson(scene.numpy() / gain).astype(np.float32)
    noise = torch.randn(scene.shape, generator=torch.Generator().manual_seed(0))
    y = gain * torch.from_numpy(counts) + read_noise * noise
    regularizer = load("denoise-rgb")
    growing = restore(y, regularizer, options=RestoreOptions(gain=gain, read_noise=read_noise))
    constant = restore(y, regularizer, options=RestoreOptions(sigma=growing.sigma))
    assert psnr(growing.image, scene) > psnr(constant.image, scene) + 0.5


@pytest.mark.parametrize("noise", ["auto", "white", "camera", "poisson-gaussian"])
def test_pixels_far_above_white_stay_and_do_no_harm(scene, noise):
    """The sun in a float image: nothing near it becomes worse, and the rest is denoised."""
    rows, columns = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    distance = ((rows - 40) ** 2 + (columns - 50) ** 2).sqrt()
    sun = distance < 9
    clean = torch.where(sun, 6.0, scene)
    y = add_noise(clean, 0.04, seed=1)
    found = restore(y, load("denoise-rgb"), options=RestoreOptions(noise=noise))
    assert found.sigma == pytest.approx(0.04, rel=0.35)
    torch.testing.assert_close(found.image[..., sun], y[..., sun])
    near = (distance >= 9) & (distance < 12)
    before, after = (float((x - clean)[..., near].square().mean()) for x in (y, found.image))
    assert after < 1.1 * before
    away = distance > 20
    before, after = (float((x - clean)[..., away].square().mean()) for x in (y, found.image))
    assert after < 0.5 * before


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.4, 0.5])
def test_strong_noise_is_not_taken_for_highlights(scene, level):
    y = add_noise(scene, level, seed=2)
    assert y.max() > 2
    given, found = (
        restore(y, load("denoise-rgb"), options=RestoreOptions(sigma=sigma))
        for sigma in (level, "auto")
    )
    assert found.sigma == pytest.approx(level, rel=0.05)
    assert psnr(given.image, scene).item() - psnr(found.image, scene).item() < 0.1
    assert (given.image - y).square().mean().sqrt() > 0.9 * level
