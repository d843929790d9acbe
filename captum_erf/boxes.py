"""Boxes: the bounds of units' theoretical receptive fields, axis by axis, from probing.

Canvases are long on the probed axis only and as thin as the network accepts on the others. Bounds inside the input are
searched on a canvas of the input's own length, at the unit itself. Those outside it need a longer canvas: where the
grid grows by ``d`` units with every ``K`` pixels, ``K`` a multiple of the network's period, ``m * K`` more pixels show
what lies beyond the input's left end at the unit ``m * d`` further right, and beyond its right end at the unit itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import torch

from captum_erf.probing import LOWER, UPPER, Canvas, Guess, Prober, Refused, Target, Test

WIDTHS = (1, 4, 16, 32, 64, 128)
PERIODS = (64, 448, 192, 320, 960)
LARGEST_GROWTH = 7
MAX_STRIDE_DENOMINATOR = 8
PROOFS_PER_PASS = 4


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


def find_boxes(prober: Prober, units: Sequence[Sequence[tuple[int, ...]]]) -> list[list[Box]]:
    """The boxes of units, layer by layer."""
    searches: list[_AxisSearch] = []
    for axis in range(len(prober.size)):
        searches.append(_AxisSearch(prober, axis, units, searches))
        searches[-1].run()
    boxes = [
        [tuple(search.box(layer, unit[search.axis]) for search in searches) for unit in layer_units]
        for layer, layer_units in enumerate(units)
    ]
    for layer, place in _unproved(prober, units, boxes):
        boxes[layer][place] = _search_whole_input(prober, layer, units[layer][place], boxes[layer][place])
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
        self.targets = sorted(
            {
                Target(layer, side, unit[axis])
                for layer, layer_units in enumerate(units)
                for unit in layer_units
                for side in (LOWER, UPPER)
            }
        )
        self.width = earlier[-1].width if earlier else 1
        self.grid = [grid[axis] for grid in prober.grids]
        self.periods: dict[int, Period | None] = {}
        self.guess = Guess()
        alike = [other for other in earlier if (other.length, other.grid) == (self.length, self.grid)]
        if alike:
            self.periods, self.guess = alike[0].periods, alike[0].guess
        self.bounds: dict[Target, int] = {}

    def run(self) -> None:
        own = self._own_canvas()
        longer = self._find_periods(own)
        self.guess.strides = {layer: float(self.stride(layer)) for layer in range(len(self.grid))}
        for canvas in (own, *longer):
            self.guess.learn(canvas)
        inside = [target for target in self.targets if not own.is_beyond(target)]
        own.search(inside, self.guess)
        self.bounds = {target: own.bracket(target)[0] for target in inside}
        self.inside = set(inside)
        self._check_reached()
        outside = [target for target in self.targets if target not in self.bounds]
        for period in sorted({period for period in self.periods.values() if period}):
            layers = {layer for layer, other in self.periods.items() if other == period}
            self._search_outside(period, [target for target in outside if target.layer in layers], longer)

    def _check_reached(self) -> None:
        for target in self.inside:
            if self.bounds[target] == (self.length if target.side == LOWER else 0):
                raise ValueError(
                    f"The input has no influence on unit {target.unit} (along axis {self.axis}) of layer "
                    f"{self.prober.layers[target.layer].name!r}: it sees only padding or constants, or the layer "
                    "stands before the input's first use. Choose another position or layer."
                )

    def stride(self, layer: int) -> int | float:
        period = self.periods.get(layer)
        ratio = Fraction(*period) if period else Fraction(self.length, self.grid[layer])
        nearest = round(ratio)
        if ratio == nearest or (not period and abs(ratio - nearest) <= 0.1 * ratio):
            return nearest
        return float(ratio)

    def box(self, layer: int, unit: int) -> AxisBox:
        lower = self.bounds.get(Target(layer, LOWER, unit))
        upper = self.bounds.get(Target(layer, UPPER, unit))
        return AxisBox(
            0 if lower is None else lower,
            self.length if upper is None else upper,
            self.stride(layer),
            is_global=lower is None and upper is None,
            is_clipped=(lower is None) != (upper is None),
        )

    def _canvas(self, length: int) -> Canvas:
        size = [min(self.width, other) for other in self.prober.size]
        size[self.axis] = length
        return Canvas(self.prober, self.axis, size)

    def _own_canvas(self) -> Canvas:
        """The thinnest canvas of the input's own length that the network accepts, its ends tested."""
        widths = sorted({self.width, max(self.prober.size), *WIDTHS})
        for self.width in widths[widths.index(self.width) :]:
            canvas = self._canvas(self.length)
            try:
                if self.periods:
                    canvas.search(self.targets, self.guess, canvas.ends)
                else:
                    canvas.test(canvas.ends, range(len(self.grid)))
            except Refused:
                continue
            if canvas.is_whole_input or [canvas.grid[layer] for layer in range(len(self.grid))] == self.grid:
                return canvas
        raise AssertionError("unreachable: the whole input is never refused")

    def _find_periods(self, own: Canvas) -> list[Canvas]:
        """Fills ``periods``: None for layers whose grid does not grow evenly with the input."""
        everywhere = all(
            own.count_reached(layer, test) == n for layer, n in enumerate(self.grid) for test in own.ends
        )
        canvases = []
        for pixels in PERIODS:
            waiting = [layer for layer in range(len(self.grid)) if layer not in self.periods]
            repeats = self._repeats(pixels, LARGEST_GROWTH * self.length if everywhere else self.length)
            if not waiting or not repeats:
                continue
            canvas = self._canvas(self.length + repeats * pixels)
            moved = [(LOWER, 1 + pixels), (UPPER, canvas.length - pixels)]
            try:
                canvas.test([*canvas.ends, *moved], range(len(self.grid)))
            except Refused:
                continue
            canvases.append(canvas)
            for layer in waiting:
                growth = canvas.grid[layer] - self.grid[layer]
                if growth == 0:
                    self.periods[layer] = None
                elif growth > 0 and growth % repeats == 0:
                    period = Period(pixels, growth // repeats)
                    if _is_period(canvas, layer, period, zip(canvas.ends, moved, strict=True)):
                        self.periods[layer] = period
        self.periods.update({layer: self.periods.get(layer) for layer in range(len(self.grid))})
        return canvases

    def _repeats(self, pixels: int, growth: float) -> int:
        """How often ``pixels`` are added for the input to grow by ``growth``, as far as the limit on area allows."""
        thickness = math.prod(
            min(self.width, n) for axis, n in enumerate(self.prober.size) if axis != self.axis
        )
        room = self.prober.area_limit // thickness - self.length
        return int(min(math.ceil(min(growth, LARGEST_GROWTH * self.length) / pixels), room // pixels))

    def _search_outside(self, period: Period, targets: Iterable[Target], canvases: Sequence[Canvas]) -> None:
        """Finds the bounds outside the input, first on the smallest canvas that is likely to hold them."""
        waiting, repeats = set(targets), 0
        while waiting:
            growth = max(self._growth_needed(target) for target in waiting)
            likely, largest = (self._repeats(period.pixels, pixels) for pixels in (growth, math.inf))
            needed = likely if likely > repeats else largest
            if needed <= repeats:
                return
            lengths = range(
                self.length + needed * period.pixels, self.length + 2 * needed * period.pixels, period.pixels
            )
            canvas = next((c for c in canvases if c.length in lengths), None) or self._canvas(lengths[0])
            repeats = (canvas.length - self.length) // period.pixels
            try:
                waiting -= self._search_longer(canvas, period, repeats, waiting)
            except Refused:
                return

    def _growth_needed(self, target: Target) -> float:
        low, high = self.guess.interval(target)
        return max(1.0, 1 - low if target.side == LOWER else high - self.length + 1)

    def _search_longer(
        self, canvas: Canvas, period: Period, repeats: int, targets: Iterable[Target]
    ) -> set[Target]:
        """Keeps the bounds found on a longer canvas; returns the targets that do not lie beyond it either."""
        pixels, units = repeats * period.pixels, repeats * period.units
        there = {
            target: target._replace(unit=target.unit + units * (target.side == LOWER)) for target in targets
        }
        opposite = {
            target: (
                there[target]._replace(side=1 - target.side),
                self.bounds[other] + pixels * (target.side == LOWER),
            )
            for target in targets
            if (other := target._replace(side=1 - target.side)) in self.inside
        }
        first = {(other.side, bound + more) for other, bound in opposite.values() for more in (0, 1)}
        canvas.search(list(there.values()), self.guess, first)
        if any(canvas.grid[target.layer] != self.grid[target.layer] + units for target in targets):
            raise Refused
        settled = {target for target in targets if not canvas.is_beyond(there[target])}
        for target in settled:
            other = opposite.get(target)
            if other is None or canvas.bracket(other[0]) == (other[1], other[1]):
                self.bounds[target] = canvas.bracket(there[target])[0] - pixels * (target.side == LOWER)
        return settled


def _is_period(canvas: Canvas, layer: int, period: Period, pairs: Iterable[tuple[Test, Test]]) -> bool:
    """Whether the growth is plausible, and NaN that reaches one period further reaches that many more units."""
    stride = Fraction(*period)
    if stride.numerator > 1 and stride.denominator > MAX_STRIDE_DENOMINATOR:
        return False
    for test, further in pairs:
        count, more = canvas.count_reached(layer, test), canvas.count_reached(layer, further)
        if 0 < count and more < canvas.grid[layer] and more - count != period.units:
            return False
    return True


def _unproved(
    prober: Prober, units: Sequence[Sequence[tuple[int, ...]]], boxes: Sequence[Sequence[Box]]
) -> list[tuple[int, int]]:
    """The units that NaN outside their box reaches on the whole input."""
    claims = [
        (layer, place, inside)
        for layer, layer_boxes in enumerate(boxes)
        for place, box in enumerate(layer_boxes)
        if (inside := _inside(box, prober.size)) != _inside((), prober.size)
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
            (layer, place)
            for row, (layer, place, _) in enumerate(chunk)
            if reached[layer][(row, *units[layer][place])]
        ]
    return failed


def _inside(box: Box, size: Sequence[int]) -> tuple[slice, ...]:
    if not box:
        return tuple(slice(0, length) for length in size)
    return tuple(slice(max(a.lower, 0), min(a.upper, length)) for a, length in zip(box, size, strict=True))


def _search_whole_input(prober: Prober, layer: int, unit: tuple[int, ...], box: Box) -> Box:
    """A unit's box as far as the input reaches, from half-planes on the whole input."""
    found = []
    for axis, (length, u) in enumerate(zip(prober.size, unit, strict=True)):
        canvas, guess = Canvas(prober, axis, prober.size), Guess()
        guess.strides = {layer: float(box[axis].stride)}
        sides = [Target(layer, side, u) for side in (LOWER, UPPER)]
        canvas.search(sides, guess, canvas.ends)
        lower, upper = (canvas.bracket(side)[0] for side in sides)
        beyond = [canvas.is_beyond(side) for side in sides]
        found.append(AxisBox(lower, upper, box[axis].stride, all(beyond), any(beyond) and not all(beyond)))
    return tuple(found)
