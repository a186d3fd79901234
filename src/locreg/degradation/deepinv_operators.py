"""deepinv's linear operators, set up for photographs.

deepinv is imported where it is used, because loading it takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locreg.degradation.kernels import antialiasing_kernel, check_kernel
from locreg.errors import LocregError

if TYPE_CHECKING:
    from deepinv.physics import Blur, BlurFFT, Downsampling, Inpainting


_LARGE_KERNEL = 15  # side in pixels from which convolution by Fourier transform is faster


def blur_unknown_border(kernel: NDArray[np.float32], device: torch.device) -> Blur:
    """Blur of a photograph as a camera makes it, including light from beyond the border.

    A maps an image that is larger than the observation, by the kernel's size minus 1, to the
    observation. The part beyond the border is estimated along with the rest, which avoids ringing
    at the border.

    Raises:
        LocregError: as `check_kernel`.
    """
    from deepinv.physics import Blur

    check_kernel(kernel)
    weights = torch.from_numpy(kernel)[None, None].to(device)
    large = max(kernel.shape) >= _LARGE_KERNEL
    return Blur(filter=weights, padding="valid", use_fft=large, device=device)


def blur_circular(
    kernel: NDArray[np.float32], shape: tuple[int, int, int], device: torch.device
) -> BlurFFT:
    """Blur with periodic borders of an image of this shape (C, H, W), for benchmarks.

    Raises:
        LocregError: as `check_kernel`, or when the kernel is larger than the image.
    """
    from deepinv.physics import BlurFFT

    check_kernel(kernel)
    check_kernel_fits(kernel, *shape[1:])
    weights = torch.from_numpy(kernel)[None, None].to(device)
    return BlurFFT(img_size=shape, filter=weights, device=device)


def inpainting(mask: Tensor, shape: tuple[int, int, int], device: torch.device) -> Inpainting:
    """A x = m x with a mask m (H, W): 1 where ``mask`` is above 0 (known), 0 elsewhere (missing).

    Raises:
        LocregError: when the mask and the image differ in size, or no pixel is known.
    """
    from deepinv.physics import Inpainting

    if tuple(mask.shape) != shape[1:]:
        height, width = mask.shape
        raise LocregError(
            f"The mask has {width}x{height} pixels and the image {shape[2]}x{shape[1]}: they must "
            "have the same size."
        )
    if not (mask > 0).any():
        raise LocregError("The mask marks every pixel as missing: at least one must be known.")
    known = (mask > 0).to(device=device, dtype=torch.float32).expand(shape)
    return Inpainting(img_size=shape, mask=known, device=device)


def downsampling(
    factor: int, std: float, shape: tuple[int, int, int], device: torch.device
) -> Downsampling:
    """Gaussian antialiasing, then every ``factor``-th pixel of an image (C, H, W).

    A pixel of the small image lies in the middle of the block that it represents; ``std`` is the
    standard deviation of the Gaussian, in pixels of the small image.

    Raises:
        UsageError: as `antialiasing_kernel`.
    """
    from deepinv.physics import Downsampling

    weights = torch.from_numpy(antialiasing_kernel(factor, std))[None, None].to(device)
    return Downsampling(
        img_size=shape, filter=weights, factor=factor, padding="replicate", device=device
    )


def check_kernel_fits(kernel: NDArray[np.float32], height: int, width: int) -> None:
    """Check that the kernel is not larger than the image.

    Raises:
        LocregError: when it is.
    """
    if kernel.shape[0] > height or kernel.shape[1] > width:
        raise LocregError(
            f"The kernel ({kernel.shape[1]}x{kernel.shape[0]} pixels) is larger than the image "
            f"({width}x{height})."
        )
