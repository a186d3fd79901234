"""The figures of the paper are drawn from what they are given."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from conftest import random_image
from locreg.evaluation.paper import figures


@pytest.fixture
def figure():
    return Figure()


def test_patches_are_shown_with_their_scores_lowest_first(figure):
    patches = random_image(3, 3, 5, 5)
    figures.draw_patches(figure, {"clean": (patches, torch.tensor([0.3, -1.0, 2.0]))})
    assert [axis.get_xlabel() for axis in figure.axes] == ["-1.00", "0.30", "2.00"]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, patches[1].permute(1, 2, 0).numpy())


def test_every_noise_level_has_a_panel_with_its_mean(figure):
    scores = {0.0: np.linspace(0, 1, 50), 0.1: np.linspace(1, 3, 50)}
    figures.draw_distributions(figure, scores)
    means = [axis.lines[0].get_xdata()[0] for axis in figure.axes]
    assert means == pytest.approx([0.5, 2.0])


def test_images_are_shown_with_their_titles(figure):
    figures.draw_images(
        figure, [("one", random_image(1, 3, 6, 7)), ("two", random_image(1, 1, 6, 7))]
    )
    assert [axis.get_title() for axis in figure.axes] == ["one", "two"]
    assert all(len(axis.images) == 1 for axis in figure.axes)
