"""Windows: the smallest part of the input on which a unit's gradient comes out exactly as on the whole.

The part holds the unit's theoretical receptive field. It starts at a multiple of the layer's stride, so that every
layer before it falls on the same places, and shares the input's border wherever the field reaches or crosses it, so
that padding happens where it happens in the whole input. Else it ends where the field ends; where the network does not
take that, after whole strides. Where a layer before it has a larger stride, as in a decoder, that takes a multiple of
the layer's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .field import TheoreticalReceptiveField
from .region import Region

LARGEST_SHARE = 0.7  # of the input: a window breaks even at 0.5 beside a shared forward pass, at 1 without one
MULTIPLES = (1, 2, 3, 4, 6, 8, 16, 32)  # of the layer's stride


@dataclass(frozen=True)
class Window:
    """A region of the input, and the unit's index in the grid that the region alone gives."""

    region: Region
    unit: tuple[int, ...]


def find_window(field: TheoreticalReceptiveField, multiple: int | None = None) -> Window | str:
    """
    The window of a unit, or why the whole input is used instead.

    It starts at a multiple of the stride and ends with the field; given a multiple, it starts and ends in such steps.

    Examples::

        >>> from captum_erf.geometry.field import AxisBox
        >>> field = TheoreticalReceptiveField.from_box((AxisBox(13, 32, stride=4),), (64,), (16,), (5,))
        >>> find_window(field)
        Window(region=Region(offset=(12,), shape=(20,)), unit=(2,))
        >>> find_window(field, multiple=2)
        Window(region=Region(offset=(8,), shape=(24,)), unit=(3,))
    """
    if field.is_estimated:
        return "the theoretical field is only estimated"
    if any(field.global_axes):
        return "the unit sees the whole input"
    if field.is_clipped:
        return "the field goes on beyond the input, where its end was not found"
    if not all(float(stride).is_integer() for stride in field.stride):
        return "the layer's grid is finer than the input"
    spans = [
        _span(lower, upper, int(stride) * (multiple or 1), length, ends_with_field=multiple is None)
        for lower, upper, stride, length in zip(field.lower, field.upper, field.stride, field.input_size, strict=True)
    ]
    region = Region.between(*zip(*spans, strict=True))
    if math.prod(region.shape) > LARGEST_SHARE * math.prod(field.input_size):
        return "the field covers most of the input"
    units = zip(field.position, region.offset, field.stride, strict=True)
    return Window(region, tuple(unit - start // int(stride) for unit, start, stride in units))


def larger_windows(field: TheoreticalReceptiveField) -> Iterator[Window]:
    """The smallest window, and those in steps of growing multiples of the stride, each only once."""
    windows = (find_window(field, multiple) for multiple in (None, *MULTIPLES))
    yield from dict.fromkeys(window for window in windows if isinstance(window, Window))


def field_inside(field: TheoreticalReceptiveField, window: Window) -> Region:
    """The part of the field that lies inside the input, as a region of the window."""
    return field_within(field).relative_to(window.region)


def field_ends(field: TheoreticalReceptiveField, window: Window) -> Iterator[Region]:
    """The field's first and last slab along each axis on which it ends inside the input, as regions of the window."""
    inside = field_inside(field, window)
    for axis, (lower, upper, length) in enumerate(zip(field.lower, field.upper, field.input_size, strict=True)):
        if lower >= 0:
            yield inside.slab(axis, inside.offset[axis])
        if upper <= length:
            yield inside.slab(axis, inside.stop[axis] - 1)


def field_within(field: TheoreticalReceptiveField) -> Region:
    """The part of a field that lies inside the input."""
    upper = tuple(map(min, field.upper, field.input_size))
    return Region.between(tuple(max(lower, 0) for lower in field.lower), upper)


def _span(lower: int, upper: int, step: int, length: int, *, ends_with_field: bool) -> tuple[int, int]:
    """Where a window starts and stops along an axis."""
    start = max(lower, 0) // step * step
    stop = upper if ends_with_field else start + math.ceil((upper - start) / step) * step
    return start, min(stop, length)
