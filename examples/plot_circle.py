r"""
The idea in two dimensions
==========================

Figure 1 of Prost et al. (2021). Clean data lie on a circle, degraded data around it, and nothing
says which degraded point came from which clean one. A critic trained with the Wasserstein criterion

.. math::

    \max_r \; E_{z \sim n}[r(z)] - E_{z \sim c}[r(z)] - \mu E_{z \sim i}[(|\nabla r(z)| - 1)^2]

becomes close to the distance to the circle: minus its gradient points to the clean data from
everywhere, with nearly unit length, also near the circle. This is what makes it a regularizer.
"""

# %%
# Data and critic
# ---------------
# The critic is a small fully connected network on points of the plane. Only the criterion is shared
# with the critics of image patches: `locreg.wgan.critic_loss` takes any network. The penalty's
# weight is 1 here and 5 there, since patches of many pixels lie further apart than these points do;
# with too large a weight a plane, whose gradient has unit length everywhere, beats the distance.

import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from locreg.wgan import critic_loss


def clean_points(count: int, generator: torch.Generator) -> Tensor:
    """Points on the unit circle, (count, 2)."""
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def degraded_points(count: int, generator: torch.Generator, sigma: float = 0.35) -> Tensor:
    """Other points of the circle plus Gaussian noise, (count, 2)."""
    noise = torch.randn(count, 2, generator=generator)
    return clean_points(count, generator) + sigma * noise


def train_potential(iterations: int = 1000, batch: int = 256, seed: int = 0) -> nn.Module:
    """A critic r of points of the plane, by Algorithm 1 of the paper."""
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
        terms.loss.backward()
        optimizer.step()
        decay.step()
    return critic


def gradient(critic: nn.Module, points: Tensor) -> Tensor:
    """grad r at each point, (count, 2)."""
    points = points.clone().requires_grad_()
    return torch.autograd.grad(critic(points).sum(), points)[0]


# %%
# The learned potential
# ---------------------
# Colour is r; arrows are minus its gradient, the way that gradient descent goes.


def draw(critic: nn.Module, extent: float = 1.9) -> plt.Figure:
    """The potential with level lines, its descent field and samples of both distributions."""
    generator = torch.Generator().manual_seed(1)
    figure, axis = plt.subplots(figsize=(6.4, 5.4), layout="constrained")
    line = torch.linspace(-extent, extent, 161)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        values = critic(grid).view(161, 161).T
    shown = axis.contourf(line, line, values, levels=24, cmap="viridis")
    coarse = torch.cartesian_prod(*[torch.linspace(-1.7, 1.7, 18)] * 2)
    descent = -gradient(critic, coarse)
    axis.quiver(*coarse.T, *descent.T, color="white", scale=28, width=0.004)
    axis.scatter(
        *degraded_points(250, generator).T, s=14, marker="x", color="crimson", label="degraded"
    )
    axis.scatter(*clean_points(120, generator).T, s=12, color="deepskyblue", label="clean")
    axis.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axis.set_title("r, and minus its gradient")
    axis.legend(loc="upper right")
    figure.colorbar(shown, ax=axis, label="r(z)")
    return figure


if __name__ == "__main__":
    draw(train_potential())
    plt.show()
