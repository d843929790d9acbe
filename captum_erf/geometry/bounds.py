"""Bounds: where units' boxes start and end along one axis.

Bounds inside the input are searched on a canvas of the input's own length, at the unit itself. Those outside it need a
longer canvas: where the grid grows by ``d`` units with every ``K`` pixels, ``m * K`` more pixels show what lies beyond
the input's left end at the unit ``m * d`` further right, and beyond its right end at the unit itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from contextlib import suppress

from .bisection import Guess, bisect
from .canvas import LOWER, Bound, Canvas, Side, Test
from .extents import Unit
from .field import AxisBox, axis_stride
from .pattern import Pattern, find_patterns
from .periods import FIRST_GROWTH, NO_PERIOD, Canvases, Period, PeriodSearch
from .probing import Prober, Refused

CHEAP = 0.3  # share of a whole pass below which a longer canvas also tests bounds that do not need it
WIDTHS = (1, 4, 16, 32, 64, 96, 128)  # of canvases across the axis, tried from thin to thick


class AxisSearch:
    """The search along one axis, which starts from what the search along a like axis has shown."""

    def __init__(
        self, prober: Prober, axis: int, units: Sequence[Sequence[Unit]], earlier: Sequence[AxisSearch]
    ) -> None:
        self.axis, self.length, self.units = axis, prober.size[axis], units
        self.grid = [grid[axis] for grid in prober.grids]
        self.bounds = {
            Bound(layer, side, unit[axis])
            for layer, layer_units in enumerate(units)
            for unit in layer_units
            for side in Side
        }
        like = next((other for other in earlier if (other.length, other.grid) == (self.length, self.grid)), None)
        self.is_repeated = like is not None
        self.periods: dict[int, Period] = like.periods if like else {}
        self.endless: set[tuple[int, Side]] = like.endless if like else set()
        self.guess: Guess = like.guess if like else Guess()
        self.canvases: Canvases = Canvases(prober, axis, earlier[0].canvases.width if earlier else 1)
        self.like = like
        self.inside: dict[Bound, int] = {}
        self.outside: dict[Bound, int] = {}
        self.patterns: dict[int, Pattern] = {}

    def run(self, *, all_patterns: bool = False) -> None:
        """Finds all bounds, and the patterns of layers that merge scales, or of all of them."""
        own = self._own_canvas()
        if not self.is_repeated:
            self._find_periods(own)
        self.guess.strides = {layer: float(self.stride(layer)) for layer in self._layers}
        self._learn()
        if all_patterns and not self.is_repeated:
            self._find_patterns(self._layers, whole=True)
        ending = {bound for bound in self.bounds if bound[:2] not in self.endless}
        near = {bound for bound in ending if self._is_near_end(bound, own)}
        if self.is_repeated and ending - near:
            self._look_beyond()
        near |= {bound for bound in ending if self._growth_seen(bound)}
        self._search_longer(near, ending - near)
        searched = ending - (near & self.outside.keys())
        bisect(own, searched, self.guess)
        self.inside = {bound: own.bracket(bound)[0] for bound in searched if not own.is_beyond(bound)}
        self._search_longer({bound for bound in self.inside if self.guess.is_torn(bound)})
        for pixels in self._layers_by_period():
            self._confirm(own, pixels)
        if self.like and (self.like.inside, self.like.outside) == (self.inside, self.outside):
            self.patterns = self.like.patterns
        else:
            known = self.inside | self.outside
            whole = {bound for bound in self.bounds if bound in known and bound.opposite in known}
            layers = {bound.layer for bound in whole if all_patterns or self.guess.is_torn(bound)}
            self._find_patterns(layers, whole=all_patterns)

    def _learn(self) -> None:
        for canvas in self.canvases.made.values():
            self.guess.learn(canvas)

    def _find_patterns(self, layers: Collection[int], *, whole: bool) -> None:
        layers = self.periods.keys() & set(layers) - self.patterns.keys()
        self.patterns |= find_patterns(self.canvases, self.guess, self.periods, layers, whole=whole)
        self._learn()

    def _confirm(self, own: Canvas, pixels: int) -> None:
        """Lets go of bounds that differ between longer canvases, as they do where fields grow with the input.

        Those on the input's own length stand for them. Only layers whose units differ need the look.
        """
        layers = self._layers_by_period()[pixels]
        doubtful = {bound for bound in self.outside if bound.layer in layers and self.guess.is_torn(bound)}
        tried = [length for length in self.canvases.made if (length - self.length) % pixels == 0]
        repeats = (max(tried) - self.length) // pixels + 1
        if repeats > self.canvases.repeats(pixels, math.inf):
            repeats -= 2
        if not doubtful or repeats < 1:
            return
        canvas = self.canvases[self.length + repeats * pixels]
        shift = canvas.length - self.length
        expected = {bound: self.outside[bound] + shift * (bound.side == LOWER) for bound in doubtful}
        numbers = {(bound.side, number + more) for bound, number in expected.items() for more in (0, 1)}
        tests = {Test(*pair) for pair in numbers if 1 <= pair[1] <= canvas.length}
        try:
            canvas.test(tests, {bound.layer for bound in doubtful})
            found = {bound: canvas.bracket(self._moved(bound, repeats)) for bound in doubtful}
        except Refused:
            return
        growing = {bound.layer for bound, (low, high) in found.items() if not low <= expected[bound] <= high}
        for layer in growing:
            del self.periods[layer]
        self.outside = {bound: number for bound, number in self.outside.items() if bound.layer not in growing}
        again = {bound for bound in self.bounds if bound.layer in growing}
        bisect(own, again, Guess())
        self.inside |= {bound: own.bracket(bound)[0] for bound in again if not own.is_beyond(bound)}

    @property
    def is_on_whole_input(self) -> bool:
        """Whether the network takes nothing thinner than the whole input."""
        return self.canvases[self.length].is_whole_input

    @property
    def is_proved(self) -> bool:
        """Whether all bounds inside the input were found on a canvas of its length, none on longer ones alone."""
        return all(
            number <= 0 if bound.side == LOWER else number >= self.length
            for bound, number in self.outside.items()
            if self.inside.get(bound) != number
        )

    def box(self, layer: int, unit: int) -> AxisBox:
        """The box of a unit; a longer canvas counts where it shows no less than the input's own length does."""
        lower, upper = (Bound(layer, side, unit) for side in Side)
        shows_lower = self.outside.get(lower, 0) <= self.inside.get(lower, self.length)
        shows_upper = self.outside.get(upper, self.length) >= self.inside.get(upper, 0)
        found = self.inside | self.outside if shows_lower and shows_upper else self.inside
        known = [bound in found for bound in (lower, upper)]
        start, stop, stride = found.get(lower, 0), found.get(upper, self.length), self.stride(layer)
        if not all(known):
            return AxisBox(start, stop, stride, is_global=not any(known), is_clipped=any(known))
        pattern = self.patterns.get(layer)
        if pattern is None:
            return AxisBox(start, stop, stride, center=(start + stop - 1) / 2)
        halo = (pattern.before, pattern.after)
        return AxisBox(start, stop, stride, center=pattern.offset + stride * unit, halo=halo)

    def stride(self, layer: int) -> int | float:
        """Pixels from one unit to the next, by the period or else by the sizes of the input and the grid."""
        period = self.periods.get(layer)
        return axis_stride(*period, is_exact=True) if period else axis_stride(self.length, self.grid[layer])

    @property
    def _layers(self) -> range:
        return range(len(self.grid))

    def _own_canvas(self) -> Canvas:
        """The thinnest canvas of the input's own length that the network accepts, first tests run."""
        prober, thinnest = self.canvases.prober, self.canvases.width
        widths = sorted({thinnest, max(prober.size), *WIDTHS})
        for width in widths[widths.index(thinnest) :]:
            self.canvases = Canvases(prober, self.axis, width)
            canvas = self.canvases[self.length]
            try:
                if self.is_repeated:
                    bisect(canvas, self.bounds, self.guess)
                else:
                    canvas.test(canvas.strips, self._layers)
            except Refused:
                continue
            if canvas.is_whole_input or self._is_alike(canvas):
                return canvas
        raise AssertionError("unreachable: the whole input is never refused")

    def _is_alike(self, canvas: Canvas) -> bool:
        """Whether a thin canvas has the whole input's grid along the axis, and the input still reaches the units."""
        if any(canvas.grid[layer] != self.grid[layer] for layer in canvas.grid):
            return False
        return self.is_repeated or all(
            any(canvas.units_reached(layer, strip).any() for strip in canvas.strips) for layer in self._layers
        )

    def _find_periods(self, own: Canvas) -> None:
        """Finds by how much the input must grow for the grids to grow evenly."""
        search = PeriodSearch(self.canvases, self.grid)
        self.periods = search.run(self._first_growth(own), search.likely_pixels())

    def _first_growth(self, own: Canvas) -> float:
        """By how much the first longer canvas grows: more where units may see far beyond the input, or all of it."""
        if any(all(own.units_reached(layer, strip).all() for strip in own.strips) for layer in self._layers):
            return FIRST_GROWTH * self.length
        return self.length if any(self._is_near_end(bound, own) for bound in self.bounds) else 0

    def _look_beyond(self) -> None:
        """Tests for far taps of dilated kernels, which lie outside the input on both sides of what a unit sees."""
        for pixels, layers in self._layers_by_period().items():
            repeats = self.canvases.repeats(pixels, self.canvases.least_growth)
            if repeats:
                canvas = self.canvases[self.length + repeats * pixels]
                with suppress(Refused):
                    canvas.test(canvas.tests_beyond.values(), layers)

    def _layers_by_period(self) -> dict[int, set[int]]:
        layers: dict[int, set[int]] = {}
        for layer, period in self.periods.items():
            layers.setdefault(period.pixels, set()).add(layer)
        return layers

    def _growth_seen(self, bound: Bound) -> int:
        """By how much the shortest canvas on which a bound lies outside the input is longer; 0 where none shows it."""
        period = self.periods.get(bound.layer, NO_PERIOD)
        for growth, canvas in sorted((length - self.length, canvas) for length, canvas in self.canvases.made.items()):
            if growth > 0 and period.pixels and growth % period.pixels == 0 and bound.layer in canvas.grid:
                unit = self._moved(bound, growth // period.pixels).unit
                reached = canvas.units_reached(bound.layer, canvas.tests_beyond[bound.side])
                if reached[unit : unit + 1].any():
                    return growth
        return 0

    def _moved(self, bound: Bound, repeats: int) -> Bound:
        """The bound on a canvas longer by so many periods: lower ones of units moved right, upper ones in place."""
        moved = bound.unit + repeats * self.periods[bound.layer].units
        return bound._replace(unit=moved) if bound.side == LOWER else bound

    def _is_near_end(self, bound: Bound, own: Canvas) -> bool:
        """Whether a bound may lie outside, or so near the end that the units beyond would have seen further.

        Up to a stride of pixels at an end may be used by no unit, as where a patch does not fit any more.
        """
        (low, high), (likely_low, likely_high) = own.bracket(bound), self.guess.likely(bound)
        margin = max(self.stride(bound.layer), own.margin)
        if bound.side == LOWER:
            return min(max(low, likely_low), high) < margin
        return max(min(high, likely_high), low) > self.length - margin

    def _search_longer(self, bounds: Collection[Bound], alongside: Collection[Bound] = ()) -> None:
        """Finds bounds on longer canvases, ``alongside`` others as checks or where they are cheap."""
        for pixels, layers in self._layers_by_period().items():
            moving = {bound for bound in self.bounds if bound.layer in layers}
            self._search_period(pixels, moving.intersection(bounds), moving.intersection(alongside))

    def _search_period(self, pixels: int, bounds: set[Bound], alongside: set[Bound]) -> None:
        repeats = 0
        while bounds:
            growth = max(self._growth_needed(bound) for bound in bounds)
            likely, largest = (self.canvases.repeats(pixels, more) for more in (growth, math.inf))
            repeats, tried = largest if repeats else likely, repeats
            if repeats <= tried:
                return
            canvas = self.canvases[self.length + repeats * pixels]
            is_cheap = canvas.cost <= CHEAP and not self.is_repeated
            checks = {bound for bound in alongside if is_cheap or bound.opposite in bounds}
            try:
                self._search_canvas(canvas, repeats, bounds | checks)
            except Refused:
                return
            bounds = bounds - self.outside.keys()

    def _growth_needed(self, bound: Bound) -> float:
        return max(1.0, self._outside(bound), self._growth_seen(bound))

    def _outside(self, bound: Bound) -> float:
        """How many pixels further out than the input's end a bound may lie."""
        low, high = self.guess.likely(bound)
        return 1 - low if bound.side == LOWER else high - self.length + 1

    def _search_canvas(self, canvas: Canvas, repeats: int, bounds: set[Bound]) -> None:
        """Keeps the bounds that a longer canvas holds."""
        there = {bound: self._moved(bound, repeats) for bound in bounds}
        bisect(canvas, there.values(), self.guess)
        for layer in {bound.layer for bound in bounds}:
            if canvas.grid[layer] != self.grid[layer] + repeats * self.periods[layer].units:
                raise Refused("the grid grows unevenly")
        for bound, moved in there.items():
            if not canvas.is_beyond(moved):
                shift = (canvas.length - self.length) * (bound.side == LOWER)
                self.outside[bound] = canvas.bracket(moved)[0] - shift
