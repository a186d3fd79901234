"""Convert the regularizer that the paper's authors released into locreg weights.

Their format (github.com/jprost76/LocalReg, MIT) is a folder with ``checkpoint_last.pt`` and
``params.json``, which lists the convolutions as [channels in, channels out, kernel, stride].
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError
from locreg.images.patches import load_crops
from locreg.images.sources import list_images
from locreg.regularizer.criterion_record import WassersteinRecord
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import Layer
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.weights import Weights
from locreg.training.calibration import CALIBRATION_SIZE, calibrate_white_noise

_CALIBRATION_IMAGES = 16


def import_localreg(folder: Path) -> Weights:
    """Convert a released checkpoint; the result has no calibration.

    The scores equal those of the released code. That code averages the channels of the last layer;
    here this layer has one channel, whose kernel is the mean of theirs. The receptive field is
    derived from the layers: it is 13x13 pixels with a stride of 3, whatever ``params.json`` says.
    Only tensors and numbers are unpickled.

    Raises:
        LocregError: when a file is missing, cannot be read, or holds another network.
    """
    parameters = _read_parameters(folder / "params.json")
    tensors = _read_tensors(folder / "checkpoint_last.pt")
    convolutions = parameters["conv_params"]
    last = len(convolutions) - 1
    layers = tuple(
        Layer(
            channels=1 if index == last else out,
            kernel=kernel,
            stride=stride,
            activation="identity" if index == last else "relu",
        )
        for index, (_, out, kernel, stride) in enumerate(convolutions)
    )
    critic = PatchCritic(layers, in_channels=convolutions[0][0])
    state = {}
    for index in range(len(layers)):
        weight, bias = (tensors.pop(f"net.{2 * index}.{name}", None) for name in ("weight", "bias"))
        if weight is None or bias is None:
            raise LocregError(f"{folder}: the checkpoint lacks layer {index + 1} of params.json.")
        if index == last:
            weight, bias = weight.mean(0, keepdim=True), bias.mean(0, keepdim=True)
        state[f"weights.{index}"], state[f"biases.{index}"] = weight, bias
    try:
        critic.load_state_dict(state)
    except RuntimeError:
        raise LocregError(f"{folder}: checkpoint and params.json hold different layers.") from None
    if tensors:
        raise LocregError(f"{folder}: the checkpoint holds more layers than params.json.")
    return Weights(
        critic=critic.requires_grad_(False),
        criterion=WassersteinRecord(penalty=parameters.get("mu")),
        training={
            "imported_from": "github.com/jprost76/LocalReg",
            "licence": "MIT",
            "parameters": parameters,
        },
    )


def calibrated(weights: Weights, clean: Path, *, progress: bool = True) -> Weights:
    """The same weights, with lam fitted for white noise on the images of a folder.

    Raises:
        LocregError: when the folder holds no images, or ``noise_std`` in ``params.json`` is neither
            a number nor two numbers.
        UsageError: when it is 0 or not in [0, 1].
    """
    crops = load_crops(
        list_images(clean)[:_CALIBRATION_IMAGES],
        size=CALIBRATION_SIZE,
        channels=weights.critic.in_channels,
    )
    calibration = calibrate_white_noise(
        LocalRegularizer(weights.critic),
        crops,
        noise=_noise_range(weights.training["parameters"]),
        seed=0,
        progress=progress,
    )
    return replace(weights, calibration=calibration)


def _noise_range(parameters: dict[str, Any]) -> NoiseRange:
    """Range of the training's noise level, from a number or a list of two."""
    noise = parameters.get("noise_std", 0.1)
    try:
        low, high = sorted(map(float, noise if isinstance(noise, list) else (noise, noise)))
    except (TypeError, ValueError):
        raise LocregError(f"noise_std must be a number or two of them, got {noise!r}.") from None
    return NoiseRange(low=low, high=high)


def _read_parameters(path: Path) -> dict[str, Any]:
    try:
        parameters: dict[str, Any] = json.loads(path.read_text())
        convolutions = parameters["conv_params"]
        whole = all(len(row) == 4 and all(isinstance(n, int) for n in row) for row in convolutions)
        activation = str(parameters.get("act", "relu")).lower()
    except OSError:
        raise LocregError(f"{path} cannot be read: give the folder of a released model.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise LocregError(f"{path} does not list the layers of a released model.") from None
    if not convolutions or not whole:
        raise LocregError(f"{path} does not list the layers of a released model.")
    if "leaky" in activation or activation == "lrelu":
        raise LocregError(f"{path}: networks with LeakyReLU cannot be imported, only with ReLU.")
    return parameters


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): tensor.float() for name, tensor in checkpoint["model"].items()}
    except OSError:
        raise LocregError(f"{path} cannot be read: give the folder of a released model.") from None
    except Exception:  # a file of another kind can fail in any way
        raise LocregError(f"{path} is not a checkpoint of a released model.") from None
