"""The noise of a picture, measured from the picture alone."""

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locreg.degradation.camera_noise import add_camera_noise, draw_camera
from locreg.degradation.measure_noise import growing_noise, measure_noise
from locreg.degradation.noise import add_noise
from locreg.errors import LocregError


@pytest.fixture(scope="module")
def scene(photograph):
    return torch.from_numpy(photograph.transpose(2, 0, 1)[None].copy()).float() / 255


def camera_photograph(scene, seed):
    random = np.random.default_rng(seed)
    return add_camera_noise(scene[0], draw_camera(random), random)[None]


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("channels", [1, 3])
def test_white_noise_is_found_to_be_white(scene, sigma, channels):
    found = measure_noise(add_noise(scene[:, :channels], sigma, seed=0))
    assert found.kind == "white"
    assert found.level == pytest.approx(sigma, rel=0.06)


@pytest.mark.parametrize("seed", range(4))
def test_noise_of_a_camera_is_found_where_its_white_part_is_small(scene, seed):
    y = camera_photograph(scene, seed)
    found = measure_noise(y, "camera")
    assert found.kind == "camera"
    assert found.level == pytest.approx(float((y - scene).square().mean().sqrt()), rel=0.35)


def test_a_clean_photograph_has_little_noise(scene):
    assert measure_noise(scene).level < 0.012


@pytest.mark.parametrize("name", ["coins", "camera", "brick"])
def test_texture_is_no_noise(name):
    """Grey photographs, from one of which the white part alone would be 0.03."""
    y = torch.from_numpy(getattr(skimage.data, name)().copy())[None, None].float() / 255
    assert measure_noise(y).level < 0.008


@pytest.mark.parametrize("sigma", [0.02, 0.05])
def test_white_noise_on_texture_is_found(sigma):
    y = torch.from_numpy(skimage.data.coins().copy())[None, None].float() / 255
    found = measure_noise(add_noise(y, sigma, 0))
    assert found.level == pytest.approx(sigma, rel=0.2)


def test_white_noise_on_texture_like_grass_stays_white():
    """Its brightness differs from pixel to pixel, and its colour does not, unlike noise."""
    random = np.random.default_rng(0)
    texture = random.normal(0, 0.06, (160, 160))[..., None] * (1, 0.9, 0.7)
    y = 0.5 + texture + random.normal(0, 0.05, texture.shape)
    found = measure_noise(y.transpose(2, 0, 1)[None].astype(np.float32))
    assert found.kind == "white"
    assert found.level == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_image_has_no_noise(value):
    assert measure_noise(torch.full((1, 3, 80, 90), value)).level == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("fill", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["white", "camera"])
def test_bars_are_left_out(scene, fill, kind):
    """Letterbox bars, white margins of a scan, transparent areas."""
    y = add_noise(scene, 0.06, 0).clamp(0, 1) if kind == "white" else camera_photograph(scene, 0)
    barred = y.clone()
    barred[..., :90, :] = fill
    barred[..., :, -60:] = fill
    inner = measure_noise(y[..., 90:, :-60], kind).level
    assert measure_noise(barred, kind).level == pytest.approx(inner, rel=0.12)


def test_a_clipped_sky_is_left_out(scene):
    y = (add_noise(scene, 0.05, 0) + torch.linspace(0.9, -0.1, scene.shape[2])[:, None]).clamp(0, 1)
    assert measure_noise(y, "camera").level == pytest.approx(0.05, rel=0.2)


def test_one_hot_pixel_changes_nothing(scene):
    y = 0.2 * add_noise(scene, 0.1, 0)
    hot = y.clone()
    hot[0, :, 200, 150] = 1.0
    assert measure_noise(hot, "camera").level == pytest.approx(
        measure_noise(y, "camera").level, rel=0.05
    )


@pytest.mark.parametrize("gain", [0.005, 0.03])
def test_noise_that_grows_with_brightness_is_found(scene, gain):
    random = np.random.default_rng(0)
    counts = torch.from_numpy(random.poisson(scene.numpy() / gain).astype(np.float32))
    found = measure_noise(add_noise(gain * counts, 0.01, 0))
    assert found.kind == "poisson-gaussian"
    assert found.gain == pytest.approx(gain, rel=0.35)


def test_the_level_of_growing_noise_is_its_root_mean_square(scene):
    noise = growing_noise(scene, gain=0.02, read_noise=0.01)
    assert noise.level**2 == pytest.approx(float((0.02 * scene + 0.01**2).mean()), rel=1e-4)
    scaled = noise.scaled_to(0.2)
    again = growing_noise(scene, scaled.gain, scaled.read_noise)
    assert (scaled.level, again.level) == pytest.approx((0.2, 0.2))


@pytest.mark.slow
def test_a_large_image_is_sampled_well(scene):
    small = add_noise(scene, 0.08, 0)
    large = small.repeat(1, 1, 3, 3)
    expected = measure_noise(small, "camera").level
    assert measure_noise(large, "camera").level == pytest.approx(expected, rel=0.05)


@settings(max_examples=15)
@given(height=st.integers(1, 60), width=st.integers(1, 60), channels=st.sampled_from((1, 3)))
def test_small_images_get_a_level_or_a_sentence(height, width, channels):
    x = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    try:
        found = measure_noise(x)
    except LocregError as error:
        assert "too small to estimate its noise level: give sigma" in str(error)  # noqa: PT017
        assert min(height, width) < 8 or height * width < 900
    else:
        assert 0 < found.level < 1


def test_the_level_of_a_camera_counts_bright_and_dark_places_alike(scene):
    """Noise that is stronger in bright places, few as they may be, counts by their number."""
    strength = torch.where(scene.mean(1, keepdim=True) > 0.5, 2.0, 1.0)
    smooth = torch.nn.functional.avg_pool2d(
        torch.randn(scene.shape, generator=torch.Generator().manual_seed(0)), 3, 1, 1
    )
    noise = 0.06 * strength * smooth
    found = measure_noise(scene + noise, "camera")
    assert found.level == pytest.approx(float(noise.square().mean().sqrt()), rel=0.25)


def test_how_noise_grows_does_not_depend_on_missing_pixels(photograph):
    clean = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255
    generator = torch.Generator().manual_seed(0)
    y = clean + (0.004 * clean + 1e-4).sqrt() * torch.randn(clean.shape, generator=generator)
    known = torch.ones(y.shape[-2:], dtype=torch.bool)
    known[:, 300:] = False
    found = [
        measure_noise(torch.where(known, y, value), "poisson-gaussian", known)
        for value in (0.0, 1.0)
    ]
    assert found[0] == found[1]
    assert found[0].gain == pytest.approx(0.004, rel=0.4)


def test_a_large_thin_image_is_measured(scene):
    thin = scene[..., :16, :400].repeat(1, 1, 1, 100)
    y = add_noise(thin, 0.1, 0)
    assert measure_noise(y).level == pytest.approx(0.1, rel=0.1)
