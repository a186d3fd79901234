"""The denoising criterion: one or a few gradient steps on the energy should denoise.

Vincent, *A connection between score matching and denoising autoencoders*, 2011; Hurault, Leclaire,
Papadakis, *Gradient step denoiser for convergent plug-and-play*, ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from locreg.arguments import Precision, TrainingBorders
from locreg.degradation.learned_noise import NoiseModel
from locreg.degradation.noise import SUPPORTED_SHARES, NoiseRange, NoiseShares, standard_normal
from locreg.degradation.noise_kinds import degrade, single_channel
from locreg.errors import UsageError
from locreg.images.archives import ImageSource
from locreg.images.patches import PatchPool
from locreg.images.samples import is_grey
from locreg.regularizer.multiscale import Critic, sum_at_scale
from locreg.solvers.options import step_sizes
from locreg.training.augmentation import enlarge, vary_colours
from locreg.training.options import TrainingPrecision

# PyTorch's functions that ask an x86 processor for bfloat16 instructions.
_BFLOAT16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
_LONGEST_GRADIENT = 1.0  # the norm to which the gradient by the parameters is clipped


def denoising_loss(
    critic: Critic,
    clean: Tensor,
    noise: Tensor,
    sigma: Tensor,
    precision: torch.dtype = torch.float32,
    steps: int = 1,
    borders: TrainingBorders = "mirrored",
) -> Tensor:
    """Weighted mean square of grad R(x + sigma n; sigma) - n, which is (D(y) - x) / sigma.

    D(y) = y - sigma grad R(y; sigma) is one gradient step of the energy 1/2 |x - y|^2 +
    sigma R(x; sigma) from y = x + sigma n. The weight of an image is its share of the batch's sum
    of sigmas. With these weights all noise levels count equally, because the mean square
    error of a good denoiser grows about like sigma. With several steps
    (`locreg.solvers.noise_conditioned.gradient_steps`) the loss is averaged over the errors after
    each step.

    Args:
        critic: a noise-conditioned critic.
        clean: x, images (B, C, H, W) in [0, 1].
        noise: n, of the same shape; standard normal if the noise is white and of level sigma.
        sigma: noise levels (B,).
        precision: precision of the convolutions.
        steps: number of gradient steps.
        borders: "mirrored": the noisy images are mirrored at their borders; "real": they are not,
            and only pixels at least `context_margin` away from the border count; "periodic": they
            repeat themselves, which saves time, since no surroundings are computed.
    """
    margin = context_margin(critic, steps, borders)
    level, error, losses = sigma.view(-1, 1, 1, 1), noise, []  # error: (x_k - x) / sigma
    for eta in step_sizes(steps):
        error = error + eta * (noise - error)
        z = clean + level * error
        if not z.requires_grad:
            z.requires_grad_()
        with torch.autocast(clean.device.type, dtype=precision, enabled=precision != torch.float32):
            gradient = _gradient_for_training(critic, z, eta * sigma, borders)
        error = error - eta * gradient.to(noise.dtype)
        counted = error[..., margin : z.shape[-2] - margin, margin : z.shape[-1] - margin]
        losses.append((sigma * counted.square().flatten(1).mean(1)).sum() / sigma.sum())
    return torch.stack(losses).mean()


def _gradient_for_training(
    critic: Critic, z: Tensor, sigma: Tensor, borders: TrainingBorders
) -> Tensor:
    """The gradient of R at z, to be differentiated by what is trained.

    Scales that are not trained need no second derivatives, which take two thirds of the time.
    """
    gradient = torch.zeros_like(z)
    for k, scale in enumerate(critic.scales):
        needed = not z.is_leaf or any(p.requires_grad for p in scale.parameters())
        value = sum_at_scale(critic, k, z, sigma, borders)
        gradient = gradient + torch.autograd.grad(value, z, create_graph=needed)[0]
    return gradient


def context_margin(critic: Critic, steps: int, borders: TrainingBorders) -> int:
    """Width in pixels of the surroundings that are drawn with a patch but do not count in the loss.

    With real borders they contain every pixel that the patch sees; with mirrored ones there are
    none.
    """
    return steps * (critic.receptive_field - 1) if borders == "real" else 0


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor has bfloat16 instructions; emulation takes ten times as long."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    checks = (getattr(torch.cpu, name, None) for name in _BFLOAT16)
    return any(check() for check in checks if check is not None)


@cache
def derivatives_are_right_in_bfloat16() -> bool:
    """Whether second derivatives in bfloat16 agree with those in float32 on this processor.

    The test differentiates a gradient by the weights of one layer. PyTorch 2.14 gets it wrong with
    AMX tiles for some layer sizes, such as this one.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = (4, 64, 50, 50), (64, 64, 3, 3), (4, 64, 50, 50)
    x, weight, direction = (torch.randn(shape, generator=generator) for shape in shapes)
    derivatives = []
    for dtype in (torch.float32, torch.bfloat16):
        z, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            value = torch.nn.functional.conv2d(z, w).sum()
            gradient = torch.autograd.grad(value, z, create_graph=True)[0]
        derivatives.append(torch.autograd.grad((gradient.float() * direction).sum(), w)[0])
    exact, rounded = derivatives
    return bool((exact - rounded).norm() < 0.1 * exact.norm())


def training_precision(precision: TrainingPrecision, device: torch.device) -> Precision:
    """The precision to train with on this device: resolves "auto".

    Raises:
        UsageError: when bfloat16 is asked for and the processor computes wrong gradients in it.
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
    """Noise levels low + (high - low) u^2 with u uniform in [0, 1): small ones are frequent."""
    shares = random.random(count, dtype=np.float32) ** 2
    levels: np.ndarray = noise.low + (noise.high - noise.low) * shares
    return levels.astype(np.float32)


@dataclass(frozen=True)
class DenoisingCriterion:
    """The denoising criterion on clean patches, for `locreg.training`.

    Attributes:
        clean: pool of clean patches.
        noise: range of white noise levels, a model of learned noise, or shares of the kinds of
            noise in real pictures.
        batch: number of patches in a step.
        seed: seed of noise levels and noise.
        precision: precision of the convolutions.
        steps: number of gradient steps.
        borders: see `denoising_loss`.
        weaker_noise: share of the patches whose noise is weaker than the noise level that the
            critic is given. Only white noise is varied so.
        vary_colours, zoom, grey_share: see `locreg.training.options.DenoisingOptions`.
    """

    clean: PatchPool
    noise: NoiseRange | NoiseModel | NoiseShares
    batch: int
    seed: int
    precision: Precision
    steps: int
    borders: TrainingBorders
    weaker_noise: float
    vary_colours: bool = False
    zoom: float = 1.0
    grey_share: float = 0.0
    terms = ("denoising",)

    @property
    def skipped(self) -> dict[ImageSource, str]:
        """Files that could not be used so far, with the reason."""
        return self.clean.skipped

    def draw(self, iteration: int) -> tuple[Tensor, Tensor, Tensor]:
        """Clean patches, noise divided by its level, and the levels (B,) that the critic is given.

        All depend on the seed and the iteration alone.
        """
        random = np.random.default_rng([self.seed, iteration])
        clean = self._clean(iteration, random)
        if isinstance(self.noise, NoiseModel):
            noise, sigma = _learned_noise(clean, self.noise, random)
        elif isinstance(self.noise, NoiseShares):
            noise, sigma = _noise_of_kinds(clean, self.noise, self.weaker_noise, random)
        else:
            noise, sigma = _white_noise(clean, self.noise, random)
            noise = noise * _true_shares(self.batch, self.weaker_noise, random)
        return clean, noise, sigma

    def accumulate(self, critic: Critic, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Set the ``.grad`` of the critic's parameters, clipped to norm 1; returns the loss."""
        device, dtype = next(critic.parameters()).device, getattr(torch, self.precision)
        clean, noise, sigma = (tensor.to(device) for tensor in batch)
        loss = denoising_loss(critic, clean, noise, sigma, dtype, self.steps, self.borders)
        critic.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(critic.parameters(), _LONGEST_GRADIENT)
        return loss.detach()[None]

    def _clean(self, iteration: int, random: np.random.Generator) -> Tensor:
        """The clean patches of an iteration, with the changes that are asked for."""
        clean = torch.from_numpy(self.clean.patches(self.batch, iteration))
        if self.zoom > 1:
            clean = enlarge(clean, self.zoom, random)
        if self.vary_colours:
            clean = vary_colours(clean, random)
        if self.grey_share:
            grey = torch.from_numpy(random.random(len(clean)) < self.grey_share)
            clean[grey] = clean[grey].mean(1, keepdim=True).expand_as(clean[grey])
        return clean


def _white_noise(
    clean: Tensor, noise: NoiseRange, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Standard normal noise in the shape of the patches, and a noise level for each patch."""
    sigma = torch.from_numpy(draw_levels(len(clean), noise, random))
    return standard_normal(clean.shape, random), sigma


def _noise_of_kinds(
    clean: Tensor, shares: NoiseShares, weaker: float, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Noise divided by its noise level, and the noise level of each patch.

    A grey patch gets the same noise in all channels.
    """
    noises, levels = [], []
    for x in clean:
        y, level = degrade(x, shares, random, weaker)
        if is_grey(x.numpy()):
            y, level = single_channel(x, y, level)
        noises.append((y - x) / level)
        levels.append(level)
    return torch.stack(noises), torch.tensor(levels)


def _true_shares(count: int, weaker: float, random: np.random.Generator) -> Tensor:
    """True noise levels (B, 1, 1, 1) as shares of those given to the critic.

    The shares are 1, or with probability ``weaker`` uniform in [0, 1).
    """
    lower = random.random(count, dtype=np.float32)
    shares = np.where(random.random(count) < weaker, lower, np.float32(1))
    return torch.from_numpy(shares).view(-1, 1, 1, 1)


def _learned_noise(
    clean: Tensor, model: NoiseModel, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Noise divided by its noise level, and the noise level of each patch.

    The noise levels vary around that of the model, by the factors `SUPPORTED_SHARES`.
    """
    strength = torch.from_numpy(random.uniform(*SUPPORTED_SHARES, len(clean)).astype(np.float32))
    seed = int(random.integers(2**62))
    degraded = model.degrade(clean, seed, strength.view(-1, 1, 1, 1))
    sigma = strength * model.level
    return (degraded - clean) / sigma.view(-1, 1, 1, 1), sigma
