"""The search along an input's only axis.

No canvas can be thin there, and each costs as much as samples do: gradients tell first where bounds mostly lie, and how
far it is from unit to unit. NaN confirms it; what it does not confirm is searched as on any axis.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from itertools import pairwise

from .bounds import AxisSearch
from .canvas import LOWER, UPPER, Canvas, Side, Test
from .extents import extents_one_by_one
from .periods import FIRST_GROWTH, MAX_TERM, PeriodSearch

FEW = 3  # layers: gradients take a pass for each of them, while NaN shows all in one
Ends = dict[Side, list[tuple[int, int]]]  # left and right, pairs of a unit and its end


class LineSearch(AxisSearch):
    """The search along the only axis."""

    def _own_canvas(self) -> Canvas:
        return self.canvases[self.length]

    def _find_periods(self, own: Canvas) -> None:
        shown = {layer: self._gradient_ends(layer) for layer in (self._layers if len(self.grid) <= FEW else ())}
        shown = {layer: ends for layer, ends in shown.items() if ends}
        strides = {layer: stride for layer, ends in shown.items() if (stride := _stride(ends)) > 0}
        self.guess.strides = {layer: float(strides.get(layer, self.stride(layer))) for layer in self._layers}
        self.guess.anchors = {
            (layer, side): found[0] for layer, ends in shown.items() for side, found in ends.items() if found
        }
        known, doubtful = self._test_anchors(own)
        doubtful |= {(layer, side) for layer in self._layers if layer not in shown for side in Side}
        covered = self._covered(own, doubtful) | {
            (layer, side)
            for layer, ends in shown.items()
            for side in Side
            if self.units[layer][0][0] not in dict(ends[side])
        }
        search = PeriodSearch(self.canvases, self.grid, {layer: strides[layer] for layer in known & strides.keys()})
        search.find_endless(covered)
        self.endless = search.endless
        self._learn()
        self.periods = search.run(self._first_growth(own), search.likely_pixels())

    def _gradient_ends(self, layer: int) -> Ends:
        """Where the unit's gradient ends inside the input; where it does on both sides, another unit's as well."""
        ((unit,), *_), units, stride = self.units[layer], self.grid[layer], self.stride(layer)
        other = unit + max(1, units // 4) * (1 if 2 * unit < units else -1)
        asked = [(place,) for place in (unit, other) if 0 <= place < units]
        prober = self.canvases.prober
        ends: Ends = {}
        for (place,), extent in zip(
            asked, extents_one_by_one(prober.network.only([layer]), prober.batch, asked), strict=False
        ):
            if extent is None:
                break
            is_inside = {LOWER: extent.offset[0] >= stride, UPPER: extent.stop[0] <= self.length - stride}
            for side, end in zip(Side, (extent.offset[0], extent.stop[0]), strict=True):
                ends.setdefault(side, []).extend([(place, end)] * is_inside[side])
            if not all(is_inside.values()):
                break
        return ends

    def _test_anchors(self, own: Canvas) -> tuple[set[int], set[tuple[int, Side]]]:
        """
        Tests whether bounds inside the input lie where gradients end.

        Returns the layers of which they do, with units that differ by the stride, and sides on which they do not.
        """
        hints = {bound: int(self.guess.likely(bound)[0]) for bound in self.bounds if bound[:2] in self.guess.anchors}
        inside = {bound: hint for bound, hint in hints.items() if not self._is_near_end(bound, own)}
        if inside:
            tests = {Test(bound.side, number + more) for bound, number in inside.items() for more in (0, 1)}
            own.test(tests, {bound.layer for bound in inside})
            self._learn()
        refuted = {bound for bound, hint in inside.items() if own.bracket(bound) != (hint, hint)}
        torn = {bound.layer for bound in inside if self.guess.is_torn(bound)}
        known = {bound.layer for bound in inside} - {bound.layer for bound in refuted} - torn
        return known, {bound[:2] for bound in refuted} | {(layer, side) for layer in torn for side in Side}

    def _covered(self, own: Canvas, doubtful: Collection[tuple[int, Side]]) -> set[tuple[int, Side]]:
        """The sides of layers on which all units see the input's end."""
        sides = {side for _, side in doubtful}
        strips = {test.side: test for test in own.strips if test.side in sides}
        if strips:
            own.test(strips.values(), {layer for layer, _ in doubtful})
        return {(layer, side) for layer, side in doubtful if own.units_reached(layer, strips[side]).all()}

    def _first_growth(self, own: Canvas) -> float:
        """As much as bounds seem to lie outside the input; nothing where all lie inside."""
        near = [bound for bound in self.bounds if bound[:2] not in self.endless and self._is_near_end(bound, own)]
        outside = max((self._outside(bound) + 2 * self.stride(bound.layer) for bound in near), default=0.0)
        return min(outside, FIRST_GROWTH * self.length)


def _stride(ends: Ends) -> Fraction:
    """From one unit to the next, by the ends of several; 0 where they do not agree, or tell nothing."""
    strides = {
        Fraction(second - first, other - unit).limit_denominator(MAX_TERM)
        for found in ends.values()
        for (unit, first), (other, second) in pairwise(found)
    }
    return strides.pop() if len(strides) == 1 else Fraction(0)
