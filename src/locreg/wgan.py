"""The Wasserstein criterion of the critic (Prost et al. 2021, eq. 6 and 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from locreg.critic import PatchCritic
from locreg.images import ImageSource
from locreg.patches import UnpairedPatches
from locreg.training_options import PenaltyForm

_LEAST_SHARE = 0.02  # of the degraded patch that the squared penalty divides by
_convolution_backward = torch.ops.aten.convolution_backward


@dataclass(frozen=True)
class CriticLoss:
    """Terms of the criterion, each a scalar tensor.

    ``loss = gradient_penalty - wasserstein`` is to be minimised; it is -D(theta) of eq. (7).
    """

    wasserstein: Tensor
    gradient_penalty: Tensor

    @property
    def loss(self) -> Tensor:
        return self.gradient_penalty - self.wasserstein


def interpolate(clean: Tensor, degraded: Tensor, mixing: Tensor) -> Tensor:
    """Points on the lines between pairs: mixing * clean + (1 - mixing) * degraded.

    Algorithm 1 names one random number; here ``mixing`` (B,) holds one per pair, as the
    expectation over lines in eq. (7) asks for.
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
        critic: any function from a batch (B, ...) to B scores. Where it gives several scores per
            item, as a `PatchCritic` does for patches larger than its receptive field, R / sqrt(n)
            takes the place of r, with R the sum of n scores: white noise in n pixels is sqrt(n)
            times as long as in one.
        clean, degraded: batches of patches of one shape (B, ...).
        mixing: (B,) numbers in [0, 1], the positions on the lines.
        penalty: mu, the weight of the gradient penalty (Gulrajani et al. 2017).
        form: of the penalty. "one-sided" lets gradients shorter than 1 go free, as the Lipschitz
            bound has it. "squared" is mu E_i[|grad r|^2 / t] with t = 1 - mixing, the share of the
            degraded patch: along a line to the clean r then grows like the squared distance, as
            the potentials of the 2-Wasserstein distance do (Benamou and Brenier 2000), with
            gradients t (degraded - clean) / (2 mu). Of n scores it takes R / n and |grad R|^2 / n.
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
    """What the sum of the scores of so many windows is measured in."""
    return windows if form == "squared" else math.sqrt(windows)


def _excess(norms: Tensor, mixing: Tensor, form: PenaltyForm) -> Tensor:
    """Of which the penalty is the square, from |grad R| / sqrt(n)."""
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
        form: of the penalty, see `critic_loss`.
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

    def accumulate(self, critic: PatchCritic, iteration: int) -> Tensor:
        """Set the ``.grad`` of the critic's parameters; returns Wasserstein estimate, penalty."""
        device = next(critic.parameters()).device
        batch = self.patches.batch(self.batch, iteration)
        clean, degraded, mixing = (torch.from_numpy(part).to(device) for part in batch)
        found = accumulate_critic_gradient(
            critic, clean, degraded, mixing, self.penalty, form=self.form
        )
        return torch.stack([found.wasserstein, found.gradient_penalty])


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

    For piecewise linear critics this does by hand, in about half the time, what double
    backpropagation does: the parameter gradient of the penalty is that of the directional
    derivative <grad r(z), v> with v = d(penalty)/d(grad r) held fixed, and where r has no curvature
    this directional derivative is r's own linear network applied to v. Other critics use autograd.
    """
    if not critic.piecewise_linear:
        with torch.enable_grad():
            terms = critic_loss(critic, clean, degraded, mixing, penalty, form=form)
            critic.zero_grad()
            torch.autograd.backward(terms.loss)
        return terms

    batch = len(clean)
    middle = slice(2 * batch, None)  # where the interpolated patches lie in the joint batch
    inputs = [torch.cat([clean, degraded, interpolate(clean, degraded, mixing)])]
    for index, layer in enumerate(critic.layers):
        z = F.conv2d(inputs[-1], critic.weights[index], critic.bias(index), stride=layer.stride)
        inputs.append(z.relu_() if layer.activation == "relu" else z)

    # d loss / d score: the two means of the Wasserstein term; 1 for the rows that give grad r.
    signal = torch.ones_like(inputs[-1])
    windows = signal[0].numel()
    scale = _unit(windows, form) * batch
    signal[:batch] = 1 / scale
    signal[batch : 2 * batch] = -1 / scale
    signals = []
    for index in reversed(range(len(critic.layers))):
        if critic.layers[index].activation == "relu":
            signal = torch.where(inputs[index + 1] > 0, signal, 0)
        signals.append(signal)
        signal = _backward(critic, index, signal, inputs[index], of_input=True)
    signals.reverse()

    gradient = signal[middle]
    lengths = gradient.flatten(1).norm(dim=1)
    root = math.sqrt(windows)
    excess = _excess(lengths / root, mixing, form)
    slopes = 2 * penalty / batch * excess / (root * lengths.clamp_min(1e-12))
    if form == "squared":  # the excess itself has a slope then, that of 1 / sqrt(t)
        slopes = slopes / (1 - mixing).clamp_min(_LEAST_SHARE).sqrt()
    tangent = slopes.view(-1, 1, 1, 1) * gradient  # v: the penalty's derivative by grad r
    scores = inputs[-1]
    for index, layer in enumerate(critic.layers):
        inputs[index][middle] = tangent
        critic.weights[index].grad = _backward(
            critic, index, signals[index], inputs[index], of_input=False
        )
        bias = critic.bias(index)
        if bias is not None:  # v's linear network has no biases
            bias.grad = signals[index][: 2 * batch].sum((0, 2, 3))
        tangent = F.conv2d(tangent, critic.weights[index], stride=layer.stride)
        if layer.activation == "relu":
            tangent = torch.where(inputs[index + 1][middle] > 0, tangent, 0)
    return CriticLoss(
        wasserstein=(scores[batch : 2 * batch].sum() - scores[:batch].sum()) / scale,
        gradient_penalty=penalty * excess.square().mean(),
    )


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
    found: Tensor = results[0] if of_input else results[1]
    return found
