"""Theoretical receptive fields of random networks against brute force."""

import math

import pytest
import torch
from hypothesis import given, settings
from oracle import hull
from probes import last
from random_nets import SETTINGS, SHARES, random_nets

from captum_erf import theoretical_receptive_field


def check_against_brute_force(net, shares):
    """On the input the box holds all that brute force finds; it equals what that finds on a larger one."""
    model, size = net.model, net.size
    try:
        grid = tuple(model(torch.zeros(1, 2, *size)).shape[2:])
    except RuntimeError:
        return
    position = shares[: len(size)]
    unit = tuple(round(share * (length - 1)) for share, length in zip(position, grid, strict=True))
    own = [hull(model, size, axis, unit) for axis in range(len(size))]
    if None in own:
        with pytest.raises(ValueError, match="no influence"):
            theoretical_receptive_field(model, last(model), (2, *size), position, layout=lambda output: output)
        return
    field = theoretical_receptive_field(model, last(model), (2, *size), position, layout=lambda output: output)
    assert (field.grid, field.position) == (grid, unit)
    for axis, (first, end) in enumerate(own):
        lower, upper, stride, period = field.lower[axis], field.upper[axis], net.strides[axis], net.periods[axis]
        if 64 % period and 192 % period:
            assert (max(lower, 0), min(upper, size[axis])) == (first, end)
            continue
        shift = math.ceil(50 / period) * period
        larger = tuple(length + 2 * shift * (other == axis) for other, length in enumerate(size))
        moved = tuple(index + int(shift / stride) * (other == axis) for other, index in enumerate(unit))
        whole = hull(model, larger, axis, moved)
        assert 0 < whole[0] <= first + shift
        assert end + shift <= whole[1] < larger[axis]
        assert (lower, upper, field.stride[axis]) == (whole[0] - shift, whole[1] - shift, stride)


@settings(SETTINGS, max_examples=30)
@given(random_nets(), SHARES)
def test_boxes_are_those_of_brute_force(net, shares):
    check_against_brute_force(net, shares)


@pytest.mark.slow
@settings(SETTINGS, max_examples=500)
@given(random_nets(), SHARES)
def test_boxes_of_many_networks_are_those_of_brute_force(net, shares):
    check_against_brute_force(net, shares)
