"""What holds for every network: windows, whole inputs and plain autograd agree, inside the box and however summed."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from oracle import mean_map
from random_nets import SETTINGS, SHARES, random_nets

from captum_erf import EffectiveReceptiveField


def check_properties(net, shares):
    model, dims = net.model.eval(), len(net.size)
    images = torch.randn(5, 2, *net.size)
    try:
        grid = model(images).shape[2:]
    except RuntimeError:
        return
    unit = tuple(round(share * (length - 1)) for share, length in zip(shares, grid, strict=False))
    expected = mean_map(model, model[-1], images, unit)
    erf = EffectiveReceptiveField(model, str(len(model) - 1), layout=lambda output: output)
    if not expected.any():
        with warnings.catch_warnings(), pytest.raises(ValueError, match="dead"):
            warnings.filterwarnings("ignore", message="NaN cannot tell what layer")
            erf.aggregate([images], position=unit)
        return
    state = {name: value.clone() for name, value in model.state_dict().items()}
    auto, plain = (erf.aggregate(images.split(2), position=unit, window=window) for window in ("auto", False))
    tolerance = 1e-4 * expected.max()
    for field in (auto, plain):
        np.testing.assert_allclose(field.values, expected, rtol=0, atol=tolerance)
        assert field.grid == tuple(grid) and field.position == unit
        places = np.argwhere(field.values > 0)
        assert (places.min(0) >= field.theoretical.lower).all()
        assert (places.max(0) < field.theoretical.upper).all()
    np.testing.assert_allclose(erf.attribute(images, position=unit).sum(1).mean(0).numpy(), expected, atol=tolerance)
    check_merging(erf, images, unit, plain)
    mass = plain.radius_mass()
    assert (np.diff(mass.mass) >= 0).all() and mass.mass[-1] == pytest.approx(1)
    assert mass.diameter(0.5) <= mass.diameter(0.9) <= 2 * max(*net.size, *plain.theoretical.size) + 1
    assert 1 <= plain.effective_pixels() <= np.prod(net.size) * (1 + 1e-9)
    assert dims == plain.values.ndim
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def check_merging(erf, images, unit, whole):
    """Two halves, in either order, add up to the whole."""
    first, second = (erf.accumulator(positions=[unit], window=False) for _ in range(2))
    first.update(images[:3])
    second.update(images[3:])
    sums = [acc.compute()[0].values.sum() * acc.compute()[0].num_samples for acc in (first, second)]
    first.merge(second)
    (merged,) = first.compute()
    assert merged.num_samples == whole.num_samples
    assert merged.values.sum() * merged.num_samples == pytest.approx(sum(sums))
    np.testing.assert_allclose(merged.values, whole.values, rtol=1e-6, atol=1e-6 * whole.values.max())


@pytest.mark.filterwarnings("ignore:NaN cannot tell")
@settings(SETTINGS, max_examples=30)
@given(random_nets(), SHARES)
def test_properties(net, shares):
    check_properties(net, shares)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:NaN cannot tell")
@settings(SETTINGS, max_examples=300)
@given(random_nets(), SHARES)
def test_properties_of_many_networks(net, shares):
    check_properties(net, shares)
