"""The share of a map outside of boxes, added up from the outside in, so that faint tails are not rounded off.

What lies outside a box falls into one pair of slabs for each axis: beyond the box along the first axis and within it
along all others; beyond it along the second axis and within it along those after; and so on to the last axis, beyond
which everything counts. Each pair has a table of sums below and one of sums above every pixel face, summed up along the
axes that follow (summed-area tables: Crow, SIGGRAPH 1984).

Places are counted from the outer face of the first pixel: pixel ``i`` reaches from ``i`` to ``i + 1``.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from .arrays import FloatArray

Places = Sequence[Any]  # for each axis an array of places, or a slice of faces


class Outside:
    """
    Sums of a map outside of boxes, each to a few roundings of its own size.

    Attributes:
        shape (tuple of int): Pixels per axis.
    """

    def __init__(self, weights: FloatArray):
        self.shape = weights.shape
        self._slabs = [tails(weights.sum(tuple(range(axis)))) for axis in range(weights.ndim)]

    def whole(self, lower: Places, upper: Places) -> FloatArray:
        """Outside of boxes between whole faces: per axis slices, or indices that broadcast."""
        return self._summed(lower, upper, lambda table, places: table[tuple(places)])

    def anywhere(self, lower: Places, upper: Places) -> FloatArray:
        """Outside of boxes between any places, also beyond the map: per axis arrays that broadcast."""
        return self._summed(lower, upper, _between)

    def inside(self, lower: Sequence[slice], upper: Sequence[slice]) -> FloatArray:
        """Within boxes between whole faces, fast, and to a few roundings of the sum of the map."""
        sums = self._slabs[0][0]
        for axis in range(sums.ndim):
            before = (slice(None),) * axis
            sums = sums[(*before, upper[axis])] - sums[(*before, lower[axis])]
        return sums

    def _summed(self, lower: Places, upper: Places, look_up: Callable[[FloatArray, Places], FloatArray]) -> FloatArray:
        total: FloatArray = np.zeros(())
        for axis, (below, above) in enumerate(self._slabs):
            for sign, ends in _ends(lower[axis + 1 :], upper[axis + 1 :]):
                total = total + sign * (look_up(below, [lower[axis], *ends]) + look_up(above, [upper[axis], *ends]))
        return total


def tails(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The sums below and above every face of the first axis, summed up along the others."""
    below, above = _sums_before(weights, 0), np.flip(_sums_before(np.flip(weights, 0), 0), 0)
    for axis in range(1, weights.ndim):
        below, above = _sums_before(below, axis), _sums_before(above, axis)
    return below, above


def _sums_before(weights: FloatArray, axis: int) -> FloatArray:
    """The sum of what comes before each face along an axis."""
    sums = np.zeros([length + (other == axis) for other, length in enumerate(weights.shape)])
    np.cumsum(weights, axis, out=sums[(*(slice(None),) * axis, slice(1, None))])
    return sums


def _ends(lower: Places, upper: Places) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Every choice of one end per axis, with its sign in the difference of sums."""
    for lows in product((False, True), repeat=len(lower)):
        ends = zip(lows, lower, upper, strict=True)
        yield (-1) ** sum(lows), tuple(start if low else stop for low, start, stop in ends)


def _between(table: FloatArray, places: Places) -> FloatArray:
    """The sums up to any places; they rise linearly from face to face, as the map is even within a pixel."""
    inside = [np.clip(place, 0, size - 1) for place, size in zip(places, table.shape, strict=True)]
    faces = [np.minimum(place.astype(np.int64), size - 2) for place, size in zip(inside, table.shape, strict=True)]
    total: FloatArray = np.zeros(())
    for steps in product((0, 1), repeat=table.ndim):
        parts = [
            place - face if step else 1 - (place - face) for place, face, step in zip(inside, faces, steps, strict=True)
        ]
        corner = tuple(face + step for face, step in zip(faces, steps, strict=True))
        total = total + reduce(np.multiply, parts) * table[corner]
    return total
