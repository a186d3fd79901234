"""Noise as cameras leave it in photographs, simulated from clean images.

A clean image is traced back to the light on a sensor, which records it through a mosaic of colour
filters with shot and read noise. The camera's own processing follows: demosaicing, white balance,
colour matrix, gamma, tone curve, smoothing, sharpening, scaling and JPEG. What is kept is the
difference that the sensor's noise makes, so the scene stays that of the clean image.

Sources: Brooks, Mildenhall, Xue, Chen, Sharlet, Barron, *Unprocessing images for learned raw
denoising*, CVPR 2019 (tone curve, matrices, gains and noise levels); Guo, Yan, Zhang, Zuo, Zhang,
*Toward convolutional blind denoising of real photographs* (CBDNet), CVPR 2019 (demosaicing and
JPEG); Zhang, Liang, Van Gool, Timofte, *Designing a practical degradation model for deep blind
image super-resolution* (BSRGAN), ICCV 2021 (scaling and its order).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyvips
import torch
import torch.nn.functional as F
from torch import Tensor

from locreg.degradation.demosaicing import DEMOSAICINGS, Demosaicing, mosaic
from locreg.degradation.noise import standard_normal

# sRGB (linear) to CIE XYZ with white point D65 (IEC 61966-2-1).
_RGB_TO_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
# CIE XYZ to the colours of four cameras: colour matrices of the DNG files that Brooks et al. used.
_XYZ_TO_CAMERA = torch.tensor(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
# JPEG's luma and colour differences from R, G, B (ITU-R BT.601).
_TO_YCC = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)
_LEAST_SHOT, _MOST_SHOT = 1e-4, 0.012  # variance per unit of light: about ISO 100 to 25,600
_RED_GAIN, _BLUE_GAIN = (1.9, 2.4), (1.5, 1.9)
_SCALES = (0.5, 1.0)
_WORST, _BEST = 60, 100  # qualities of JPEG; good ones are more frequent


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """One camera with its settings for one photograph.

    Attributes:
        matrix: (3, 3), linear sRGB to the colours of the sensor.
        red_gain, blue_gain: white balance.
        light: share of the sensor's range that white of the photograph fills.
        tone: share of the S-shaped tone curve in the processing; the rest is the identity.
        shot: variance of the shot noise per unit of light on the sensor.
        read: variance of the read noise.
        demosaicing: how the missing colours are found.
        phase: row and column of a red pixel in the 2x2 pattern of the mosaic.
        luma_blur, chroma_blur: standard deviations of the camera's smoothing, in pixels.
        sharpening: amount of unsharp masking.
        scale: factor by which the photograph is shrunk.
        quality: of the JPEG file; None: no compression.
        subsampling: whether JPEG halves the resolution of the colour differences.
    """

    matrix: Tensor
    red_gain: float
    blue_gain: float
    light: float
    tone: float
    shot: float
    read: float
    demosaicing: Demosaicing
    phase: tuple[int, int]
    luma_blur: float
    chroma_blur: float
    sharpening: float
    scale: float
    quality: int | None
    subsampling: bool


def draw_camera(random: np.random.Generator) -> Camera:
    """A random camera with random settings."""
    shares = torch.from_numpy(random.dirichlet(np.ones(len(_XYZ_TO_CAMERA)))).float()
    matrix = torch.einsum("k,kij->ij", shares, _XYZ_TO_CAMERA) @ _RGB_TO_XYZ
    log_shot = random.uniform(math.log(_LEAST_SHOT), math.log(_MOST_SHOT))
    log_read = 2.18 * log_shot + 1.20 + random.normal(0, 0.26)  # Brooks et al., from real cameras
    luma_blur = uniform_or_zero(random, 0.95, 0.45, 1.3)
    return Camera(
        matrix=matrix / matrix.sum(1, keepdim=True),  # white stays white
        red_gain=random.uniform(*_RED_GAIN),
        blue_gain=random.uniform(*_BLUE_GAIN),
        light=random.uniform(0.6, 1.0),
        tone=random.uniform(0, 1),
        shot=math.exp(log_shot),
        read=math.exp(log_read),
        demosaicing=DEMOSAICINGS[random.integers(len(DEMOSAICINGS))],
        phase=(int(random.integers(2)), int(random.integers(2))),
        luma_blur=luma_blur,
        chroma_blur=luma_blur + uniform_or_zero(random, 0.8, 0.2, 2.0),
        sharpening=uniform_or_zero(random, 0.3, 0.1, 0.6),
        scale=uniform_or_zero(random, 0.3, *_SCALES) or 1.0,
        quality=round(_BEST - (_BEST - _WORST) * random.random() ** 2)
        if random.random() < 0.8
        else None,
        subsampling=bool(random.random() < 0.5),
    )


def uniform_or_zero(
    random: np.random.Generator, probability: float, low: float, high: float
) -> float:
    """A uniform number in [low, high] with this probability, otherwise 0."""
    return random.uniform(low, high) if random.random() < probability else 0.0


def add_camera_noise(x: Tensor, camera: Camera, random: np.random.Generator) -> Tensor:
    """The photograph (3, H, W) that the camera takes of a clean image x (3, H, W) in [0, 1].

    Values are clipped to [0, 1] and rounded to 8 bits.
    """
    size = [math.ceil(n / camera.scale) for n in x.shape[1:]]
    scene = x if camera.scale == 1 else _resized(x, size).clamp(0, 1)
    light = _to_sensor(scene, camera)
    variance = camera.shot * light + camera.read
    white = standard_normal(light.shape, random)
    noisy, clean = (
        _develop(mosaic(sensor, camera.phase), camera)
        for sensor in (light + variance.sqrt() * white, light)
    )
    noise = _in_camera_filters(noisy - clean, camera)
    if camera.scale != 1:
        noise = _resized(noise, list(x.shape[1:]))
    y = (x + noise).clamp(0, 1)
    if camera.quality is None:
        return (y * 255).round() / 255
    return compress(y, camera.quality, camera.subsampling, random)


def compress(x: Tensor, quality: int, subsampling: bool, random: np.random.Generator) -> Tensor:
    """x (3, H, W) in [0, 1] after JPEG compression; the grid of its blocks lies anywhere."""
    top, left = (int(n) for n in random.integers(16, size=2))
    image = F.pad(x[None], (left, 0, top, 0), mode="replicate")[0]
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    encoded = pyvips.Image.new_from_array(pixels, interpretation="srgb").jpegsave_buffer(
        Q=quality, subsample_mode="on" if subsampling else "off"
    )
    decoded = pyvips.Image.new_from_buffer(encoded, "").numpy()
    result = torch.from_numpy(decoded.astype(np.float32) / 255).permute(2, 0, 1)
    return result[:, top:, left:].contiguous()


def _to_sensor(x: Tensor, camera: Camera) -> Tensor:
    """The light on the sensor, in its three colours, that gives the photograph x (3, H, W)."""
    linear = _without_tone_curve(x, camera.tone)
    linear = torch.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    sensor = torch.einsum("ij,jhw->ihw", camera.matrix, linear)
    return (camera.light * sensor / _gains(camera)).clamp(0, 1)


def _develop(raw: Tensor, camera: Camera) -> Tensor:
    """The photograph (3, H, W) of a mosaic (H, W): the inverse of `_to_sensor`, after clipping."""
    colours = camera.demosaicing(raw.clamp(0, 1), camera.phase)
    balanced = (colours * _gains(camera) / camera.light).clamp(0, 1)
    linear = torch.einsum("ij,jhw->ihw", torch.linalg.inv(camera.matrix), balanced).clamp(0, 1)
    encoded = torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055
    )
    return _with_tone_curve(encoded, camera.tone)


def _gains(camera: Camera) -> Tensor:
    return torch.tensor([camera.red_gain, 1.0, camera.blue_gain]).view(3, 1, 1)


def _with_tone_curve(x: Tensor, share: float) -> Tensor:
    """A blend of x and the S-shaped curve 3 x^2 - 2 x^3."""
    return (1 - share) * x + share * (3 * x**2 - 2 * x**3)


def _without_tone_curve(y: Tensor, share: float) -> Tensor:
    """The inverse of `_with_tone_curve`, by Newton's method from the inverse of the full curve."""
    x = y + share * (0.5 - torch.sin(torch.asin(1 - 2 * y) / 3) - y)
    for _ in range(4):
        slope = 1 - share + share * 6 * x * (1 - x)
        x = (x - (_with_tone_curve(x, share) - y) / slope.clamp_min(0.1)).clamp(0, 1)
    return x


def _in_camera_filters(noise: Tensor, camera: Camera) -> Tensor:
    """Smoothing of luma and of colour differences, then sharpening, all linear in the noise."""
    ycc = torch.einsum("ij,jhw->ihw", _TO_YCC, noise)
    ycc = torch.cat([blur(ycc[:1], camera.luma_blur), blur(ycc[1:], camera.chroma_blur)])
    smoothed = torch.einsum("ij,jhw->ihw", torch.linalg.inv(_TO_YCC), ycc)
    return smoothed + camera.sharpening * (smoothed - blur(smoothed, 1.0))


def blur(x: Tensor, deviation: float) -> Tensor:
    """x (C, H, W) filtered by a Gaussian of this standard deviation, in pixels."""
    if deviation == 0:
        return x
    radius = min(math.ceil(3 * deviation), min(x.shape[1:]) - 1)
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / deviation) ** 2)
    line = (line / line.sum()).to(x)
    padded = F.pad(x[:, None], (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))[:, 0]


def _resized(x: Tensor, size: list[int]) -> Tensor:
    """x (3, H, W) in another size."""
    return F.interpolate(x[None], size=size, mode="bicubic", antialias=True)[0]
