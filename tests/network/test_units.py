"""Units: which index a position names, and what a selector picks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_erf.network.units import Selected, SelectorError, Units, resolve_position


@pytest.mark.parametrize(
    ("position", "grid", "index"),
    [
        ("center", (7, 7), (3, 3)),
        ("center", (8, 5), (4, 2)),
        ("center", (1,), (0,)),
        ("center", (4, 5, 6), (2, 2, 3)),
        ("corner", (7, 9), (0, 0)),
        ("edge", (7, 9), (0, 4)),
        ("edge", (6,), (0,)),
        ("edge", (4, 5, 6), (0, 2, 3)),
        ((2, -1), (7, 9), (2, 8)),
        ((-7, 0), (7, 9), (0, 0)),
        ((0.0, 1.0), (7, 9), (0, 8)),
        ((0.5, 0.5), (7, 9), (3, 4)),
        ((0.25, 3), (7, 9), (2, 3)),
        ([1, 2], (7, 9), (1, 2)),
        ((np.float32(0.5), np.int64(-2)), (7, 9), (3, 7)),
    ],
    ids=str,
)
def test_positions(position, grid, index):
    assert resolve_position(position, grid) == index


@given(share=st.floats(0, 1), length=st.integers(1, 1000))
def test_a_float_is_a_share_of_the_grid(share, length):
    assert resolve_position((share,), (length,)) == (round(share * (length - 1)),)


@given(length=st.integers(1, 50), data=st.data())
def test_negatives_count_from_the_end(length, data):
    entry = data.draw(st.integers(-length, length - 1))
    assert resolve_position((entry,), (length,)) == (range(length)[entry],)


@pytest.mark.parametrize(
    ("position", "error", "message"),
    [
        ("middle", ValueError, r"one of \('center', 'corner', 'edge'\) or a tuple, got 'middle'"),
        (3, TypeError, "a name or a tuple with one number per axis, got 3"),
        (None, TypeError, "a name or a tuple with one number per axis, got None"),
        (("center", 3), TypeError, "one number per axis"),
        ((3,), ValueError, r"position \(3,\) has 1 entries, but the layer's grid \(7, 9\) has 2 axes"),
        ((3, 3, 3), ValueError, "3 entries"),
        ((7, 0), IndexError, "position 7 is outside an axis of 7 units; use -7 to 6"),
        ((0, -10), IndexError, "position -10 is outside an axis of 9 units; use -9 to 8"),
        ((1.5, 0.0), ValueError, r"share of the grid in \[0, 1\], got 1.5"),
        ((float("nan"), 0.0), ValueError, r"share of the grid in \[0, 1\], got nan"),
    ],
    ids=str,
)
def test_positions_that_name_no_unit(position, error, message):
    with pytest.raises(error, match=message):
        resolve_position(position, (7, 9))


def test_blocks_of_samples_are_read_at_their_own_positions():
    """Crops around several units share a pass: block b of the batch is read at positions[b]."""
    output = torch.arange(6 * 2 * 3 * 3.0).reshape(6, 2, 3, 3)
    found = Units(((0, 0), (2, 1), "center"))(output)
    expected = [output[0:2, :, 0, 0], output[2:4, :, 2, 1], output[4:6, :, 1, 1]]
    assert found.tolist() == torch.cat(expected).sum(1).tolist()


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ((1, 2, 0), lambda y: y[:, 1, 2, 0]),
        ((slice(0, 2), 1, slice(None)), lambda y: y[:, 0:2, 1].flatten(1).sum(1)),
        (lambda y: y.amax((1, 2, 3)), lambda y: y.amax((1, 2, 3))),
        (lambda y: y[:, 0, 0, :1], lambda y: y[:, 0, 0, 0]),
    ],
    ids=["ints", "slices", "callable", "callable to (N, 1)"],
)
def test_selectors(selector, expected):
    output = torch.randn(4, 2, 3, 3)
    assert Selected(selector)(output).tolist() == pytest.approx(expected(output).tolist())


def test_an_int_selects_of_a_flat_output():
    output = torch.randn(4, 7)
    assert Selected(5)(output).tolist() == output[:, 5].tolist()


def test_selector_errors_are_captums_and_natural_ones():
    assert issubclass(SelectorError, AssertionError)
    assert issubclass(SelectorError, ValueError)
    with pytest.raises(IndexError, match=r"neuron_selector 9 does not fit the layer's output of shape \[\(4, 7\)\]"):
        Selected(9)(torch.randn(4, 7))
    with pytest.raises(AssertionError, match=r"3 axes after the batch"):
        Selected((1, 1))(torch.randn(4, 2, 3, 3))
