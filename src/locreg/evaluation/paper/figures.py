"""Draw the figures of the paper, each on a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from locreg.evaluation.paper.circle import clean_points, degraded_points, gradient
from locreg.report.pictures import show_pixels


def draw_circle(figure: Any, critic: nn.Module, extent: float = 1.9) -> None:
    """Figure 1: the critic, minus its gradient, and samples of both distributions."""
    generator = torch.Generator().manual_seed(1)
    axis = figure.subplots()
    line = torch.linspace(-extent, extent, 161)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        values = critic(grid).view(161, 161).T
    contours = axis.contourf(line, line, values, levels=24, cmap="viridis")
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
    figure.colorbar(contours, ax=axis, label="r(z)")


def draw_patches(figure: Any, rows: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Figure 2: rows of patches (N, 3, h, w) with their scores (N,) below them, lowest first."""
    count = len(next(iter(rows.values()))[1])
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, (patches, scores)) in zip(axes, rows.items(), strict=True):
        order = scores.argsort()
        for axis, patch, score in zip(line, patches[order], scores[order], strict=True):
            axis.imshow(patch.permute(1, 2, 0).clamp(0, 1).numpy())
            axis.set_xlabel(f"{score:.2f}", fontsize=9)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=10)


def draw_distributions(figure: Any, scores: Mapping[float, NDArray[np.float32]]) -> None:
    """Figure 3: the distribution of the scores of patches, with one panel per noise level."""
    axes = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
    everything = np.concatenate(list(scores.values()))
    low, high = (float(q) for q in np.quantile(everything, (0.001, 0.999)))
    bins = np.linspace(low, high, 80)
    for axis, (sigma, values) in zip(axes, scores.items(), strict=True):
        axis.hist(values.clip(low, high), bins=bins, density=True, color="steelblue")
        axis.axvline(values.mean(), color="crimson")
        axis.set_yticks([])
        axis.set_ylabel(f"$\\sigma$ = {sigma:g}", rotation=0, ha="right", va="center")
    axes[-1].set_xlabel("r(z); the line is the mean")


def draw_images(figure: Any, images: Sequence[tuple[str, Tensor]]) -> None:
    """Figures 4 and 5: images (1, C, H, W) with their titles, side by side."""
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for axis, (name, image) in zip(axes, images, strict=True):
        show_pixels(axis, image[0].numpy())
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
