"""The denoising criterion: an energy of which a gradient step, or a few, denoise.

Vincent, *A connection between score matching and denoising autoencoders*, 2011; Hurault, Leclaire,
Papadakis, *Gradient step denoiser for convergent plug-and-play*, ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from locreg.annealing import step_sizes
from locreg.critic import PatchCritic
from locreg.engine import pad
from locreg.errors import UsageError
from locreg.images import ImageSource
from locreg.noise_model import NoiseModel
from locreg.options import SERVED_SHARES, NoiseRange, Precision
from locreg.patches import PatchPool
from locreg.training_options import Borders, TrainingPrecision

# PyTorch's own questions to an x86 processor.
_BFLOAT16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
_LONGEST_GRADIENT = 1.0  # the norm that the parameters' gradient is cut to


def denoising_loss(
    critic: PatchCritic,
    clean: Tensor,
    noise: Tensor,
    sigma: Tensor,
    precision: torch.dtype = torch.float32,
    steps: int = 1,
    borders: Borders = "mirrored",
) -> Tensor:
    """Weighted mean square of grad R(x + sigma n; sigma) - n, which is (D(y) - x) / sigma.

    D(y) = y - sigma grad R(y; sigma) is one gradient step of the energy 1/2 |x - y|^2 +
    sigma R(x; sigma) from y = x + sigma n. The weight of an image is its share of the batch's sum
    of sigmas: the mean square error of a good denoiser grows about like sigma, so that with these
    weights all levels count alike. With more `annealing.gradient_steps` it is the mean of this over
    the errors after each of them.

    Args:
        critic: a noise-conditioned critic.
        clean: x, images (B, C, H, W) in [0, 1].
        noise: n, of the same shape; standard normal where the noise is white and as strong as told.
        sigma: (B,) noise levels.
        precision: of the convolutions.
        steps: number of gradient steps.
        borders: mirrored: around the images lie the images mirrored, with their noise; real: the
            pixels count that see no border of the images, `context_margin` away from it.
    """
    margin = context_margin(critic, steps, borders)
    level, error, losses = sigma.view(-1, 1, 1, 1), noise, []  # error: (x_k - x) / sigma
    for eta in step_sizes(steps):
        error = error + eta * (noise - error)
        z = clean + level * error
        if not z.requires_grad:
            z.requires_grad_()
        with torch.autocast(clean.device.type, dtype=precision, enabled=precision != torch.float32):
            around = z if borders == "real" else pad(z, critic.receptive_field)
            value = critic(around, eta * sigma).sum()
            gradient = torch.autograd.grad(value, z, create_graph=True)[0]
        error = error - eta * gradient.to(noise.dtype)
        counted = error[..., margin : z.shape[-2] - margin, margin : z.shape[-1] - margin]
        losses.append((sigma * counted.square().flatten(1).mean(1)).sum() / sigma.sum())
    return torch.stack(losses).mean()


def context_margin(critic: PatchCritic, steps: int, borders: Borders) -> int:
    """How many pixels around what counts are drawn with it: with real borders, all that it sees."""
    return steps * (critic.receptive_field - 1) if borders == "real" else 0


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor computes in bfloat16; others imitate it, ten times as slow."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    asks = (getattr(torch.cpu, name, None) for name in _BFLOAT16)
    return any(ask() for ask in asks if ask is not None)


@cache
def derivatives_are_right_in_bfloat16() -> bool:
    """Whether the processor differentiates a gradient by weights as it does in float32.

    With AMX tiles PyTorch 2.14 does not, for some sizes of layers; this is one of them.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = (4, 64, 50, 50), (64, 64, 3, 3), (4, 64, 50, 50)
    x, weight, direction = (torch.randn(shape, generator=generator) for shape in shapes)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        z, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            value = torch.nn.functional.conv2d(z, w).sum()
            gradient = torch.autograd.grad(value, z, create_graph=True)[0]
        found.append(torch.autograd.grad((gradient.float() * direction).sum(), w)[0])
    return bool((found[0] - found[1]).norm() < 0.1 * found[0].norm())


def training_precision(precision: TrainingPrecision, device: torch.device) -> Precision:
    """The precision that is meant on this device.

    Raises:
        UsageError: when bfloat16 is asked for and the processor computes wrong in it.
    """
    if precision == "float32" or (precision == "auto" and not has_bfloat16(device)):
        return "float32"
    if device.type == "cuda" or derivatives_are_right_in_bfloat16():
        return "bfloat16"
    if precision == "auto":
        return "float32"
    raise UsageError(
        "This version of PyTorch computes wrong gradients in bfloat16 on this processor: leave "
        "--precision out, or give float32."
    )


def draw_levels(count: int, noise: NoiseRange, random: np.random.Generator) -> np.ndarray:
    """Noise levels low + (high - low) u^2 with u uniform: more small ones than large ones."""
    shares = random.random(count, dtype=np.float32) ** 2
    levels: np.ndarray = noise.low + (noise.high - noise.low) * shares
    return levels.astype(np.float32)


@dataclass(frozen=True)
class DenoisingCriterion:
    """The denoising criterion on clean patches, for `locreg.training`.

    Attributes:
        clean: pool of clean patches.
        noise: the levels of white noise to serve, or the noise that was learned.
        batch: number of patches in a step.
        seed: of levels and noise.
        precision: of the convolutions.
        steps: number of gradient steps.
        borders: see `denoising_loss`.
        weaker_noise: share of the patches with noise weaker than the level that is told.
    """

    clean: PatchPool
    noise: NoiseRange | NoiseModel
    batch: int
    seed: int
    precision: Precision
    steps: int
    borders: Borders
    weaker_noise: float
    terms = ("denoising",)

    @property
    def skipped(self) -> dict[ImageSource, str]:
        """Files that could not be used so far, with the reason."""
        return self.clean.skipped

    def accumulate(self, critic: PatchCritic, iteration: int) -> Tensor:
        """Set the ``.grad`` of the critic's parameters, cut to norm 1; returns the loss."""
        device = next(critic.parameters()).device
        random = np.random.default_rng([self.seed, iteration])
        clean = torch.from_numpy(self.clean.patches(self.batch, iteration)).to(device)
        if isinstance(self.noise, NoiseModel):
            noise, sigma = _learned_noise(clean, self.noise, random)
        else:
            noise, sigma = _white_noise(clean, self.noise, random)
        noise = noise * _true_shares(self.batch, self.weaker_noise, random).to(device)
        dtype = getattr(torch, self.precision)
        loss = denoising_loss(critic, clean, noise, sigma, dtype, self.steps, self.borders)
        critic.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(critic.parameters(), _LONGEST_GRADIENT)
        return loss.detach()[None]


def _white_noise(
    clean: Tensor, noise: NoiseRange, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Standard normal noise of the shape of the patches, and a level for each of them."""
    sigma = torch.from_numpy(draw_levels(len(clean), noise, random))
    drawn = torch.from_numpy(random.standard_normal(tuple(clean.shape), dtype=np.float32))
    return drawn.to(clean.device), sigma.to(clean.device)


def _true_shares(count: int, weaker: float, random: np.random.Generator) -> Tensor:
    """(B, 1, 1, 1) true noise levels, as shares of the told ones: 1, or anything below it."""
    lower = random.random(count, dtype=np.float32)
    shares = np.where(random.random(count) < weaker, lower, np.float32(1))
    return torch.from_numpy(shares).view(-1, 1, 1, 1)


def _learned_noise(
    clean: Tensor, model: NoiseModel, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Noise in units of its level, and the level, around that of the model, for each patch."""
    strength = torch.from_numpy(random.uniform(*SERVED_SHARES, len(clean)).astype(np.float32))
    strength = strength.to(clean.device)
    seed = int(random.integers(2**62))
    degraded = model.degrade(clean, seed, strength.view(-1, 1, 1, 1))
    sigma = strength * model.level
    return (degraded - clean) / sigma.view(-1, 1, 1, 1), sigma
