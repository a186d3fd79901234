r"""
Remove text drawn over a photograph
===================================

Inpainting minimises

.. math::

    \frac12 |m (x - y)|^2 + \lambda R(x),

where the mask :math:`m` is 0 for the unknown pixels under the text and 1 for all other pixels.

On the command line: ``locreg inpaint photo.png -o whole.png --mask text.png``.
"""

# %%
# A photograph with text over it
# ------------------------------
# The photograph is scikit-image's coffee cup (CC0, Rachel Michetti). A little noise is added, as
# from a good camera, to show that known pixels are denoised at the same time.

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import locreg
from locreg.degradation.noise import add_noise
from locreg.images.metrics import psnr


def text_mask(lines: list[str], height: int, width: int) -> np.ndarray:
    """A mask (height, width) that is True where matplotlib draws the text."""
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
# The values of the damaged image under the mask are ignored.

restoration = locreg.inpaint(
    damaged, locreg.load("denoise-rgb"), known, options=locreg.RestoreOptions(sigma=0.01)
)

# %%
# Before and after
# ----------------

figure, axes = plt.subplots(1, 2, figsize=(11, 4.9), layout="constrained")
pictures = {"text over it": damaged, "restored": restoration.image}
for axis, (name, image) in zip(axes, pictures.items(), strict=True):
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{name}, {psnr(image, clean).item():.1f} dB", fontsize=10)
    axis.set_axis_off()

plt.show()
