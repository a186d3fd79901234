"""Ridge critics: many linear filters, and one potential for all their responses."""

from __future__ import annotations

import math

import torch

from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.fourier_gradient import composed_filters
from locreg.regularizer.layers import Layer
from locreg.regularizer.tiled_gradient import value_and_gradient

_RESPONSE = 0.25  # standard deviation of a filter's first response to noise; psi is flat from 1 on


@torch.no_grad()
def ridge_critic(
    filters: int, *, in_channels: int, generator: torch.Generator, noise: float, group: int = 1
) -> PatchCritic:
    """An untrained critic r(z) = sum_c v_c psi(<w_c, z>) of patches z of 13x13 pixels.

    With groups, r(z) = sum_g v_g psi(|W_g z|), where W_g are the filters of a group: at an edge
    several of them respond, while noise moves each of them a little (Ducotterd and Unser,
    *Multivariate fields of experts*, 2025).

    psi is the rounded minimax concave penalty and v_c >= 0. Each filter w_c is a chain of three 5x5
    convolutions and gives 0 for a constant patch. This is the field of experts of Roth and Black
    (2005), as Goujon, Neumayer and Unser (2024) train it. It can only learn which responses are
    sparse, and so trains in minutes.

    Args:
        filters: number of filters w_c.
        in_channels: 1 for grey images, 3 for colour.
        generator: source of the initial weights. All filters start with the same norm. On noise
            with n patches |grad R| starts at sqrt(n), about what the criterion requires.
        noise: noise level that the initial weights are scaled for, a standard deviation on the
            [0, 1] scale, above 0.
        group: number of filters per group; it divides ``filters``.

    Raises:
        LocregError: when ``filters`` is not a positive multiple of ``group``.
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
    response = _RESPONSE / math.sqrt(group)  # then the norm of a group is _RESPONSE
    critic.weights[2].mul_((response / noise / lengths).view(-1, 1, 1, 1))
    critic.weights[3].fill_(1.0)
    critic.weights[3].div_(_slope(critic, generator, noise))
    return critic


def _slope(critic: PatchCritic, generator: torch.Generator, sigma: float) -> float:
    """|grad R| / sqrt(n) on an image of noise with n patches."""
    side = 4 * critic.receptive_field
    noise = sigma * torch.randn(1, critic.in_channels, side, side, generator=generator)
    _, gradient = value_and_gradient(critic, noise, side)
    return float(gradient.norm()) / side
