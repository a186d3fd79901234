"""Ridge critics: many linear filters, and one potential for all of their responses."""

from __future__ import annotations

import math

import torch

from locreg.critic import Layer, PatchCritic
from locreg.engine import value_and_gradient
from locreg.ridge_engine import composed_filters

_RESPONSE = 0.25  # of the filters to noise, at first: a quarter of what the potential tells apart


@torch.no_grad()
def ridge_critic(
    filters: int, *, in_channels: int, generator: torch.Generator, noise: float, group: int = 1
) -> PatchCritic:
    """r(z) = sum_c v_c psi(<w_c, z>) of patches z of 13x13 pixels, not yet trained.

    With groups r(z) = sum_g v_g psi(|W_g z|), W_g being the filters of a group: an edge is where
    several of them respond, noise moves each a little (Ducotterd and Unser 2025, *Multivariate
    fields of experts*).

    psi is the rounded minimax concave penalty, v_c >= 0, and every filter w_c, three convolutions
    of 5x5 pixels in a row, gives 0 for a constant patch: the field of experts of Roth and Black
    (2005) as Goujon, Neumayer and Unser (2024) train it. Such an energy has no other means than
    sparse responses, and learns in minutes.

    Args:
        filters: how many w_c.
        in_channels: 1 for grey images, 3 for colour.
        generator: source of the initial weights. All filters are as long, and on noise the gradient
            of R is about as long as the criterion will ask for.
        noise: level of the noise that the initial weights are made for.
        group: filters whose responses' length one potential sees; filters is a multiple of it.
    """
    layers = (
        Layer(
            channels=4 * in_channels, kernel=5, activation="identity", bias=False, zero_mean=True
        ),
        Layer(channels=8 * in_channels, kernel=5, activation="identity", bias=False),
        Layer(channels=filters, kernel=5, activation="mcp", bias=False, group=group),
        Layer(channels=1, kernel=1, activation="identity", bias=False, nonnegative=True),
    )
    critic = PatchCritic(layers, in_channels=in_channels, generator=generator)
    critic.project()
    lengths = composed_filters(critic).transpose(0, 1).flatten(1).norm(dim=1)
    response = _RESPONSE / math.sqrt(group)  # so that the length of a group is as usual
    critic.weights[2].mul_((response / noise / lengths).view(-1, 1, 1, 1))
    critic.weights[3].fill_(1.0)
    critic.weights[3].div_(_slope(critic, generator, noise))
    return critic


def _slope(critic: PatchCritic, generator: torch.Generator, level: float) -> float:
    """|grad R| / sqrt(n) on noise, n being the number of its windows."""
    side = 4 * critic.receptive_field
    noise = level * torch.randn(1, critic.in_channels, side, side, generator=generator)
    _, gradient = value_and_gradient(critic, noise, side)
    return float(gradient.norm()) / side
