r"""
A blurred photograph, without ringing at its border
===================================================

Deblurring with a known kernel :math:`k`:

.. math::

    \min_x \; \frac12 |k * x - y|^2 + \lambda R(x).

A camera sees light from beyond the border of the picture. Taking the picture for wrapped around
makes ringing there; here what lies beyond the border is unknown, and estimated with the rest.

The same from the command line: ``locreg deblur blurred.png -o sharp.png --kernel gaussian:7:3``.
"""

# %%
# A blurred and noisy photograph
# ------------------------------
# Astronaut Eileen Collins (NASA, public domain), seen through the kernel of the paper's Figure 5:
# 7x7 pixels, standard deviation 3. The picture is cut out after the blur, as a camera does it.

import matplotlib.pyplot as plt
import skimage.data
import torch

import locreg
from locreg.kernels import gaussian_kernel
from locreg.operators import blur_unknown_border
from locreg.validation import add_noise, psnr

photograph = skimage.data.astronaut()[0:198, 120:318]
scene = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
kernel = gaussian_kernel(7, 3.0)
blurred = add_noise(blur_unknown_border(kernel, scene.device).A(scene), 0.01, seed=0)
clean = scene[..., 3:-3, 3:-3]

# %%
# Restoration
# -----------

regularizer = locreg.load("denoise-rgb")
found = locreg.deblur(blurred, regularizer, kernel, sigma="auto")
wrapped = locreg.deblur(blurred, regularizer, kernel, sigma="auto", border="circular")

# %%
# Before and after
# ----------------

pictures = {
    "blurred": blurred,
    "restored, border unknown": found.image,
    "restored, taken for wrapped around": wrapped.image,
}
figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for axis, (name, image) in zip(axes, pictures.items(), strict=True):
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{name}, {psnr(image, clean).item():.1f} dB", fontsize=10)
    axis.set_axis_off()

plt.show()
