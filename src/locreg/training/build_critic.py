"""Build an untrained critic from its options."""

from __future__ import annotations

import torch

from locreg.degradation.noise import NoiseRange
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.regularizer.multiscale import Critic, MultiscaleCritic
from locreg.regularizer.ridge import ridge_critic
from locreg.training.options import CriticOptions, DenoiserCriticOptions, RidgeCriticOptions

# Noise level for the initial weights of a ridge critic whose degradation is known by examples only.
_UNKNOWN_NOISE = 0.1


def build_critic(
    options: CriticOptions | RidgeCriticOptions,
    seed: int,
    device: torch.device | str,
    *,
    noise: NoiseRange | None = None,
) -> PatchCritic:
    """Build a critic for unpaired patches, with random weights.

    Args:
        options: form and size of the critic.
        seed: seed of the weights.
        device: where to put the weights.
        noise: the synthetic noise that a ridge critic will be trained on; None: the degradation is
            known by examples only.
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
        generator=generator,
    ).to(device)


def build_denoiser_critic(
    options: DenoiserCriticOptions, seed: int, device: torch.device | str
) -> Critic:
    """Build the noise-conditioned critic of a denoising energy, with random weights.

    Arguments as for `build_critic`.
    """
    generator = torch.Generator().manual_seed(seed)
    scales = [
        PatchCritic(
            standard_layers(options.widths, options.activation),
            in_channels=options.channels,
            noise_conditioned=True,
            generator=generator,
        )
        for _ in range(options.scales)
    ]
    return (scales[0] if options.scales == 1 else MultiscaleCritic(scales)).to(device)
