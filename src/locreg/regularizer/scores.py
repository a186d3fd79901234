"""Score maps of images: where a critic finds damage. They need no PyTorch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from locreg.errors import LocregError
from locreg.regularizer.onnx_gradient import score_map
from locreg.regularizer.stored_weights import StoredWeights


def scores_of(pixels: NDArray[np.float32], weights: StoredWeights) -> NDArray[np.float32]:
    """The score map (h, w) of an image (C, H, W) in [0, 1]; h is H / stride, rounded up.

    A critic for grey images scores the mean of the channels of a colour image.

    Raises:
        LocregError: when the image is grey and the critic is for colour images, or the weights hold
            a denoising energy.
    """
    critic = weights.scales[0]
    if critic.noise_conditioned:
        raise LocregError(
            "These weights hold a denoising energy, whose scores do not measure damage: use the "
            "weights of a critic, such as alr-rgb."
        )
    if len(weights.scales) > 1:
        raise LocregError("R has several scales, so that no score belongs to one patch alone.")
    if critic.in_channels < len(pixels):
        pixels = pixels.mean(axis=0, keepdims=True)
    if critic.in_channels != len(pixels):
        raise LocregError("The image is grey and the weights are for colour images: use alr-gray.")
    return score_map(critic, pixels)
