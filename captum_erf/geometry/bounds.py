"""Boxes: the bounds of units' theoretical receptive fields, axis by axis, from probing.

Canvases are long on the probed axis only and as thin as the network accepts on the others. Bounds inside the input are
searched on a canvas of the input's own length, at the unit itself. Those outside it need a longer canvas: where the
grid grows by ``d`` units with every ``K`` pixels, ``K`` a multiple of the network's period, ``m * K`` more pixels show
what lies beyond the input's left end at the unit ``m * d`` further right, and beyond its right end at the unit itself.
At the end, NaN on all of the whole input but the box proves that nothing outside the box reaches the unit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .probing import LOWER, UPPER, Canvas, Guess, Prober, Refused, Side, Target, Test

WIDTHS = (1, 4, 16, 32, 64, 96, 128)  # of canvases across the probed axis, tried from thin to thick
PERIODS = (64, 448, 192, 320, 960, 256)  # pixels: multiples of common strides, patches and attention windows
FIRST_GROWTH, LARGEST_GROWTH = 3.5, 7  # of a canvas, in lengths of the input
LEAST_GROWTH = 320  # pixels beyond a small input in which the far taps of dilated kernels are looked for
MAX_TERM = 8  # of a stride as a fraction; with larger ones growth is even by rounding alone
CHEAP = 0.3  # share of a whole pass below which a longer canvas also tests bounds that do not need it
PROOFS_PER_PASS = 4  # whole inputs in a batch


class AxisBox(NamedTuple):
    """A unit's box along one axis; on a global axis, and at a clipped side, it ends with the input."""

    lower: int
    upper: int
    stride: int | float
    is_global: bool = False
    is_clipped: bool = False


class Period(NamedTuple):
    """With every ``pixels`` of input the grid grows by ``units``, and a unit's box moves along."""

    pixels: int
    units: int


Box = tuple[AxisBox, ...]
NO_PERIOD = Period(0, 0)


def find_boxes(prober: Prober, units: Sequence[Sequence[tuple[int, ...]]]) -> list[list[Box]]:
    """The boxes of units, layer by layer."""
    searches: list[_AxisSearch] = []
    for axis in reversed(range(len(prober.size))):
        searches.insert(0, _AxisSearch(prober, axis, units, searches))
        searches[0].run()
    boxes = [
        [tuple(search.box(layer, unit[search.axis]) for search in searches) for unit in layer_units]
        for layer, layer_units in enumerate(units)
    ]
    for layer, place in _unproved(prober, units, boxes):
        boxes[layer][place] = _search_whole_input(prober, layer, units[layer][place], boxes[layer][place])
    _check_reached(prober, units, boxes)
    return boxes


class _AxisSearch:
    """The search along one axis, which starts from what earlier axes have shown."""

    def __init__(
        self,
        prober: Prober,
        axis: int,
        units: Sequence[Sequence[tuple[int, ...]]],
        earlier: Sequence[_AxisSearch],
    ) -> None:
        self.prober, self.axis, self.length = prober, axis, prober.size[axis]
        self.targets = {
            Target(layer, side, unit[axis])
            for layer, layer_units in enumerate(units)
            for unit in layer_units
            for side in (LOWER, UPPER)
        }
        self.width: int = earlier[0].width if earlier else 1
        self.grid = [grid[axis] for grid in prober.grids]
        self.layers = range(len(self.grid))
        alike = [other for other in earlier if (other.length, other.grid) == (self.length, self.grid)]
        self.inherited = bool(alike)
        self.periods: dict[int, Period] = alike[0].periods if alike else {}
        self.guess: Guess = alike[0].guess if alike else Guess()
        self.fixed: set[int] = set()
        self.canvases: dict[int, Canvas] = {}
        self.inside: dict[Target, int] = {}
        self.outside: dict[Target, int] = {}

    def run(self) -> None:
        own = self._own_canvas()
        if not self.inherited:
            self._find_periods(own)
        self.guess.strides = {layer: float(self.stride(layer)) for layer in self.layers}
        for canvas in (own, *self.canvases.values()):
            self.guess.learn(canvas)
        near = {target for target in self.targets if self._is_near_end(target, own)}
        if self.inherited and self.targets - near:
            self._look_beyond()
        near |= {target for target in self.targets if self._growth_seen(target)}
        self._search_longer(near, self.targets - near)
        searched = self.targets - (near & self.outside.keys())
        own.search(searched, self.guess)
        self.inside = {target: own.bracket(target)[0] for target in searched if not own.is_beyond(target)}
        self._search_longer({target for target in self.inside if self.guess.is_torn(target)})

    def box(self, layer: int, unit: int) -> AxisBox:
        """The box of a unit; a longer canvas counts where it shows no less than the input's own length does."""
        lower, upper = Target(layer, LOWER, unit), Target(layer, UPPER, unit)
        shows_lower = self.outside.get(lower, 0) <= self.inside.get(lower, self.length)
        shows_upper = self.outside.get(upper, self.length) >= self.inside.get(upper, 0)
        bounds = self.inside | self.outside if shows_lower and shows_upper else self.inside
        known = [target in bounds for target in (lower, upper)]
        return AxisBox(
            bounds.get(lower, 0), bounds.get(upper, self.length), self.stride(layer), not any(known), sum(known) == 1
        )

    def stride(self, layer: int) -> int | float:
        period = self.periods.get(layer)
        ratio = Fraction(*period) if period else Fraction(self.length, self.grid[layer])
        nearest = round(ratio)
        if ratio == nearest or (not period and abs(ratio - nearest) <= 0.1 * ratio):
            return nearest
        return float(ratio)

    def _canvas(self, length: int) -> Canvas:
        if length not in self.canvases:
            size = [min(self.width, other) for other in self.prober.size]
            size[self.axis] = length
            self.canvases[length] = Canvas(self.prober, self.axis, size, self.canvases.get(self.length))
        return self.canvases[length]

    def _own_canvas(self) -> Canvas:
        """The thinnest canvas of the input's own length that the network accepts, first tests run."""
        widths = sorted({self.width, max(self.prober.size), *WIDTHS})
        for width in widths[widths.index(self.width) :]:
            self.width = width
            self.canvases.clear()
            canvas = self._canvas(self.length)
            try:
                if self.inherited:
                    canvas.search(self.targets, self.guess)
                else:
                    canvas.test(canvas.strips, self.layers)
            except Refused:
                continue
            if canvas.is_whole_input or self._is_alike(canvas):
                return canvas
        raise AssertionError("unreachable: the whole input is never refused")

    def _is_alike(self, canvas: Canvas) -> bool:
        """Whether a thin canvas has the whole input's grid along the axis, and the input still reaches the units."""
        if any(canvas.grid[layer] != self.grid[layer] for layer in canvas.grid):
            return False
        return self.inherited or all(
            any(canvas.units_reached(layer, strip).any() for strip in canvas.strips) for layer in self.layers
        )

    def _find_periods(self, own: Canvas) -> None:
        """Fills ``periods`` for the layers whose grid grows evenly with the input."""
        growth: float = self.length if any(self._is_near_end(target, own) for target in self.targets) else 0
        if any(all(own.units_reached(layer, strip).all() for strip in own.strips) for layer in self.layers):
            growth = FIRST_GROWTH * self.length
        waiting = set(self.layers)
        for pixels in self._likely_periods(own, waiting):
            covered = self._try_period(pixels, growth, waiting)
            self._try_period(pixels, math.inf, covered)
            waiting -= self.periods.keys() | self.fixed

    def _likely_periods(self, own: Canvas, waiting: Collection[int]) -> Iterator[int]:
        """Common periods, and those of strides measured between two units, the most common one first."""
        yield PERIODS[0]
        ends = {layer: (Target(layer, UPPER, 0), Target(layer, UPPER, self.grid[layer] // 2)) for layer in waiting}
        own.search([end for pair in ends.values() for end in pair], Guess())
        strides = {
            Fraction(own.bracket(last)[0] - own.bracket(first)[0], last.unit)
            for first, last in ends.values()
            if last.unit and not own.is_beyond(last)
        }
        yield from sorted((2 * stride.numerator for stride in strides if stride > 0), reverse=True)
        yield from PERIODS[1:]

    def _try_period(self, pixels: int, growth: float, layers: set[int]) -> set[int]:
        """Tries a period on a longer canvas; returns the layers of which all units see the canvas's end."""
        repeats = self._repeats(pixels, max(growth, 2 * pixels, self.length, LEAST_GROWTH))
        if not layers or not repeats:
            return set()
        canvas = self._canvas(self.length + repeats * pixels)
        start = 1 if math.isinf(growth) else min(pixels // 2, canvas.length - pixels)
        tests = [(LOWER, start), (LOWER, start + pixels)]
        far_end = [(UPPER, canvas.length - start + 1)] if growth else []
        try:
            canvas.test({*tests, *far_end, *self._tests_beyond(canvas).values()}, layers)
        except Refused:
            return set()
        for layer in layers:
            units, rest = divmod(canvas.grid[layer] - self.grid[layer], repeats)
            if units == rest == 0:
                self.fixed.add(layer)
            before, after = (canvas.units_reached(layer, test) for test in tests)
            if not rest and _is_plausible(pixels, units) and _moves(before, after, units):
                self.periods[layer] = Period(pixels, units)
            else:
                self.periods.pop(layer, None)
        return {layer for layer in layers & self.periods.keys() if canvas.units_reached(layer, tests[0]).all()}

    def _tests_beyond(self, canvas: Canvas) -> dict[Side, Test]:
        """Whether a unit sees what lies beyond the input's left end, once moved right, and beyond its right end."""
        return {LOWER: (LOWER, canvas.length - self.length), UPPER: (UPPER, self.length + 1)}

    def _look_beyond(self) -> None:
        """Tests for far taps of dilated kernels, which lie outside the input on both sides of what a unit sees."""
        for pixels in {period.pixels for period in self.periods.values()}:
            repeats = self._repeats(pixels, max(self.length, LEAST_GROWTH))
            if repeats:
                canvas = self._canvas(self.length + repeats * pixels)
                layers = [layer for layer, period in self.periods.items() if period.pixels == pixels]
                with suppress(Refused):
                    canvas.test(self._tests_beyond(canvas).values(), layers)

    def _growth_seen(self, target: Target) -> int:
        """By how much the shortest canvas on which a bound lies outside the input is longer; 0 where none shows it."""
        period = self.periods.get(target.layer, NO_PERIOD)
        for growth, canvas in sorted((length - self.length, canvas) for length, canvas in self.canvases.items()):
            if growth > 0 and period.pixels and growth % period.pixels == 0 and target.layer in canvas.grid:
                unit = self._moved(target, growth // period.pixels).unit
                reached = canvas.units_reached(target.layer, self._tests_beyond(canvas)[target.side])
                if reached[unit : unit + 1].any():
                    return growth
        return 0

    def _moved(self, target: Target, repeats: int) -> Target:
        """The bound on a canvas longer by so many periods: lower ones of units moved right, upper ones in place."""
        moved = target.unit + repeats * self.periods[target.layer].units
        return target._replace(unit=moved) if target.side == LOWER else target

    def _repeats(self, pixels: int, growth: float) -> int:
        """How often ``pixels`` are added for the input to grow by ``growth``, as far as the limit on area allows."""
        thickness = math.prod(min(self.width, n) for axis, n in enumerate(self.prober.size) if axis != self.axis)
        room = self.prober.area_limit // thickness - self.length
        largest = max(LARGEST_GROWTH * self.length, 2 * pixels)
        return int(min(math.ceil(min(growth, largest) / pixels), room // pixels))

    def _is_near_end(self, target: Target, own: Canvas) -> bool:
        """Whether a bound may lie outside, or so near the end that the units beyond would have seen further.

        Up to a stride of pixels at an end may be used by no unit, as where a patch does not fit any more.
        """
        (low, high), (likely_low, likely_high) = own.bracket(target), self.guess.interval(target)
        margin = max(self.stride(target.layer), own.margin)
        if target.side == LOWER:
            return min(max(low, likely_low), high) < margin
        return max(min(high, likely_high), low) > self.length - margin

    def _search_longer(self, targets: Collection[Target], alongside: Collection[Target] = ()) -> None:
        """Finds bounds on longer canvases, ``alongside`` others as checks or where they are cheap."""
        for pixels in {period.pixels for period in self.periods.values()}:
            moving = {target for target in self.targets if self.periods.get(target.layer, NO_PERIOD).pixels == pixels}
            self._search_period(pixels, moving.intersection(targets), moving.intersection(alongside))

    def _search_period(self, pixels: int, targets: set[Target], alongside: set[Target]) -> None:
        repeats = 0
        while targets:
            growth = max(self._growth_needed(target) for target in targets)
            likely, largest = (self._repeats(pixels, more) for more in (growth, math.inf))
            repeats, tried = largest if repeats else likely, repeats
            if repeats <= tried:
                return
            canvas = self._canvas(self.length + repeats * pixels)
            cheap = canvas.cost <= CHEAP and not self.inherited
            checks = {target for target in alongside if cheap or target.opposite in targets}
            try:
                self._search_canvas(canvas, repeats, targets | checks)
            except Refused:
                return
            targets = targets - self.outside.keys()

    def _growth_needed(self, target: Target) -> float:
        low, high = self.guess.interval(target)
        return max(1.0, 1 - low if target.side == LOWER else high - self.length + 1, self._growth_seen(target))

    def _search_canvas(self, canvas: Canvas, repeats: int, targets: set[Target]) -> None:
        """Keeps the bounds that a longer canvas holds."""
        there = {target: self._moved(target, repeats) for target in targets}
        canvas.search(there.values(), self.guess)
        for layer in {target.layer for target in targets}:
            if canvas.grid[layer] != self.grid[layer] + repeats * self.periods[layer].units:
                raise Refused
        for target, moved in there.items():
            if not canvas.is_beyond(moved):
                shift = (canvas.length - self.length) * (target.side == LOWER)
                self.outside[target] = canvas.bracket(moved)[0] - shift


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


def _check_reached(prober: Prober, units: Sequence[Sequence[tuple[int, ...]]], boxes: Sequence[Sequence[Box]]) -> None:
    for layer, layer_units, layer_boxes in zip(prober.layers, units, boxes, strict=True):
        for unit, box in zip(layer_units, layer_boxes, strict=True):
            if any(axis.upper <= 0 or axis.lower >= length for axis, length in zip(box, prober.size, strict=True)):
                raise ValueError(
                    f"The input has no influence on unit {unit} of layer {layer.name!r}: it sees only padding or "
                    "constants, or what reaches it swallows NaN, as sign() and quantised layers do. Choose another "
                    "position or layer."
                )


def _unproved(
    prober: Prober, units: Sequence[Sequence[tuple[int, ...]]], boxes: Sequence[Sequence[Box]]
) -> list[tuple[int, int]]:
    """The units that NaN outside their box reaches on the whole input."""
    whole = tuple(slice(0, length) for length in prober.size)
    claims = [
        (layer, place, inside)
        for layer, layer_boxes in enumerate(boxes)
        for place, box in enumerate(layer_boxes)
        if (inside := _inside(box, prober.size)) != whole
    ]
    failed = []
    for start in range(0, len(claims), PROOFS_PER_PASS):
        chunk = claims[start : start + PROOFS_PER_PASS]
        batch = torch.full_like(prober.sample, math.nan).repeat(len(chunk), *[1] * (prober.sample.ndim - 1))
        for image, (_, _, inside) in zip(batch, chunk, strict=True):
            image[:, *inside] = prober.sample[0][:, *inside]
        layers = sorted({layer for layer, _, _ in chunk})
        reached = dict(zip(layers, prober.reached(batch, layers), strict=True))
        failed += [
            (layer, place) for row, (layer, place, _) in enumerate(chunk) if reached[layer][(row, *units[layer][place])]
        ]
    return failed


def _inside(box: Box, size: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(max(a.lower, 0), min(a.upper, length)) for a, length in zip(box, size, strict=True))


def _search_whole_input(prober: Prober, layer: int, unit: tuple[int, ...], box: Box) -> Box:
    """A unit's box, as far as the input reaches on axes where the box missed a part of it."""
    return tuple(_search_whole_axis(prober, axis, layer, unit[axis], missed) for axis, missed in enumerate(box))


def _search_whole_axis(prober: Prober, axis: int, layer: int, unit: int, box: AxisBox) -> AxisBox:
    canvas, guess = Canvas(prober, axis, prober.size), Guess()
    guess.strides = {layer: float(box.stride)}
    sides = [Target(layer, side, unit) for side in (LOWER, UPPER)]
    canvas.test(canvas.strips, [layer])
    canvas.search(sides, guess)
    lower, upper = (canvas.bracket(side)[0] for side in sides)
    if max(box.lower, 0) <= lower and upper <= min(box.upper, canvas.length):
        return box
    beyond = [canvas.is_beyond(side) for side in sides]
    return AxisBox(lower, upper, box.stride, all(beyond), sum(beyond) == 1)
