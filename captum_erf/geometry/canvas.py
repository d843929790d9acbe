"""A canvas: an input of some size, and what tests on it tell of the bounds of all units along one axis.

A test fills one end of the canvas with NaN. Units whose box starts before the NaN ends, or ends after the NaN starts,
are reached. So every test says of every unit's bound whether it is at least some number, and leaves a narrower bracket
for it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .probing import Prober, Refused

AREA_PER_PASS = 2  # largest canvases, the area of which the tests of one pass may reach


class Side(IntEnum):
    """The end of a box that a bound is."""

    LOWER = 0
    UPPER = 1


LOWER, UPPER = Side


class Bound(NamedTuple):
    """One bound of one unit's box along one axis."""

    layer: int
    side: Side
    unit: int

    @property
    def opposite(self) -> Bound:
        """The unit's other bound."""
        return self._replace(side=UPPER if self.side == LOWER else LOWER)


class Test(NamedTuple):
    """Whether bounds on a side are at least a number, which is one to the canvas's length."""

    side: Side
    number: int

    def nan_positions(self, length: int) -> slice:
        """The end of the canvas that is filled with NaN."""
        return slice(0, self.number) if self.side == LOWER else slice(self.number - 1, length)


class Canvas:
    """
    One size of input, and the brackets in which bounds on it lie.

    A lower bound of 0 and an upper bound of the length stand for "there or further out". A canvas that lengthens a
    ``shorter`` one must have the same grid as that on the other axes. Units of the same place along the axis count
    together, unless only those on the line ``through`` one unit are asked for.
    """

    def __init__(
        self,
        prober: Prober,
        axis: int,
        size: Sequence[int],
        shorter: Canvas | None = None,
        through: tuple[int, ...] | None = None,
    ) -> None:
        self.prober, self.axis, self.size, self.shorter = prober, axis, tuple(size), shorter
        self.through = through
        self.length = self.size[axis]
        self.is_whole_input = self.size == prober.size
        self.grid: dict[int, int] = {}
        self.other_grid: dict[int, tuple[int, ...]] = {}
        self._brackets: dict[tuple[int, Side], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._is_clean = self.length != prober.size[axis] or self.is_whole_input
        self.margin = 1 if self.is_whole_input else min(prober.max_stride, (self.length + 1) // 2)

    @property
    def cost(self) -> float:
        """Share of a pass over the whole input; an axis costs at least what one unit of the coarsest layer does."""
        stride = self.prober.max_stride
        return math.prod(max(length, stride) for length in self.size) / math.prod(self.prober.size)

    @property
    def strips(self) -> list[Test]:
        """The tests with NaN in a strip at either end."""
        return [Test(LOWER, self.margin), Test(UPPER, self.length - self.margin + 1)]

    @property
    def tests_beyond(self) -> dict[Side, Test]:
        """Whether a unit sees what lies beyond the input's left end, once moved right, and beyond its right end."""
        own_length = self.prober.size[self.axis]
        return {LOWER: Test(LOWER, self.length - own_length), UPPER: Test(UPPER, own_length + 1)}

    def test(self, tests: Collection[Test], layers: Iterable[int]) -> None:
        """Runs tests, as many in one pass as memory allows; without any it looks at the grids."""
        tests, layers = sorted(tests), sorted(layers)
        per_pass = max(1, AREA_PER_PASS * self.prober.area_limit // math.prod(self.size))
        for start in range(0, max(len(tests), 1), per_pass):
            self._run(tests[start : start + per_pass], layers)

    def _run(self, tests: list[Test], layers: list[int]) -> None:
        """Runs tests in one pass; the first one also checks that the canvas makes no NaN of its own."""
        canvas = self.prober.canvas(self.size)
        batch = canvas.repeat(max(len(tests) + (not self._is_clean), 1), *[1] * (canvas.ndim - 1))
        for image, test in zip(batch, tests, strict=False):
            image.movedim(self.axis + 1, 0)[test.nan_positions(self.length)] = math.nan
        run = self.prober.reached if self.is_whole_input else self.prober.reached_on_canvas
        found = run(batch, layers)
        if not self._is_clean and any(reached[-1].any() for reached in found):
            raise Refused("the network makes NaN of finite inputs of this size")
        for layer, reached in zip(layers, found, strict=True):
            others = tuple(axis for axis in range(1, reached.ndim) if axis != self.axis + 1)
            self.other_grid[layer] = tuple(reached.shape[axis] for axis in others)
            if self.shorter and self.shorter.other_grid.get(layer, self.other_grid[layer]) != self.other_grid[layer]:
                raise Refused("the grid changes on the other axes")
            self._narrow(layer, self._along_axis(reached, others), tests)
        self._is_clean = True

    def _along_axis(self, reached: NDArray[np.bool_], others: tuple[int, ...]) -> NDArray[np.bool_]:
        if self.through is None:
            return np.asarray(reached.any(axis=others))
        line: list[Any] = [slice(None), *self.through]
        line[self.axis + 1] = slice(None)
        return np.asarray(reached[tuple(line)])

    def _narrow(self, layer: int, reached: NDArray[np.bool_], tests: list[Test]) -> None:
        self.grid[layer] = reached.shape[1]
        for side in Side:
            unknown = np.full(reached.shape[1], np.inf)
            low, high = self._brackets.setdefault((layer, side), (-unknown, unknown))
            for hit, (tested, number) in zip(reached, tests, strict=False):
                if tested == side:
                    at_least = hit if side == UPPER else ~hit
                    low[at_least] = np.maximum(low[at_least], number)
                    high[~at_least] = np.minimum(high[~at_least], number - 1)

    def brackets(self) -> Iterator[tuple[int, Side, NDArray[np.float64], NDArray[np.float64]]]:
        """Layer, side, and the smallest and largest possible bounds of all units; infinite where nothing is known, as
        near the ends, where units see less.
        """
        for (layer, side), (low, high) in self._brackets.items():
            if side == LOWER:
                yield layer, side, np.where(low >= self.margin, low, -np.inf), high
            else:
                yield layer, side, low, np.where(high <= self.length - self.margin, high, np.inf)

    def bracket(self, bound: Bound) -> tuple[int, int]:
        """Smallest and largest possible value of a bound."""
        if (bound.layer, bound.side) not in self._brackets:
            return 0, self.length
        if bound.unit >= self.grid[bound.layer]:
            raise Refused("the grid is smaller than on the input")
        low, high = self._brackets[bound.layer, bound.side]
        return int(np.clip(low[bound.unit], 0, self.length)), int(np.clip(high[bound.unit], 0, self.length))

    def is_beyond(self, bound: Bound) -> bool:
        """Whether a bound is known to lie at its end of the canvas or further out."""
        low, high = self.bracket(bound)
        return high == 0 if bound.side == LOWER else low == self.length

    def is_between(self, layer: int, side: Side, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of a layer's units have a bound that is known to lie in ``[start, stop)``."""
        low, high = self._brackets[layer, side]
        return (low >= start) & (high < stop)

    def units_reached(self, layer: int, test: Test) -> NDArray[np.bool_]:
        """Which of a layer's units the NaN of a test has reached."""
        low, high = self._brackets[layer, test.side]
        return high < test.number if test.side == LOWER else low >= test.number
