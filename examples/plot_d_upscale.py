r"""
Twice as large
==============

Upscaling: the large image, smoothed by a Gaussian :math:`G` and sampled at every second pixel, must
look like the small one:

.. math::

    \min_x \; \frac12 |S G x - y|^2 + \lambda R(x).

The same from the command line: ``locreg upscale small.png -o large.png --factor 2``.
"""

# %%
# A small photograph
# ------------------
# The photograph is scikit-image's coffee cup (CC0, Rachel Michetti).

import matplotlib.pyplot as plt
import skimage.data
import torch

import locreg
from locreg.problems import Photograph, upscaling
from locreg.validation import psnr

photograph = skimage.data.coffee()[100:300, 240:480]
clean = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
problem = upscaling(Photograph(clean, "coffee"), sigma=0.01, factor=2)

# %%
# Restoration
# -----------

found = locreg.upscale(problem.y, locreg.load("denoise-rgb"), 2, antialiasing=0.5, sigma=0.01)

# %%
# Beside the bicubic enlargement
# ------------------------------

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
for axis, image, name in ((axes[0], problem.start, "bicubic"), (axes[1], found.image, "restored")):
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{name}, {psnr(image, clean).item():.1f} dB", fontsize=10)
    axis.set_axis_off()

plt.show()
