r"""
Noise removed, its level found
==============================

Denoising: the restored image minimises

.. math::

    \frac12 |x - y|^2 + \lambda R(x),

or takes one gradient step of an energy that was trained for it. Neither the noise level nor
:math:`\lambda` is given: the first is estimated from the image, the second follows from it.

The same from the command line: ``locreg denoise noisy.png -o clean.png``.
"""

# %%
# A noisy photograph
# ------------------
# The photograph is scikit-image's Chelsea (CC0, Stefan van der Walt). 0.1 is 25.5 of 255.

import matplotlib.pyplot as plt
import skimage.data
import torch

import locreg
from locreg.validation import add_noise, psnr

photograph = skimage.data.chelsea()[20:260, 80:400]
clean = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
noisy = add_noise(clean, 0.1, seed=0)

# %%
# Restoration
# -----------
# ``denoise-rgb`` takes one gradient, or two where the noise is strong; the critic of the paper,
# ``alr-rgb``, takes 50 steps of Adam.

energy = locreg.restore(noisy, locreg.load("denoise-rgb"), sigma="auto")
critic = locreg.restore(noisy, locreg.load("alr-rgb"), sigma="auto")
print(f"noise level found: {energy.sigma:.4f}")

# %%
# Before and after, and what was removed
# --------------------------------------
# The residual should look like noise and nothing else.

pictures = {
    "noisy": noisy,
    "denoise-rgb": energy.image,
    "alr-rgb": critic.image,
    "residual of denoise-rgb": energy.residual,
}
figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
for axis, (name, image) in zip(axes.flat, pictures.items(), strict=True):
    if name.startswith("residual"):
        axis.set_title(name, fontsize=10)
        image = 0.5 + image
    else:
        axis.set_title(f"{name}, {psnr(image, clean).item():.1f} dB", fontsize=10)
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_axis_off()

plt.show()
