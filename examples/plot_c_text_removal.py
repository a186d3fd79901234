r"""
Text drawn over a photograph
============================

Inpainting: the pixels under the text are unknown, all others are known. The restored image
minimises

.. math::

    \frac12 |m (x - y)|^2 + \lambda R(x)

where the mask :math:`m` is 1 where a pixel is known and 0 under the text.

The same from the command line: ``locreg inpaint photo.png -o whole.png --mask text.png``.
"""

# %%
# A photograph, and text over it
# ------------------------------
# The photograph is scikit-image's coffee cup (CC0, Rachel Michetti). Noise of a good camera is
# added to show that known pixels are cleaned on the way.

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import locreg
from locreg.tasks import inpaint
from locreg.validation import add_noise, psnr


def text_mask(lines: list[str], height: int, width: int) -> np.ndarray:
    """True where the text is (height, width), drawn by matplotlib."""
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for index, line in enumerate(lines):
        figure.text(0.02, 0.96 - 0.98 * index / len(lines), line, fontsize=17, va="top")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0] < 200


photograph = skimage.data.coffee()[60:380, 120:500]
clean = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
height, width = photograph.shape[:2]
words = "One regularizer serves every linear problem: noise, blur, holes, small images. "
missing = text_mask(textwrap.wrap(4 * words, 30)[:9], height, width)
known = torch.from_numpy(~missing)
damaged = torch.where(known, add_noise(clean, 0.01, seed=0), 1.0)

# %%
# Filling the holes
# -----------------
# What the damaged image holds under the mask is not used.

found = inpaint(damaged, locreg.load("denoise-rgb"), known, sigma=0.01)

# %%
# Before and after
# ----------------

figure, axes = plt.subplots(1, 2, figsize=(11, 4.9), layout="constrained")
for axis, image, name in ((axes[0], damaged, "text over it"), (axes[1], found.image, "restored")):
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{name}, {psnr(image, clean).item():.1f} dB", fontsize=10)
    axis.set_axis_off()

plt.show()
