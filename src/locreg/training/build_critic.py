"""Build an untrained critic from its options."""

from __future__ import annotations

import torch

from locreg.degradation.noise import NoiseRange
from locreg.regularizer.critic import PatchCritic, standard_layers
from locreg.regularizer.ridge import ridge_critic
from locreg.training.options import CriticOptions, RidgeCriticOptions

# Noise level for the initial weights of a ridge critic whose degradation is known by examples only.
_UNKNOWN_NOISE = 0.1


def build_critic(
    options: CriticOptions | RidgeCriticOptions,
    seed: int,
    device: torch.device | str,
    *,
    noise: NoiseRange | None = None,
    noise_conditioned: bool = False,
) -> PatchCritic:
    """Build the critic that the options describe, with random weights.

    Args:
        options: form and size of the critic.
        seed: seed of the weights.
        device: where to put the weights.
        noise: the synthetic noise that a ridge critic will be trained on; None: the degradation is
            known by examples only.
        noise_conditioned: whether r depends on a noise level. Ridge critics ignore it.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(options, RidgeCriticOptions):
        critic = ridge_critic(
            options.filters,
            in_channels=options.channels,
            generator=generator,
            noise=_UNKNOWN_NOISE if noise is None else noise.middle,
            group=options.group,
        )
        return critic.to(device)
    return PatchCritic(
        standard_layers(options.widths, options.activation),
        in_channels=options.channels,
        noise_conditioned=noise_conditioned,
        generator=generator,
    ).to(device)
