"""The Wasserstein criterion of the critic (Prost et al. 2021, eq. 6 and 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from locreg.degradation.noise import NoiseRange, add_noise_in_range
from locreg.images.archives import ImageSource
from locreg.images.patches import PatchPool
from locreg.regularizer.activations import ACTIVATIONS, InPlace
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import Layer
from locreg.regularizer.multiscale import Critic
from locreg.training.options import PenaltyForm


@dataclass(frozen=True)
class UnpairedPatches:
    """Batches of clean and degraded patches, for a criterion that compares two distributions.

    Attributes:
        clean: pool of clean patches.
        degraded: pool of degraded patches, or of clean patches that ``noise`` is added to. None:
            take the clean patches of the same batch. The means over many batches are the same, but
            within a batch the two kinds no longer differ by their scenes.
        noise: noise to add; None: the patches of ``degraded`` are degraded already.
        seed: seed of the noise and of the positions on the lines between the patches.
    """

    clean: PatchPool
    degraded: PatchPool | None
    noise: NoiseRange | None
    seed: int

    def batch(
        self, count: int, iteration: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Clean patches, degraded patches, and positions (count,) on their lines for eq. (7)."""
        random = np.random.default_rng([_BATCH, self.seed, iteration, 1])
        clean = self.clean.patches(count, iteration)
        degraded = clean if self.degraded is None else self.degraded.patches(count, iteration)
        mixing = random.random(count, dtype=np.float32)
        if self.noise is not None:
            degraded = add_noise_in_range(degraded, self.noise, random)
        return clean, degraded, mixing

    @property
    def skipped(self) -> dict[ImageSource, str]:
        """Files that could not be used so far, with the reason."""
        return self.clean.skipped | ({} if self.degraded is None else self.degraded.skipped)


_BATCH = 2  # separates the random numbers of noise and positions from others of the same seed
_LEAST_SHARE = 0.02  # lower bound of t in the squared penalty, which divides by t
_convolution_backward = torch.ops.aten.convolution_backward


@dataclass(frozen=True)
class CriticLoss:
    """Terms of the criterion, each a scalar tensor.

    ``loss = gradient_penalty - wasserstein``, which is to be minimised, is -D(theta) of eq. (7).
    """

    wasserstein: Tensor
    gradient_penalty: Tensor

    @property
    def loss(self) -> Tensor:
        return self.gradient_penalty - self.wasserstein


def interpolate(clean: Tensor, degraded: Tensor, mixing: Tensor) -> Tensor:
    """Points on the lines between pairs: mixing * clean + (1 - mixing) * degraded.

    Algorithm 1 has a single random number. Here ``mixing`` (B,) has one per pair, as required by
    the expectation over lines in eq. (7).
    """
    mixing = mixing.view(-1, *[1] * (clean.dim() - 1))
    return mixing * clean + (1 - mixing) * degraded


def critic_loss(
    critic: Callable[[Tensor], Tensor],
    clean: Tensor,
    degraded: Tensor,
    mixing: Tensor,
    penalty: float,
    *,
    form: PenaltyForm = "two-sided",
) -> CriticLoss:
    """Criterion (7): E_n[r] - E_c[r] - mu * E_i[(|grad r| - 1)^2], differentiable by autograd.

    Args:
        critic: any function from a batch (B, ...) to B scores. If it gives n scores per item, as a
            `PatchCritic` does for patches larger than its receptive field, R / sqrt(n) takes the
            place of r, where R is the sum of the n scores: the norm of white noise in n pixels is
            sqrt(n) times that in one.
        clean, degraded: batches of patches, both of the shape (B, ...).
        mixing: positions on the lines, (B,) numbers in [0, 1].
        penalty: mu, the weight of the gradient penalty (Gulrajani et al. 2017).
        form: form of the penalty. "two-sided": as above. "one-sided": only norms above 1 are
            penalised, as the Lipschitz bound requires. "squared": mu E_i[|grad r|^2 / t] with
            t = 1 - mixing, the share of the degraded patch. Then r grows like the squared distance
            along a line from the clean patch, as the potentials of the 2-Wasserstein distance do
            (Benamou and Brenier 2000), and its gradient is t (degraded - clean) / (2 mu). With n
            scores it takes R / n for r and |grad R|^2 / n for |grad r|^2.
    """
    middle = interpolate(clean, degraded, mixing).detach().requires_grad_()
    scores = critic(middle)
    windows = scores.numel() // len(middle)
    gradient = torch.autograd.grad(scores.sum(), middle, create_graph=True)[0]
    norms = gradient.flatten(1).norm(dim=1) / math.sqrt(windows)
    scale = _unit(windows, form) * len(clean)
    return CriticLoss(
        wasserstein=(critic(degraded).sum() - critic(clean).sum()) / scale,
        gradient_penalty=penalty * _excess(norms, mixing, form).square().mean(),
    )


def _unit(windows: int, form: PenaltyForm) -> float:
    """The divisor of a sum of scores over this number of windows."""
    return windows if form == "squared" else math.sqrt(windows)


def _excess(norms: Tensor, mixing: Tensor, form: PenaltyForm) -> Tensor:
    """The quantity whose mean square is penalised, from |grad R| / sqrt(n)."""
    if form == "squared":
        return norms / (1 - mixing).clamp_min(_LEAST_SHARE).sqrt()
    return (norms - 1).clamp_min(0) if form == "one-sided" else norms - 1


@dataclass(frozen=True)
class WassersteinCriterion:
    """Criterion (7) on unpaired patches, for `locreg.training`.

    Attributes:
        patches: source of unpaired clean and degraded patches, as large as the receptive field or
            larger.
        batch: m, number of clean and of degraded patches in a step.
        penalty: mu, weight of the gradient penalty.
        form: form of the penalty, see `critic_loss`.
    """

    patches: UnpairedPatches
    batch: int
    penalty: float
    form: PenaltyForm = "two-sided"
    terms = ("wasserstein", "gradient_penalty")

    @property
    def skipped(self) -> dict[ImageSource, str]:
        """Files that could not be used so far, with the reason."""
        return self.patches.skipped

    def draw(self, iteration: int) -> tuple[Tensor, Tensor, Tensor]:
        """Clean patches, degraded patches, and positions (B,) on the lines between them."""
        clean, degraded, mixing = self.patches.batch(self.batch, iteration)
        return torch.from_numpy(clean), torch.from_numpy(degraded), torch.from_numpy(mixing)

    def accumulate(self, critic: Critic, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Set the ``.grad`` of the critic's parameters; returns the terms of the criterion.

        The critic has one scale, since the criterion compares patches of one size.
        """
        (of_patches,) = critic.scales
        device = next(critic.parameters()).device
        clean, degraded, mixing = (tensor.to(device) for tensor in batch)
        loss = accumulate_critic_gradient(
            of_patches, clean, degraded, mixing, self.penalty, form=self.form
        )
        return torch.stack([loss.wasserstein, loss.gradient_penalty])


@torch.no_grad()
def accumulate_critic_gradient(
    critic: PatchCritic,
    clean: Tensor,
    degraded: Tensor,
    mixing: Tensor,
    penalty: float,
    *,
    form: PenaltyForm = "two-sided",
) -> CriticLoss:
    """Set the ``.grad`` of a critic's parameters to that of `critic_loss`, and return the terms.

    For piecewise linear critics the double backpropagation is written out by hand, which takes
    about half the time. The gradient of the penalty by the parameters is that of the directional
    derivative <grad r(z), v> with v = d(penalty)/d(grad r) held fixed. Where r has no curvature,
    this directional derivative is the linear network that r is around z, applied to v. Other
    critics use autograd.
    """
    if not critic.piecewise_linear:
        with torch.enable_grad():
            terms = critic_loss(critic, clean, degraded, mixing, penalty, form=form)
            critic.zero_grad()
            torch.autograd.backward(terms.loss)
        return terms

    batch = len(clean)
    middle = slice(2 * batch, None)  # the interpolated patches in the joint batch
    inputs = [torch.cat([clean, degraded, interpolate(clean, degraded, mixing)])]
    for index, layer in enumerate(critic.layers):
        z = F.conv2d(inputs[-1], critic.weights[index], critic.bias(index), stride=layer.stride)
        inputs.append(_in_place(layer).value(z))

    # d loss / d score in the rows of the Wasserstein term, and 1 in the rows that yield grad r.
    signal = torch.ones_like(inputs[-1])
    windows = signal[0].numel()
    scale = _unit(windows, form) * batch
    signal[:batch] = 1 / scale
    signal[batch : 2 * batch] = -1 / scale
    signals = []
    for index in reversed(range(len(critic.layers))):
        signal = _in_place(critic.layers[index]).times_slope(signal, inputs[index + 1])
        signals.append(signal)
        signal = _backward(critic, index, signal, inputs[index], of_input=True)
    signals.reverse()

    gradient = signal[middle]
    norms = gradient.flatten(1).norm(dim=1)
    root = math.sqrt(windows)
    excess = _excess(norms / root, mixing, form)
    slopes = 2 * penalty / batch * excess / (root * norms.clamp_min(1e-12))
    if form == "squared":  # d excess / d norm is 1 / sqrt(t) here, not 1
        slopes = slopes / (1 - mixing).clamp_min(_LEAST_SHARE).sqrt()
    tangent = slopes.view(-1, 1, 1, 1) * gradient  # v: the derivative of the penalty by grad r
    scores = inputs[-1]
    for index, layer in enumerate(critic.layers):
        inputs[index][middle] = tangent
        critic.weights[index].grad = _backward(
            critic, index, signals[index], inputs[index], of_input=False
        )
        bias = critic.bias(index)
        if bias is not None:  # the linear network applied to v has no biases
            bias.grad = signals[index][: 2 * batch].sum((0, 2, 3))
        tangent = F.conv2d(tangent, critic.weights[index], stride=layer.stride)
        tangent = _in_place(layer).times_slope(tangent, inputs[index + 1][middle])
    return CriticLoss(
        wasserstein=(scores[batch : 2 * batch].sum() - scores[:batch].sum()) / scale,
        gradient_penalty=penalty * excess.square().mean(),
    )


def _in_place(layer: Layer) -> InPlace:
    in_place = ACTIVATIONS[layer.activation].in_place
    assert in_place is not None  # true for all piecewise linear activations
    return in_place


def _backward(
    critic: PatchCritic, index: int, signal: Tensor, z: Tensor, *, of_input: bool
) -> Tensor:
    """Backpropagate ``signal`` through the convolution of layer ``index``, to input or weight."""
    stride = [critic.layers[index].stride] * 2
    mask = [of_input, not of_input, False]
    weight = critic.weights[index]
    results = _convolution_backward(
        signal, z, weight, None, stride, [0, 0], [1, 1], False, [0, 0], 1, mask
    )
    derivative: Tensor = results[0] if of_input else results[1]
    return derivative
