"""Periods: by how much an input must grow for a layer's grid to grow by whole units, with boxes that move along.

A canvas that is longer by whole periods shows what lies outside the input: there the same unit stands further from the
ends. Common periods are tried first, then those that strides measured between two units suggest.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bisection import Guess, bisect
from .canvas import LOWER, UPPER, Bound, Canvas, Side, Test
from .probing import Prober, Refused

COMMON = (64, 448, 192, 320, 960, 256)  # pixels: multiples of common strides, patches and attention windows
FIRST_GROWTH, LARGEST_GROWTH = 3.5, 7  # of a canvas, in lengths of the input
LEAST_GROWTH = 320  # pixels beyond a small input in which the far taps of dilated kernels are looked for
MAX_TERM = 8  # of a stride as a fraction; with larger ones growth is even by rounding alone


class Period(NamedTuple):
    """With every ``pixels`` of input the grid grows by ``units``, and a unit's box moves along."""

    pixels: int
    units: int

    def parts(self) -> Iterator[Period]:
        """Whole shares of the period, and at last the period itself, which may be periods as well."""
        shares = range(math.gcd(self.pixels, self.units), 0, -1)
        yield from (
            Period(self.pixels // n, self.units // n) for n in shares if not (self.pixels % n or self.units % n)
        )


NO_PERIOD = Period(0, 0)


class Canvases:
    """The canvases of one axis: as long as the input or longer, and across the axis as thin as the network takes."""

    def __init__(self, prober: Prober, axis: int, width: int) -> None:
        self.prober, self.axis, self.width = prober, axis, width
        self.length = prober.size[axis]
        self.made: dict[int, Canvas] = {}
        self.least_growth = max(self.length, LEAST_GROWTH) if len(prober.size) > 1 else LEAST_GROWTH

    def __getitem__(self, length: int) -> Canvas:
        """The canvas of a length."""
        if length not in self.made:
            size = [min(self.width, other) for other in self.prober.size]
            size[self.axis] = length
            self.made[length] = Canvas(self.prober, self.axis, size, self.made.get(self.length))
        return self.made[length]

    def repeats(self, pixels: int, growth: float) -> int:
        """How often ``pixels`` are added for the input to grow by ``growth``, as far as the limit on area allows."""
        thickness = math.prod(min(self.width, n) for axis, n in enumerate(self.prober.size) if axis != self.axis)
        room = self.prober.area_limit // thickness - self.length
        largest = max(LARGEST_GROWTH * self.length, 2 * pixels)
        return int(min(math.ceil(min(growth, largest) / pixels), room // pixels))


class PeriodSearch:
    """Finds the periods of the layers whose grid grows evenly with the input."""

    def __init__(self, canvases: Canvases, grid: list[int], strides: Mapping[int, Fraction] | None = None) -> None:
        self.canvases, self.grid = canvases, grid
        self.strides = dict(strides or {})  # of layers of which they are known
        self.found: dict[int, Period] = {}
        self.fixed: set[int] = set()
        self.endless: set[tuple[int, Side]] = set()

    def run(self, growth: float, candidates: Iterable[int]) -> dict[int, Period]:
        """The periods, layer by layer; canvases first grow by ``growth`` pixels, and more where that shows nothing."""
        waiting = {layer for layer in range(len(self.grid)) if layer not in self.found and not self.sees_all(layer)}
        tried: set[int] = set()
        for pixels in candidates if waiting else ():
            if pixels not in tried:
                tried.add(pixels)
                covered = self._try(pixels, growth, waiting)
                self._try(pixels, math.inf, covered)
                waiting -= self.found.keys() | self.fixed
            if not waiting:
                break
        return self.found

    def sees_all(self, layer: int) -> bool:
        """Whether all units of a layer see endlessly far on both sides."""
        return {(layer, side) for side in Side} <= self.endless

    def likely_pixels(self) -> Iterator[int]:
        """Those of known strides, common periods, and those of strides measured now, the most common one first."""
        unknown = set(range(len(self.grid))) - self.strides.keys()
        yield from _doubled(self.strides.values())
        yield COMMON[0]
        yield from _doubled(self._measured(unknown))
        yield from COMMON[1:]

    def _measured(self, layers: Collection[int]) -> set[Fraction]:
        """The strides between a layer's first unit and its centre."""
        ends = {layer: (Bound(layer, UPPER, 0), Bound(layer, UPPER, self.grid[layer] // 2)) for layer in layers}
        own = self.canvases[self.canvases.length]
        bisect(own, [end for pair in ends.values() for end in pair], Guess())
        return {
            Fraction(own.bracket(last)[0] - own.bracket(first)[0], last.unit)
            for first, last in ends.values()
            if last.unit and not own.is_beyond(last)
        }

    def _misfit(self, pixels: int) -> float:
        """How badly a period goes with the sizes of the input and the grids."""
        strides = [self.canvases.length / units for units in self.grid]
        return round(max(abs(pixels / max(2, round(pixels / stride)) - stride) / stride for stride in strides), 1)

    def find_endless(self, covered: Collection[tuple[int, Side]]) -> None:
        """
        Looks whether all units of layers that see the input's end on a side also see that of an input twice as long.

        They are taken to see endlessly far.
        """
        pixels = min(COMMON, key=self._misfit)
        repeats = self.canvases.repeats(pixels, self.canvases.length)
        if not covered or repeats < 1:
            return
        canvas = self.canvases[self.canvases.length + repeats * pixels]
        ends = {test.side: test for test in canvas.strips if test.side in {side for _, side in covered}}
        try:
            canvas.test(ends.values(), {layer for layer, _ in covered})
        except Refused:
            return
        self.endless = {(layer, side) for layer, side in covered if canvas.units_reached(layer, ends[side]).all()}
        for layer in {layer for layer, _ in self.endless}:
            units, rest = divmod(canvas.grid[layer] - self.grid[layer], repeats)
            is_same = canvas.grid[layer] * self.canvases.length == self.grid[layer] * canvas.length
            if not rest and _is_plausible(pixels, units) and (is_same or self.sees_all(layer)):
                self.found[layer] = Period(pixels, units)

    def _try(self, pixels: int, growth: float, layers: set[int]) -> set[int]:
        """Tries a period on a longer canvas; returns the layers of which all units see the canvas's end."""
        length = self.canvases.length
        repeats = self.canvases.repeats(pixels, max(growth, 2 * pixels, self.canvases.least_growth))
        if not layers or not repeats:
            return set()
        canvas = self.canvases[length + repeats * pixels]
        start = 1 if math.isinf(growth) else min(pixels // 2, canvas.length - pixels)
        near, further = Test(LOWER, start), Test(LOWER, start + pixels)
        far_end = [Test(UPPER, canvas.length - start + 1)] if growth else []
        tests = {near, further, *far_end} if layers - self.strides.keys() else set()
        if growth or canvas.length >= 2 * length:
            tests |= set(canvas.tests_beyond.values())
        try:
            canvas.test(tests, layers)
        except Refused:
            return set()
        for layer in layers:
            units, rest = divmod(canvas.grid[layer] - self.grid[layer], repeats)
            if units == rest == 0:
                self.fixed.add(layer)
            reached = canvas.units_reached(layer, near), canvas.units_reached(layer, further)
            moves = self._is_known(layer, pixels, units) or (near in tests and _moves(*reached, units))
            if not rest and _is_plausible(pixels, units) and moves:
                self.found[layer] = Period(pixels, units)
            else:
                self.found.pop(layer, None)
                self.strides.pop(layer, None)
        return {layer for layer in layers & self.found.keys() if canvas.units_reached(layer, near).all()}

    def _is_known(self, layer: int, pixels: int, units: int) -> bool:
        """Whether a layer's units lie as far apart as a period says."""
        return self.strides.get(layer) == Fraction(pixels, units or 1)


def _doubled(strides: Iterable[Fraction]) -> list[int]:
    """Periods of two units or more, the longest first."""
    return sorted({2 * stride.numerator for stride in strides if stride > 0}, reverse=True)


def _is_plausible(pixels: int, units: int) -> bool:
    """Rules out growth that looks even only by rounding."""
    ratio = Fraction(pixels, max(units, 1)).as_integer_ratio()
    return units > 1 and (1 in ratio or max(ratio) <= MAX_TERM)


def _moves(before: NDArray[np.bool_], after: NDArray[np.bool_], units: int) -> bool:
    """Whether NaN that reaches one period further reaches the units that lie as many further.

    Some units may see no input at all, and some, near an end or by shifted windows, other parts of it: it is enough
    that all, their number or the furthest has moved on.
    """
    ends = [int(np.flatnonzero(reached).max(initial=0)) for reached in (before, after)]
    return (
        np.array_equal(after[units:], before[:-units])
        or int(after.sum()) - int(before.sum()) == units
        or ends[1] - ends[0] == units
    )
