"""The idea in two dimensions: a critic of points around a circle (Figure 1 of the paper)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from locreg.training.criteria.wasserstein import critic_loss


def clean_points(count: int, generator: torch.Generator) -> Tensor:
    """Points on the unit circle, (count, 2)."""
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def degraded_points(count: int, generator: torch.Generator, sigma: float = 0.35) -> Tensor:
    """Other points of the unit circle, plus Gaussian noise: (count, 2)."""
    noise = torch.randn(count, 2, generator=generator)
    return clean_points(count, generator) + sigma * noise


def train_potential(iterations: int = 1000, batch: int = 256, seed: int = 0) -> nn.Module:
    """Train a critic r of points of the plane by Algorithm 1 of the paper."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hidden = [nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
        critic = nn.Sequential(*hidden, nn.Linear(64, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.1 ** (1 / iterations))
    for _ in range(iterations):
        terms = critic_loss(
            critic,
            clean_points(batch, generator),
            degraded_points(batch, generator),
            torch.rand(batch, generator=generator),
            penalty=1.0,
        )
        optimizer.zero_grad()
        torch.autograd.backward(terms.loss)
        optimizer.step()
        decay.step()
    return critic


def gradient(critic: nn.Module, points: Tensor) -> Tensor:
    """grad r at each point, (count, 2)."""
    points = points.clone().requires_grad_()
    return torch.autograd.grad(critic(points).sum(), points)[0]
