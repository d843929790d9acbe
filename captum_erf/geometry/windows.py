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
from operator import sub
from typing import Any

from .field import TheoreticalReceptiveField
from .region import Region

LARGEST_SHARE = 0.7  # of the input: a window breaks even at 0.5 beside a shared forward pass, at 1 without one
MULTIPLES = (1, 2, 3, 4, 6, 8, 16, 32)  # of the layer's stride


@dataclass(frozen=True)
class Window:
    """A box of the input, and the unit's index in the grid that the box alone gives."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]
    index: tuple[int, ...]


def find_window(field: TheoreticalReceptiveField, multiple: int | None = None) -> Window | str:
    """
    The window of a unit, or why the whole input is used instead.

    It starts at a multiple of the stride and ends with the field; given a multiple, it starts and ends in such steps.
    """
    if any(field.global_axes):
        return "the unit sees the whole input"
    if field.is_clipped:
        return "the network takes no other input size"
    if not all(float(stride).is_integer() for stride in field.stride):
        return "the layer's grid is finer than the input"
    steps = [int(stride) * (multiple or 1) for stride in field.stride]
    spans = [
        _span(lower, upper, step, step if multiple else 1, size)
        for lower, upper, step, size in zip(field.lower, field.upper, steps, field.input_size, strict=True)
    ]
    offset = tuple(start for start, _ in spans)
    shape = tuple(stop - start for start, stop in spans)
    if math.prod(shape) > LARGEST_SHARE * math.prod(field.input_size):
        return "the field covers most of the input"
    index = tuple(
        unit - start // int(stride) for unit, start, stride in zip(field.position, offset, field.stride, strict=True)
    )
    return Window(offset, shape, index)


def larger_windows(field: TheoreticalReceptiveField) -> Iterator[Window]:
    """The smallest window, and those in steps of growing multiples of the stride, each only once."""
    before: Window | str = ""
    for multiple in (None, *MULTIPLES):
        window = find_window(field, multiple)
        if isinstance(window, Window) and window != before:
            yield window
        before = window


def field_inside(field: TheoreticalReceptiveField, window: Window) -> tuple[Any, ...]:
    """Index, in the window, of the part of the field that lies inside the input."""
    return Region(*_field_span(field, window)).index


def field_ends(field: TheoreticalReceptiveField, window: Window) -> Iterator[tuple[Any, ...]]:
    """Index, in the window, of the field's first and last slab along each axis on which it ends inside the input."""
    start, length = _field_span(field, window)
    for axis, (lower, upper, size) in enumerate(zip(field.lower, field.upper, field.input_size, strict=True)):
        thin = (*length[:axis], 1, *length[axis + 1 :])
        if lower >= 0:
            yield Region(start, thin).index
        if upper <= size:
            last = start[axis] + length[axis] - 1
            yield Region((*start[:axis], last, *start[axis + 1 :]), thin).index


def _field_span(field: TheoreticalReceptiveField, window: Window) -> tuple[tuple[int, ...], tuple[int, ...]]:
    lower = [max(low, 0) for low in field.lower]
    upper = map(min, field.upper, field.input_size)
    return tuple(map(sub, lower, window.offset)), tuple(map(sub, upper, lower))


def _span(lower: int, upper: int, start_step: int, length_step: int, size: int) -> tuple[int, int]:
    start = max(lower, 0) // start_step * start_step
    length = -(-(upper - start) // length_step) * length_step
    return start, min(start + length, size)
