r"""
Learn unknown noise from two folders
====================================

Each camera or scanner has its own kind of noise: grains wider than a pixel, stripes, or more noise
in bright places. A method for white noise leaves such noise in the picture or smears the picture.
Here the noise is learned from two folders that show different scenes, and then removed. Nothing
else is given.

For your own two folders this is one command:
``locreg restore --clean sharp/ --degraded noisy/ -o restored/``. It trains for ten to thirty
minutes, and gives better results than this page, which trains for one minute.
"""

# %%
# Two folders
# -----------
# One folder holds clean photographs. The other holds noisy photographs of other scenes; their noise
# is slightly blurred, so its grains are wider than a pixel.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
from scipy.ndimage import convolve1d

import locreg
from locreg.images.image_file import write_image
from locreg.images.metrics import psnr

random = np.random.default_rng(0)


def add_grain(pixels):
    """Add noise of level 0.1, blurred with the weights 1, 2, 1 along rows and columns."""
    grain = random.standard_normal(pixels.shape)
    for axis in (1, 2):
        grain = convolve1d(grain, np.array([1, 2, 1]) / 6**0.5, axis=axis)
    return (pixels + 0.1 * grain).astype(np.float32)


def tiles(photograph, side=200):
    """Pieces of a photograph, channels first, in [0, 1]."""
    pixels = photograph.transpose(2, 0, 1).astype(np.float32) / 255
    for top in range(0, pixels.shape[1] - side + 1, side):
        for left in range(0, pixels.shape[2] - side + 1, side):
            yield pixels[:, top : top + side, left : left + side]


clean_scenes = [*tiles(skimage.data.astronaut()), *tiles(skimage.data.coffee())]
noisy_scenes = [
    *tiles(skimage.data.rocket()),
    *tiles(skimage.data.retina()[400:1000, 400:1000]),
    *tiles(skimage.data.chelsea()),
]

root = Path(tempfile.mkdtemp())
for name, scenes in (("clean", clean_scenes), ("noisy", map(add_grain, noisy_scenes))):
    (root / name).mkdir()
    for index, pixels in enumerate(scenes):
        write_image(root / name / f"{index}.png", pixels)

# %%
# Learning the noise and how to remove it
# ---------------------------------------

recipe = locreg.recipe_for_noise((root / "clean",), root / "noisy", channels=3, iterations=120)
run = locreg.TrainingRun(output=root / "learned.safetensors", progress=False)
weights = locreg.train_denoiser(recipe, run)
print("noise:", weights.training["noise"])

# %%
# The result
# ----------
# For comparison, the denoising energy for white noise restores the same image, at the noise level
# that gives the highest PSNR.

clean = torch.from_numpy(noisy_scenes[-1])[None]
noisy = torch.from_numpy(add_grain(noisy_scenes[-1]))[None]
learned = locreg.restore(noisy, locreg.load(root / "learned.safetensors")).image
white = max(
    (
        locreg.restore(
            noisy, locreg.load("denoise-rgb"), options=locreg.RestoreOptions(sigma=sigma)
        ).image
        for sigma in (0.1, 0.15, 0.2, 0.25)
    ),
    key=lambda image: psnr(image, clean).item(),
)

figure, axes = plt.subplots(1, 4, figsize=(13, 3.7), layout="constrained")
shown = {"noisy": noisy, "for white noise": white, "learned": learned, "clean": clean}
for axis, (name, image) in zip(axes, shown.items(), strict=True):
    quality = "" if image is clean else f", {psnr(image, clean).item():.1f} dB"
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{name}{quality}")
    axis.set_axis_off()

plt.show()
