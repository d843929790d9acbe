"""Sample maps: what is made of a gradient, of which neurons, and how precisely."""

import numpy as np
import pytest
import torch
from gated import IMAGES
from numpy.testing import assert_allclose
from torch import nn

from captum_erf import EffectiveReceptiveField

MAGNITUDES = {
    "abs": lambda g: g.abs().sum(1),
    "square": lambda g: g.square().sum(1),
    "positive": lambda g: g.clamp_min(0).sum(1),
    "signed": lambda g: g.sum(1),
}


@pytest.mark.parametrize("window", ["auto", False])
@pytest.mark.parametrize("name", MAGNITUDES)
def test_magnitudes(erf, name, window):
    gradient = erf.attribute(IMAGES, abs=False)
    expected = MAGNITUDES[name](gradient).mean(0).numpy()
    field = erf.aggregate([IMAGES], magnitude=name, window=window)
    assert_allclose(field.values, expected, rtol=1e-5, atol=1e-8)
    assert field.recipe["magnitude"] == name


@pytest.mark.parametrize("window", ["auto", False])
def test_a_callable_magnitude_gets_the_whole_inputs_gradient(convnet, window):
    """Also where only a window was run: what it makes of the rest is its own affair."""
    erf = EffectiveReceptiveField(convnet, "0")

    def above_average(gradient):
        size = gradient.abs().sum(1)
        return (size > size.mean((1, 2), keepdim=True)).float() + 0.5

    expected = above_average(erf.attribute(IMAGES)).mean(0).numpy()
    assert_allclose(erf.aggregate([IMAGES], magnitude=above_average, window=window).values, expected)


def test_a_selector_on_a_logit(convnet):
    """No grid: the centre is measured, the middle of the smallest box that holds half of the map."""
    erf = EffectiveReceptiveField(convnet, "8")
    field = erf.aggregate(IMAGES.split(4), neuron_selector=2)
    expected = erf.attribute(IMAGES, 2).sum(1).mean(0)
    assert_allclose(field.values, expected.numpy(), rtol=1e-5, atol=1e-9)
    assert (field.position, field.grid, field.theoretical) == (None, None, None)
    middles = tuple((lower + upper) / 2 for lower, upper in field.radius_mass().box(0.5))
    assert (field.center, field.center_source) == (pytest.approx(middles), "measured")
    assert field.recipe["route"] == "whole input: a neuron selector is used"


def test_a_selector_on_a_grid_takes_its_geometry_from_the_position(convnet):
    erf = EffectiveReceptiveField(convnet, "4")
    field = erf.aggregate([IMAGES], neuron_selector=(1, 2, 3), position=(2, 3))
    assert_allclose(field.values, erf.attribute(IMAGES, (1, 2, 3)).sum(1).mean(0).numpy(), rtol=1e-5, atol=1e-9)
    assert field.position == (2, 3)
    assert field.center == erf.aggregate([IMAGES], position=(2, 3)).center


def test_a_selector_over_a_sweep_keeps_the_geometry_where_there_is_one(convnet):
    logit, grid = EffectiveReceptiveField(convnet, ["8", "4"]).sweep(
        [IMAGES], neuron_selector=lambda output: output.flatten(1)[:, 0]
    )
    assert logit.theoretical is None
    assert grid.theoretical.size == (8, 8)


def test_autocast_measures_in_low_precision(convnet):
    erf = EffectiveReceptiveField(convnet, "4")
    plain, low = erf.aggregate([IMAGES]), erf.aggregate([IMAGES], autocast=torch.bfloat16)
    difference = np.abs(low.values - plain.values).max() / plain.values.max()
    assert 1e-6 < difference < 0.05
    assert low.values.dtype == np.float64
    assert (plain.recipe["autocast"], low.recipe["autocast"]) == (None, "torch.bfloat16")
    for share in (0.5, 0.9):
        assert low.radius_mass().diameter(share) == pytest.approx(plain.radius_mass().diameter(share), rel=0.01)


def test_a_half_precision_model_sums_channels_in_single_precision():
    """64 channels of gradient 1 + 2^-10 each: bfloat16 would round the sum."""
    model = nn.Sequential(nn.Conv1d(64, 1, 1, bias=False)).to(torch.bfloat16)
    nn.init.constant_(model[0].weight, 1 + 2.0**-7)
    field = EffectiveReceptiveField(model, "0").aggregate([torch.randn(2, 64, 9, dtype=torch.bfloat16)])
    assert field.values[4] == 64 * (1 + 2.0**-7)
    model[0].weight.data[0, 0] = 1
    field = EffectiveReceptiveField(model, "0").aggregate([torch.randn(2, 64, 9, dtype=torch.bfloat16)])
    assert field.values[4] == 63 * (1 + 2.0**-7) + 1
