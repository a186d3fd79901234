"""Classical methods to compare with, all of them from libraries.

scikit-image and bm3d are optional: `locreg.evaluation.methods` checks whether they are installed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locreg.degradation.operators import LinearOperator

# The step sizes of the primal and the dual variable differ, because pixels are about 1 and the dual
# variable is about lam. With this ratio, 80 steps come within 0.1 dB of thousands of steps, for lam
# from 0.001 to 0.02.
_STEP_RATIO = 7.0


def total_variation(
    y: Tensor, operator: LinearOperator | None, lam: float, start: Tensor, *, steps: int = 80
) -> Tensor:
    """argmin_x 1/2 |A x - y|^2 + lam TV(x), with isotropic TV of each channel by itself.

    Rudin, Osher, Fatemi 1992, minimised by deepinv's primal-dual algorithm of Chambolle and Pock
    2011.

    Args:
        y: the observation.
        operator: A, one of deepinv's operators; None: the identity.
        lam: weight of the total variation.
        start: the image to start from, (B, C, H, W).
        steps: number of steps of the algorithm.
    """
    from deepinv.optim import L2, PDCP, L12Prior, TVPrior
    from deepinv.physics import Denoising

    variation = TVPrior()
    model = PDCP(
        K=variation.nabla,
        K_adjoint=variation.nabla_adjoint,
        data_fidelity=L2(),
        prior=L12Prior(l2_axis=-1),
        lambda_reg=lam,
        stepsize=_STEP_RATIO / 8**0.5,  # 8 bounds the squared norm of the differences
        stepsize_dual=1 / (_STEP_RATIO * 8**0.5),
        g_first=True,
        max_iter=steps,
        custom_init=lambda *_: (start, start, torch.zeros_like(variation.nabla(start))),
    )
    with torch.no_grad():
        restored: Tensor = model(y, operator or Denoising())
    return restored


def wiener(y: Tensor, kernel: NDArray[np.float32], balance: float) -> Tensor:
    """Wiener deconvolution with a Laplacian prior, each channel by itself, by scikit-image.

    Args:
        y: images (B, C, H, W) with a circular blur.
        kernel: the blur kernel (h, w).
        balance: weight of the prior.
    """
    from skimage.restoration import wiener as deconvolve

    planes = [
        deconvolve(plane.double().numpy(), kernel.astype(np.float64), balance, clip=False)
        for plane in y.flatten(0, 1)
    ]
    return torch.from_numpy(np.stack(planes)).view(y.shape).to(y)


def non_local_means(y: Tensor, sigma: float) -> Tensor:
    """Non-local means of images (B, C, H, W), by scikit-image with the settings of its gallery.

    Buades, Coll, Morel, *A non-local algorithm for image denoising*, 2005.
    """
    from skimage.restoration import denoise_nl_means

    restored = [
        denoise_nl_means(
            image.permute(1, 2, 0).double().numpy(),
            patch_size=5,
            patch_distance=6,
            h=0.8 * sigma,
            sigma=sigma,
            fast_mode=True,
            channel_axis=-1,
        ).reshape(*image.shape[1:], -1)
        for image in y
    ]
    return torch.from_numpy(np.stack(restored)).permute(0, 3, 1, 2).to(y)


def bm3d_by_its_authors(y: Tensor, sigma: float) -> Tensor:
    """BM3D (CBM3D for colour) of images (B, C, H, W), by the bm3d package with its defaults.

    Dabov, Foi, Katkovnik, Egiazarian, *Image denoising by sparse 3-D transform-domain
    collaborative filtering*, 2007.
    """
    import bm3d

    restored = []
    for image in y.double().numpy():
        if len(image) == 1:
            restored.append(np.asarray(bm3d.bm3d(image[0], sigma)).reshape(image.shape))
        else:
            restored.append(bm3d.bm3d_rgb(image.transpose(1, 2, 0), sigma).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(restored)).to(y)


def bm3d_by_deepinv(y: Tensor, sigma: float) -> Tensor:
    """BM3D of images (B, C, H, W) by deepinv's PyTorch implementation with its defaults."""
    from deepinv.models import BM3D

    with torch.no_grad():
        restored: Tensor = BM3D(use_legacy=False)(y, sigma)
    return restored
