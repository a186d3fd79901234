"""What turns gradients into steps of the weights: Adam, or Muon beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from locreg.critic import PatchCritic
from locreg.training_options import OptimizerName
from locreg.weights import tensors_under


class CriticOptimizer:
    """Adam on all weights of a critic, or Muon on those between its first and its last layer.

    Muon makes the momentum of a matrix orthogonal, so that a step changes what few inputs excite
    as much as what many do (Jordan et al., *Muon: an optimizer for hidden layers in neural
    networks*, 2024); a layer's weights are a matrix with a row for each output channel. Its steps
    are as long as Adam's, so that one learning rate serves both (Liu et al., *Muon is scalable for
    LLM training*, 2025). Biases and the outer layers stay with Adam.

    Args:
        critic: whose weights are stepped, in place.
        name: of the optimizer.
    """

    def __init__(self, critic: PatchCritic, name: OptimizerName) -> None:
        self._hidden = list(critic.weights[1:-1]) if name == "muon" else []
        # The same memory as the weights: what steps these steps those.
        self._matrices = [nn.Parameter(weight.detach().flatten(1)) for weight in self._hidden]
        rest = [p for p in critic.parameters() if all(p is not weight for weight in self._hidden)]
        self._parts: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(rest, betas=(0.9, 0.999), fused=True)
        }
        if self._matrices:
            self._parts["muon"] = torch.optim.Muon(
                self._matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
            )

    def step(self, learning_rate: float) -> None:
        """One step along the ``.grad`` of the weights."""
        for matrix, weight in zip(self._matrices, self._hidden, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        for part in self._parts.values():
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on, for a checkpoint."""
        return {
            f"{name}.{index}.{slot}": value
            for name, part in self._parts.items()
            for index, slots in part.state_dict()["state"].items()
            for slot, value in slots.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a `state`, among the tensors of a checkpoint."""
        for name, part in self._parts.items():
            count = sum(len(group["params"]) for group in part.param_groups)
            slots = {i: tensors_under(tensors, f"{name}.{i}.") for i in range(count)}
            part.load_state_dict(part.state_dict() | {"state": slots})
