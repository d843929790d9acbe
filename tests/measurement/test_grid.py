"""``positions="grid"``: units all over each layer's grid."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from captum_erf import EffectiveReceptiveField
from captum_erf.network.units import grid_positions


@given(st.lists(st.integers(1, 300), min_size=1, max_size=2).map(tuple))
def test_units_are_spread_evenly_with_the_centre_among_them(grid):
    chosen = grid_positions(grid)
    assert len(chosen) == np.prod([min(length, 7) for length in grid])
    assert tuple(length // 2 for length in grid) in chosen
    for axis, length in enumerate(grid):
        indices = sorted({unit[axis] for unit in chosen})
        gaps = np.diff(indices)
        assert np.ptp(gaps) <= 1 if len(gaps) else length == 1
        assert abs(indices[0] - (length - 1 - indices[-1])) <= 1


def test_a_coarse_grid_is_measured_unit_by_unit_as_if_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1)).double()
    erf, images = EffectiveReceptiveField(model, ["0", "2"]), torch.randn(3, 3, 24, 16, dtype=torch.float64)
    fields = erf.sweep([images], positions="grid")
    assert [(field.layer, field.position) for field in fields] == [
        *(("0", (i, j)) for i in range(6) for j in range(4)),
        *(("2", (i, j)) for i in range(3) for j in range(2)),
    ]
    for field in fields[-6:]:
        (named,) = EffectiveReceptiveField(model, "2").sweep([images], positions=[field.position])
        np.testing.assert_allclose(field.values, named.values, atol=1e-12)
        assert field.theoretical == named.theoretical
        assert field.recipe["positions"] == "grid"


def test_a_fine_grid_has_seven_units_a_side():
    fields = EffectiveReceptiveField(nn.Conv1d(1, 2, 3, padding=1), "").sweep([torch.randn(2, 1, 70)], positions="grid")
    assert [field.position for field in fields] == [(5,), (15,), (25,), (35,), (45,), (55,), (65,)]


def test_units_that_no_image_activates_are_left_out_with_a_warning():
    model = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.ReLU())
    nn.init.ones_(model[0].weight)
    with pytest.warns(UserWarning, match="Left out"):
        fields = EffectiveReceptiveField(model, "1").sweep([torch.tensor([[[1.0, -1.0, 1.0]]])], positions="grid")
    assert [field.position for field in fields] == [(0,), (2,)]


def test_a_layer_without_a_grid_has_one_unit():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(12, 5))
    (field,) = EffectiveReceptiveField(model, "2").sweep([torch.randn(2, 1, 8)], positions="grid", neuron_selector=1)
    assert field.position is None


def test_other_words_are_refused():
    with pytest.raises(ValueError, match='or be "grid", got \'every\''):
        EffectiveReceptiveField(nn.Conv1d(1, 1, 3), "").sweep([torch.randn(2, 1, 8)], positions="every")
