"""The table of activations: slopes and computations in place belong to the values."""

from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_image
from locreg.regularizer.activations import ACTIVATIONS, lengths, mcp
from locreg.regularizer.layers import MCP_ROUNDING, standard_layers
from locreg.training.options import CriticOptions


@given(t=st.floats(-4, 4))
def test_the_potential_in_closed_form(t):
    """|t| - t^2 / 2 but for the rounding, from 1 on a constant."""
    found = mcp(torch.tensor(t, dtype=torch.float64)).item()
    size = min(abs(t), 1.0)
    if abs(t) >= MCP_ROUNDING:
        assert found == pytest.approx(size - size**2 / 2 - MCP_ROUNDING / 2, abs=1e-12)
    else:
        assert found == pytest.approx(t**2 / (2 * MCP_ROUNDING) - t**2 / 2, abs=1e-12)


def points():
    """Points on both sides of every kink, and none on one."""
    z = torch.linspace(-3, 3, 601, dtype=torch.float64) + 1e-3
    return z[((z.abs() - 1).abs() > 1e-4) & ((z.abs() - MCP_ROUNDING).abs() > 1e-4)]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_is_the_derivative_of_the_value(name):
    """By autograd, and by central differences."""
    activation, z = ACTIVATIONS[name], points().requires_grad_()
    (by_autograd,) = torch.autograd.grad(activation.value(z).sum(), z)
    with torch.no_grad():
        slope, step = activation.slope(z), 1e-5
        differences = (activation.value(z + step) - activation.value(z - step)) / (2 * step)
    torch.testing.assert_close(slope, by_autograd, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(slope, differences, rtol=1e-7, atol=1e-7)


IN_PLACE = [name for name, activation in ACTIVATIONS.items() if activation.in_place]


@pytest.mark.parametrize("name", IN_PLACE)
def test_computation_in_place_gives_value_and_slope(name):
    activation, z = ACTIVATIONS[name], points()
    signal = torch.cos(7 * z)
    expected_value, expected_signal = activation.value(z.clone()), signal * activation.slope(z)
    value = activation.in_place.value(z)
    assert value.data_ptr() == z.data_ptr()
    assert torch.equal(value, expected_value)
    found = activation.in_place.times_slope(signal, value)
    assert found.data_ptr() == signal.data_ptr()
    assert torch.equal(found, expected_signal)


def test_only_piecewise_linear_activations_are_computed_in_place():
    assert IN_PLACE == ["identity", "relu"]


def test_the_slope_of_relu_at_its_kink_is_the_same_in_both_ways():
    relu, z = ACTIVATIONS["relu"], torch.zeros(3)
    found = relu.in_place.times_slope(torch.ones(3), relu.in_place.value(z.clone()))
    assert torch.equal(found, relu.slope(z))


def test_the_options_of_a_critic_allow_rows_of_the_table_only():
    """mcp is for ridge critics, square for the end of wide ones, identity for no activation."""
    allowed = get_args(get_type_hints(CriticOptions)["activation"])
    assert set(allowed) == set(ACTIVATIONS) - {"identity", "mcp", "square"}
    for name in allowed:
        assert standard_layers((2,), name)[0].activation == name


@pytest.mark.parametrize("group", [1, 2, 3])
def test_lengths_of_groups(group):
    t = random_image(2, 6, 4, 5) - 0.5
    expected = t if group == 1 else torch.stack([g.norm(dim=1) for g in t.split(group, 1)], 1)
    torch.testing.assert_close(lengths(t, group), expected)


def test_a_group_of_zeros_has_a_derivative():
    t = torch.zeros(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(mcp(lengths(t, 2)).sum(), t)
    assert torch.equal(slope, torch.zeros_like(t))
