"""Figure 1 of the paper: the gradient of the learned potential points away from the circle."""

import pytest
import torch

from locreg.evaluation.paper import circle


@pytest.fixture(scope="module")
def potential():
    return circle.train_potential(iterations=1000)


@pytest.mark.parametrize("radius", [0.5, 0.75, 1.25, 1.5, 1.75])
def test_the_gradient_points_away_from_the_circle(potential, radius):
    """The circle's distance has gradient +-z/|z|; the cosine with it is near 1 all around."""
    angle = torch.linspace(0, 6.28, 60)
    outward = torch.stack([angle.cos(), angle.sin()], dim=1)
    found = circle.gradient(potential, radius * outward)
    away = outward if radius > 1 else -outward
    cosine = torch.nn.functional.cosine_similarity(found, away)
    assert cosine.min() > 0.8
    assert cosine.mean() > 0.95


def test_the_potential_is_lowest_on_the_circle(potential):
    angle = torch.linspace(0, 6.28, 40)
    points = torch.stack([angle.cos(), angle.sin()], dim=1)
    radii = torch.linspace(0.3, 1.8, 31)
    with torch.no_grad():
        means = torch.stack([potential(radius * points).mean() for radius in radii])
    assert abs(radii[means.argmin()] - 1) < 0.12


def test_descent_brings_degraded_points_to_the_circle(potential):
    points = circle.degraded_points(400, torch.Generator().manual_seed(2))
    before = (points.norm(dim=1) - 1).abs().mean()
    for _ in range(60):
        points = points - 0.02 * circle.gradient(potential, points)
    assert (points.norm(dim=1) - 1).abs().mean() < 0.35 * before
