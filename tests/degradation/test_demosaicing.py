"""Mosaics, and the colours found again."""

import pytest
import torch

from locreg.degradation.demosaicing import DEMOSAICINGS, bilinear, mosaic

PHASES = [(row, column) for row in (0, 1) for column in (0, 1)]
INNER = (..., slice(4, -4), slice(4, -4))


def ramp(slopes):
    """An image (3, 24, 20) whose channels rise linearly along rows and columns."""
    rows, columns = torch.arange(24.0)[:, None], torch.arange(20.0)[None]
    return torch.stack([0.1 + a * rows + b * columns for a, b in slopes])


@pytest.mark.parametrize("phase", PHASES)
def test_a_mosaic_keeps_one_colour_of_each_pixel(phase):
    colours = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1).expand(3, 6, 8)
    raw = mosaic(colours, phase)
    assert [(raw == value).sum().item() for value in (1, 2, 3)] == [12, 24, 12]
    assert raw[(-phase[0]) % 2, (-phase[1]) % 2] == 1


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("demosaic", DEMOSAICINGS, ids=lambda f: f.__name__)
def test_constant_colours_are_found_exactly(demosaic, phase):
    colours = torch.tensor([0.2, 0.5, 0.7]).view(3, 1, 1).expand(3, 20, 22)
    found = demosaic(mosaic(colours, phase), phase)
    assert torch.allclose(found[INNER], colours[INNER], atol=1e-6)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("demosaic", DEMOSAICINGS, ids=lambda f: f.__name__)
def test_a_grey_ramp_is_found_exactly(demosaic, phase):
    colours = ramp([(0.01, 0.02)] * 3)
    found = demosaic(mosaic(colours, phase), phase)
    assert torch.allclose(found[INNER], colours[INNER], atol=1e-5)


@pytest.mark.parametrize("phase", PHASES)
def test_bilinear_colours_of_ramps_are_exact(phase):
    colours = ramp([(0.01, 0.0), (0.0, 0.02), (0.005, 0.01)])
    found = bilinear(mosaic(colours, phase), phase)
    assert torch.allclose(found[INNER], colours[INNER], atol=1e-5)


@pytest.mark.parametrize("demosaic", DEMOSAICINGS, ids=lambda f: f.__name__)
def test_the_recorded_colour_of_a_pixel_stays(demosaic):
    raw = torch.rand(16, 18, generator=torch.Generator().manual_seed(0))
    found = demosaic(raw, (0, 1))
    assert torch.allclose(mosaic(found, (0, 1)), raw, atol=1e-6)
