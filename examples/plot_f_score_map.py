r"""
Where is a photograph damaged?
==============================

The critic :math:`r` scores every patch: low if it looks like a clean photograph, high if it looks
degraded. The regularizer :math:`R(x)` is the sum of these scores, so the score map shows which
parts of an image increase it.

On the command line: ``locreg score photo.png -o map.png``.
"""

# %%
# A photograph with noise in one half
# -----------------------------------

import matplotlib.pyplot as plt
import skimage.data
import torch

import locreg
from locreg.degradation.noise import add_noise

photograph = skimage.data.chelsea()[20:260, 80:400]
clean = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
damaged = clean.clone()
damaged[..., 160:] = add_noise(clean, 0.1, seed=0)[..., 160:]

# %%
# Its scores
# ----------

regularizer = locreg.load("alr-rgb")
scores = regularizer.score_map(damaged)[0, 0]
calibration = regularizer.calibration
print(
    f"mean score of the left half {scores[:, :160].mean():.2f}, right {scores[:, 160:].mean():.2f}"
)

figure, axes = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained")
axes[0].imshow(damaged[0].permute(1, 2, 0).clamp(0, 1))
shown = axes[1].imshow(scores, vmin=calibration.clean_patches[0], cmap="magma",
                       vmax=calibration.degraded_patches[-1])  # fmt: skip
figure.colorbar(shown, ax=axes[1], label="score")
for axis in axes:
    axis.set_axis_off()

plt.show()
