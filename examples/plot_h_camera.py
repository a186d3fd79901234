"""
A noisy photograph from a camera
================================

The noise of a photograph is not white: demosaicing, smoothing and JPEG correlate it between pixels
and channels. Its kind and level are measured. It is removed at half the resolution first, where it
is nearer to white, and then at the full one. A step for white noise of the same level leaves spots.

On the command line: ``locreg denoise photo.jpg -o clean.png``.
"""

# %%
# A simulated photograph
# ----------------------
# The scene is scikit-image's Chelsea (CC0, Stefan van der Walt). It is photographed by a simulated
# camera at a high sensitivity, and saved as JPEG.

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch

import locreg
from locreg.degradation.camera_noise import add_camera_noise, draw_camera
from locreg.images.metrics import psnr

photograph = skimage.data.chelsea()[20:260, 80:400]
clean = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
random = np.random.default_rng(0)
camera = replace(
    draw_camera(random), shot=0.004, read=1e-5, luma_blur=0.7, chroma_blur=1.2, quality=95
)
noisy = add_camera_noise(clean[0], camera, random)[None]

# %%
# Restoration
# -----------
# Neither kind nor level of the noise is given.

noise = locreg.measure_noise(noisy)
print(f"{noise.kind} noise of level {noise.level:.4f}")
options = locreg.RestoreOptions(sigma=noise.level, noise="white")
regularizer = locreg.load("denoise-rgb")
camera = locreg.restore(noisy, regularizer)
white = locreg.restore(noisy, regularizer, options=options)

# %%
# Before and after, and what was removed
# --------------------------------------
# The correlated noise shows as grains larger than a pixel.

pictures = {
    "photograph": noisy,
    "in two steps, for a camera": camera.image,
    "in one step, for white noise": white.image,
    "removed for a camera": camera.residual,
}
figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
for axis, (name, image) in zip(axes.flat, pictures.items(), strict=True):
    if name.startswith("removed"):
        shown = 0.5 + 4 * image[0]
        axis.set_title(f"{name}, four times as strong")
    else:
        shown = image[0]
        axis.set_title(f"{name}, {psnr(image, clean).item():.2f} dB")
    axis.imshow(shown.clamp(0, 1).permute(1, 2, 0))
    axis.set_axis_off()
