"""Linear operators: deepinv's, made for a photograph, and the check that any operator must pass.

Nothing that deepinv has is written again. It is imported where it is used: it takes seconds to
load.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locreg.errors import LocregError
from locreg.kernels import antialiasing_kernel, check_kernel
from locreg.objective import LinearOperator

if TYPE_CHECKING:
    from deepinv.physics import Blur, BlurFFT, Downsampling, Inpainting

_LARGE_KERNEL = 15  # from this side on, convolution by Fourier transform is faster


def blur_unknown_border(kernel: NDArray[np.float32], device: torch.device) -> Blur:
    """Blur of a photograph as a camera makes it: light from beyond the border takes part.

    A maps an image that is larger by the kernel's size minus 1 to the observation; what lies beyond
    the observation's border is estimated along with the rest, and no ringing starts there.
    """
    from deepinv.physics import Blur

    check_kernel(kernel)
    weights = torch.from_numpy(kernel)[None, None].to(device)
    large = max(kernel.shape) >= _LARGE_KERNEL
    return Blur(filter=weights, padding="valid", use_fft=large, device=device)


def blur_circular(
    kernel: NDArray[np.float32], shape: tuple[int, int, int], device: torch.device
) -> BlurFFT:
    """Blur as if the image (C, H, W) were wrapped around a torus: for benchmarks."""
    from deepinv.physics import BlurFFT

    check_kernel(kernel)
    check_kernel_fits(kernel, *shape[1:])
    weights = torch.from_numpy(kernel)[None, None].to(device)
    return BlurFFT(img_size=shape, filter=weights, device=device)


def inpainting(mask: Tensor, shape: tuple[int, int, int], device: torch.device) -> Inpainting:
    """A x = m x with a mask (H, W), above 0 where a pixel is known and 0 where it is missing.

    Raises:
        LocregError: when the mask has another size, or no pixel is known.
    """
    from deepinv.physics import Inpainting

    if tuple(mask.shape) != shape[1:]:
        height, width = mask.shape
        raise LocregError(
            f"The mask has {width}x{height} pixels and the image {shape[2]}x{shape[1]}: they must "
            "be of one size."
        )
    if not (mask > 0).any():
        raise LocregError("The mask marks every pixel as missing: nothing is left to go by.")
    known = (mask > 0).to(device=device, dtype=torch.float32).expand(shape)
    return Inpainting(img_size=shape, mask=known, device=device)


def downsampling(
    factor: int, std: float, shape: tuple[int, int, int], device: torch.device
) -> Downsampling:
    """Gaussian antialiasing, then every ``factor``-th pixel of an image (C, H, W).

    A pixel of the small image lies in the middle of the block that it stands for; ``std`` is the
    standard deviation of the Gaussian in such pixels.
    """
    from deepinv.physics import Downsampling

    weights = torch.from_numpy(antialiasing_kernel(factor, std))[None, None].to(device)
    return Downsampling(
        img_size=shape, filter=weights, factor=factor, padding="replicate", device=device
    )


def check_operator(operator: LinearOperator, x: Tensor, y: Tensor) -> None:
    """Check on random images that A and A_adjoint fit x, y and each other: <Au, v> = <u, A*v>.

    Raises:
        LocregError: when one of them raises or returns another shape, or the products differ.
    """
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    v = torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y.device)
    forward = apply_operator(operator.A, "A", u, y.shape)
    backward = apply_operator(operator.A_adjoint, "A_adjoint", v, x.shape)
    left = float((forward.double() * v.double()).sum())
    right = float((u.double() * backward.double()).sum())
    # The size that <Au, v> has for independent signs; rounding is a thousand times smaller.
    usual = float(forward.double().norm() * v.double().norm()) / math.sqrt(v.numel())
    if not abs(left - right) <= 1e-3 * usual:
        raise LocregError(
            f"A_adjoint is not the adjoint of A: for random u and v, <Au, v> is {left:.6g} and "
            f"<u, A_adjoint(v)> is {right:.6g}."
        )


def check_kernel_fits(kernel: NDArray[np.float32], height: int, width: int) -> None:
    """Refuse a kernel larger than the image.

    Raises:
        LocregError: when it is.
    """
    if kernel.shape[0] > height or kernel.shape[1] > width:
        raise LocregError(
            f"The kernel ({kernel.shape[1]}x{kernel.shape[0]} pixels) is larger than the image "
            f"({width}x{height})."
        )


def apply_operator(
    function: Callable[[Tensor], Tensor],
    name: str,
    argument: Tensor,
    shape: torch.Size | None = None,
) -> Tensor:
    """function(argument), which must have this shape, if one is given.

    Raises:
        LocregError: when it has not, or the function raises.
    """
    try:
        result = function(argument)
    except Exception as error:  # a user's operator may raise anything
        raise LocregError(
            f"The operator's {name} failed on a tensor of shape {tuple(argument.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if shape is not None and (not isinstance(result, Tensor) or result.shape != shape):
        found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise LocregError(
            f"The operator's {name} must turn the shape {tuple(argument.shape)} into "
            f"{tuple(shape)}, but gives {found}."
        )
    return result
