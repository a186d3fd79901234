r"""
Deblur a photograph without ringing at its border
=================================================

Deblurring with a known kernel :math:`k` minimises

.. math::

    \frac12 |k * x - y|^2 + \lambda R(x).

Blur mixes light from beyond the border into the picture. Many methods assume that the picture wraps
around, which causes ringing at the border. Here the scene beyond the border is unknown, and is
estimated together with the picture.

On the command line: ``locreg deblur blurred.png -o sharp.png --kernel gaussian:7:3``.
"""

# %%
# A blurred and noisy photograph
# ------------------------------
# The photograph is scikit-image's astronaut (Eileen Collins; NASA, public domain), blurred with the
# kernel of the paper's Figure 5: 7x7 pixels, standard deviation 3. The border is cut off after the
# blur, as in a camera.

import matplotlib.pyplot as plt
import skimage.data
import torch

import locreg
from locreg.degradation.deepinv_operators import blur_unknown_border
from locreg.degradation.kernels import gaussian_kernel
from locreg.degradation.noise import add_noise
from locreg.images.metrics import psnr

photograph = skimage.data.astronaut()[0:198, 120:318]
scene = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
kernel = gaussian_kernel(7, 3.0)
blurred = add_noise(blur_unknown_border(kernel, scene.device).A(scene), 0.01, seed=0)
clean = scene[..., 3:-3, 3:-3]

# %%
# Restoration
# -----------

regularizer = locreg.load("denoise-rgb")
options = locreg.RestoreOptions(sigma="auto")
restoration = locreg.deblur(blurred, regularizer, kernel, options=options)
wrapped = locreg.deblur(blurred, regularizer, kernel, border="circular", options=options)

# %%
# Before and after
# ----------------

pictures = {
    "blurred": blurred,
    "restored, border unknown": restoration.image,
    "restored, assumed to wrap around": wrapped.image,
}
figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for axis, (name, image) in zip(axes, pictures.items(), strict=True):
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{name}, {psnr(image, clean).item():.1f} dB", fontsize=10)
    axis.set_axis_off()

plt.show()
