"""Windows: the smallest part of the input on which a unit's gradient comes out exactly as on the whole.

The part holds the unit's theoretical receptive field. It starts at a multiple of the layer's stride, so that every
layer before it falls on the same places, and ends at the input's border wherever the field reaches or crosses it, so
that padding happens where it happens in the whole input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .geometry import TheoreticalReceptiveField

LARGEST_SHARE = 0.7


@dataclass(frozen=True)
class Window:
    """A box of the input, and the unit's index in the grid that the box alone gives."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]
    index: tuple[int, ...]


def find_window(field: TheoreticalReceptiveField) -> Window | str:
    """The window of a unit, or the reason why the whole input is used instead."""
    if any(field.global_axes):
        return "the unit sees the whole input"
    if field.is_clipped:
        return "the network takes no other input size"
    if not all(float(stride).is_integer() for stride in field.stride):
        return "the layer's grid is finer than the input"
    spans = [_span(*axis) for axis in zip(field.lower, field.upper, field.stride, field.input_size, strict=True)]
    offset = tuple(start for start, _ in spans)
    shape = tuple(stop - start for start, stop in spans)
    if math.prod(shape) > LARGEST_SHARE * math.prod(field.input_size):
        return "the field covers most of the input"
    index = tuple(
        unit - start // int(stride) for unit, start, stride in zip(field.position, offset, field.stride, strict=True)
    )
    return Window(offset, shape, index)


def _span(lower: int, upper: int, stride: float, size: int) -> tuple[int, int]:
    step = int(stride)
    start = max(lower, 0) // step * step
    length = -(-(upper - start) // step) * step
    return start, min(start + length, size)
