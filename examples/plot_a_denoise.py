r"""
Remove noise of unknown level
=============================

With a critic, denoising minimises

.. math::

    \frac12 |x - y|^2 + \lambda R(x).

With a denoising energy it takes only one gradient step, which the energy was trained for. Neither
the noise level nor :math:`\lambda` is given: the noise level is estimated from the image, and
:math:`\lambda` follows from it.

On the command line: ``locreg denoise noisy.png -o clean.png``.
"""

# %%
# A noisy photograph
# ------------------
# The photograph is scikit-image's Chelsea (CC0, Stefan van der Walt). The noise level is 0.1, which
# is 25.5 of 255.

import matplotlib.pyplot as plt
import skimage.data
import torch

import locreg
from locreg.degradation.noise import add_noise
from locreg.images.metrics import psnr

photograph = skimage.data.chelsea()[20:260, 80:400]
clean = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
noisy = add_noise(clean, 0.1, seed=0)

# %%
# Restoration
# -----------
# The denoising energy ``denoise-rgb`` takes one gradient step, or two for strong noise. The paper's
# kind of critic, ``alr-rgb``, takes 50 steps of Adam.

options = locreg.RestoreOptions(sigma="auto")
by_energy = locreg.restore(noisy, locreg.load("denoise-rgb"), options=options)
by_critic = locreg.restore(noisy, locreg.load("alr-rgb"), options=options)
print(f"estimated noise level: {by_energy.sigma:.4f}")

# %%
# Before and after, and what was removed
# --------------------------------------
# The residual should look like noise and nothing else.

pictures = {
    "noisy": noisy,
    "denoise-rgb": by_energy.image,
    "alr-rgb": by_critic.image,
    "residual of denoise-rgb": by_energy.residual,
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
