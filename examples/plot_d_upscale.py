r"""
Double the size of a photograph
===============================

Upscaling looks for a large image that gives the small one when it is smoothed by a Gaussian
:math:`G` and sampled at every second pixel :math:`S`:

.. math::

    \min_x \; \frac12 |S G x - y|^2 + \lambda R(x).

On the command line: ``locreg upscale small.png -o large.png --factor 2``.
"""

# %%
# A small photograph
# ------------------
# The photograph is scikit-image's coffee cup (CC0, Rachel Michetti).

import matplotlib.pyplot as plt
import skimage.data
import torch

import locreg
from locreg.evaluation.simulation import Photograph, upscaling
from locreg.images.metrics import psnr

photograph = skimage.data.coffee()[100:300, 240:480]
clean = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
problem = upscaling(Photograph(clean, "coffee"), sigma=0.01, factor=2)

# %%
# Restoration
# -----------

restoration = locreg.upscale(
    problem.y,
    locreg.load("denoise-rgb"),
    2,
    antialiasing=0.5,
    options=locreg.RestoreOptions(sigma=0.01),
)

# %%
# Comparison with bicubic enlargement
# -----------------------------------

pictures = {"bicubic": problem.start, "restored": restoration.image}
figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
for axis, (name, image) in zip(axes, pictures.items(), strict=True):
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{name}, {psnr(image, clean).item():.1f} dB", fontsize=10)
    axis.set_axis_off()

plt.show()
