"""Classical methods to compare with, all of them from well-kept libraries."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locreg.errors import LocregError
from locreg.objective import LinearOperator

# Steps of the primal and the dual variable differ: images are of size 1, the dual variable of size
# lam. With this ratio 80 steps come within 0.1 dB of thousands, for lam from 0.001 to 0.02.
_STEP_RATIO = 7.0


def total_variation(
    y: Tensor, operator: LinearOperator, lam: float, start: Tensor, *, steps: int = 80
) -> Tensor:
    """argmin_x 1/2 |Ax - y|^2 + lam TV(x), isotropic, each channel by itself.

    Rudin, Osher, Fatemi 1992, by deepinv's primal-dual algorithm of Chambolle and Pock 2011.

    Args:
        y: the observation.
        operator: one of deepinv's.
        lam: weight of the total variation.
        start: where to start, in the operator's domain.
        steps: of the algorithm.
    """
    from deepinv.optim import L2, PDCP, L12Prior, TVPrior

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
        found: Tensor = model(y, operator)
    return found


def wiener(y: Tensor, kernel: NDArray[np.float32], balance: float) -> Tensor:
    """Wiener deconvolution with a Laplacian prior, each channel by itself, by scikit-image.

    Args:
        y: blurred images (B, C, H, W), wrapped around.
        kernel: (h, w).
        balance: weight of the prior.

    Raises:
        LocregError: when scikit-image is not installed.
    """
    try:
        from skimage.restoration import wiener as deconvolve
    except ImportError:
        raise LocregError(
            "Wiener deconvolution needs scikit-image: pip install scikit-image."
        ) from None
    planes = [
        deconvolve(plane.double().numpy(), kernel.astype(np.float64), balance, clip=False)
        for plane in y.flatten(0, 1)
    ]
    return torch.from_numpy(np.stack(planes)).view(y.shape).to(y)
