"""The optimizers of the critic's weights: Adam alone, or Muon together with Adam."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from locreg.regularizer.array_file import under
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.multiscale import Critic
from locreg.training.options import OptimizerName

# The polynomial of Jordan et al. whose iteration brings singular values from (0, 1] near 1.
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_MUON_STEPS, _MUON_MOMENTUM = 5, 0.95


class Muon(torch.optim.Optimizer):
    """Muon for matrices (Jordan et al. 2024) with Nesterov momentum, in float32.

    `torch.optim.Muon` does the same in bfloat16, which processors without it emulate: that took a
    fifth of the training time of a large critic.
    """

    def __init__(self, matrices: list[nn.Parameter]) -> None:
        super().__init__(matrices, {"lr": 0.0})

    # The closure belongs to torch's interface; no caller here has one.
    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update the matrices by their ``.grad``."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - _MUON_MOMENTUM)
                direction = orthogonalized(matrix.grad.lerp(momentum, _MUON_MOMENTUM))
                matrix.sub_(direction, alpha=group["lr"] * 0.2 * math.sqrt(max(matrix.shape)))


def orthogonalized(matrix: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T, by five steps of an iteration."""
    x: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(_MUON_STEPS):
        gram = x @ x.T
        x = _LINEAR * x + (_CUBIC * gram + _QUINTIC * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class CriticOptimizer:
    """Adam for all weights of a critic, or Muon for those after its first layer.

    Muon makes the momentum matrix orthogonal, so that a step changes rarely excited directions as
    much as frequent ones (Jordan et al., *Muon: an optimizer for hidden layers in neural networks*,
    2024). The weights of a layer form a matrix with one row per output channel. Steps are scaled to
    the length of Adam's, so both optimizers use the same learning rate (Liu et al., *Muon is
    scalable for LLM training*, 2025). With Muon, Adam still updates the biases, the first
    layer, and a last layer with a single channel.

    Args:
        critic: its weights are updated in place.
        name: "adam" or "muon".
    """

    def __init__(self, critic: Critic, name: OptimizerName) -> None:
        by_muon = critic.scales if name == "muon" else ()
        self._hidden = [weight for scale in by_muon for weight in _hidden(scale)]
        # Views of the weights: updating a matrix updates its layer.
        self._matrices = [nn.Parameter(weight.detach().flatten(1)) for weight in self._hidden]
        rest = [p for p in critic.parameters() if all(p is not weight for weight in self._hidden)]
        self._parts: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(rest, betas=(0.9, 0.999), fused=True)
        }
        if self._matrices:
            self._parts["muon"] = Muon(self._matrices)

    def step(self, learning_rate: float) -> None:
        """Update the weights by their ``.grad``."""
        for matrix, weight in zip(self._matrices, self._hidden, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        for part in self._parts.values():
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()

    def state(self) -> dict[str, Tensor]:
        """The tensors that the next steps depend on, for a checkpoint."""
        return {
            f"{name}.{index}.{slot}": value
            for name, part in self._parts.items()
            for index, slots in part.state_dict()["state"].items()
            for slot, value in slots.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Continue from the `state` among the tensors of a checkpoint."""
        for name, part in self._parts.items():
            count = sum(len(group["params"]) for group in part.param_groups)
            slots = {i: under(tensors, f"{name}.{i}.") for i in range(count)}
            part.load_state_dict(part.state_dict() | {"state": slots})


def _hidden(critic: PatchCritic) -> list[nn.Parameter]:
    """The weights between the first and the last layer that are trained."""
    # Those of a last layer with one channel form no matrix worth the name.
    last = len(critic.weights) - (critic.layers[-1].channels == 1)
    return [weight for weight in list(critic.weights)[1:last] if weight.requires_grad]
