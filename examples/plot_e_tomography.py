r"""
Any linear operator: sparse-view tomography
===========================================

Restoration works with any linear operator :math:`A` that has the methods ``A`` and ``A_adjoint``,
such as the operators of deepinv. Here it is parallel-beam tomography from 60 angles. The solver
alternates between steps that decrease the regularizer and steps towards the data, to minimise

.. math::

    \frac12 |A x - y|^2 + \lambda R(x).
"""

# %%
# A phantom and its sinogram
# --------------------------

import deepinv
import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
import torch.nn.functional as F

import locreg
from locreg.degradation.noise import add_noise
from locreg.images.metrics import psnr

phantom = torch.from_numpy(skimage.data.shepp_logan_phantom().astype(np.float32))[None, None]
clean = F.interpolate(phantom, size=(128, 128), mode="area")
operator = deepinv.physics.Tomography(angles=60, img_width=128, normalize=True)
sinogram = add_noise(operator.A(clean), 0.01, seed=0)

# %%
# Restoration
# -----------
# The operator is checked first: for random u and v, <Au, v> must equal <u, A*v>.

restoration = locreg.restore(
    sinogram,
    locreg.load("denoise-gray"),
    operator,
    start=operator.A_dagger(sinogram),
    options=locreg.RestoreOptions(sigma=0.01),
)

# %%
# Sinogram, pseudoinverse, restored
# ---------------------------------

figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
axes[0].imshow(sinogram[0, 0], cmap="gray", aspect="auto")
axes[0].set_title("60 views", fontsize=10)
pictures = {"pseudoinverse": operator.A_dagger(sinogram), "restored": restoration.image}
for axis, (name, image) in zip(axes[1:], pictures.items(), strict=True):
    axis.imshow(image[0, 0], cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"{name}, {psnr(image, clean).item():.1f} dB", fontsize=10)
for axis in axes:
    axis.set_axis_off()

plt.show()
