"""Bisection: which tests on a canvas to run next, until the bounds that are asked for are known."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from .canvas import Bound, Canvas, Side, Test

MAX_SECTIONS = 15  # into which a pass cuts a bracket
SHARE_PER_PASS = 0.5  # of a pass over the whole input, which the tests of one pass may cost
ROUNDING = 1e-6  # of bounds computed from strides that are no whole numbers
ANYWHERE = (-math.inf, math.inf)


class Guess:
    """
    Where each layer's bounds would lie, were they those of unit 0 moved on by the stride from unit to unit.

    It only chooses what to test next.
    """

    def __init__(self) -> None:
        self.strides: dict[int, float] = {}
        self.anchors: dict[tuple[int, Side], tuple[int, int]] = {}  # a unit, and where its gradient ends
        self._offsets: dict[tuple[int, Side], tuple[float, float]] = {}

    def learn(self, canvas: Canvas) -> None:
        """Takes in what a canvas shows."""
        for layer, side, low, high in canvas.brackets():
            if layer in self.strides:
                moved = self.strides[layer] * np.arange(len(low))
                old_low, old_high = self._offsets.get((layer, side), ANYWHERE)
                self._offsets[layer, side] = (
                    float((low - moved).max(initial=old_low)),
                    float((high - moved).min(initial=old_high)),
                )

    def is_torn(self, bound: Bound) -> bool:
        """Whether the layer's units differ by more than the stride, as far as is known."""
        low, high = self._offsets.get((bound.layer, bound.side), ANYWHERE)
        return low > high + ROUNDING

    def interval(self, bound: Bound) -> tuple[float, float]:
        """The smallest and the largest likely value of a bound."""
        low, high = sorted(self._offsets.get((bound.layer, bound.side), ANYWHERE))
        moved = self.strides.get(bound.layer, 0.0) * bound.unit
        return low + moved, high + moved

    def likely(self, bound: Bound) -> tuple[float, float]:
        """The same, narrowed to where gradients end, as far as that is likely."""
        low, high = self.interval(bound)
        if bound[:2] in self.anchors:
            unit, end = self.anchors[bound[:2]]
            hint = round(end + self.strides.get(bound.layer, 0.0) * (bound.unit - unit))
            if low - ROUNDING <= hint <= high + ROUNDING:
                return hint, hint
        return low, high


def bisect(canvas: Canvas, bounds: Collection[Bound], guess: Guess, least_sections: int = 1) -> None:
    """Runs tests until each bound is known or known to lie beyond its end of the canvas.

    A pass cuts each bracket into as many sections as are cheap, and into ``least_sections`` at any price.
    """
    sources = (guess.likely, guess.interval, lambda bound: ANYWHERE)
    chosen: dict[Bound, int] = {}  # the source that a bound is looked for by, which may mislead
    while True:
        guess.learn(canvas)
        brackets = {bound: canvas.bracket(bound) for bound in bounds}
        brackets = {bound: bracket for bound, bracket in brackets.items() if bracket[0] < bracket[1]}
        if not brackets:
            return
        sections = int(np.clip(SHARE_PER_PASS / canvas.cost / len(brackets), least_sections, MAX_SECTIONS))
        tests: set[Test] = set()
        for bound, bracket in brackets.items():
            source = chosen.setdefault(bound, int(bound[:2] not in guess.anchors))
            likely = _overlap(bracket, sources[source](bound))
            if likely == bracket and bracket[bound.side] == (0, canvas.length)[bound.side]:
                tests.add(Test(bound.side, (1, canvas.length)[bound.side]))
                continue
            tests.update(Test(bound.side, number) for number in _cuts(bracket, likely, sections))
            if sections >= likely[1] - likely[0]:
                chosen[bound] = min(source + 1, len(sources) - 1)
        canvas.test(tests, {bound.layer for bound in brackets})


def _overlap(bracket: tuple[int, int], likely: tuple[float, float]) -> tuple[int, int]:
    """The part of a bracket that is likely, or its end that is nearest to that."""
    low, high = bracket
    start, stop = min(max(low, likely[0]), high), max(min(high, likely[1]), low)
    start, stop = math.ceil(start - ROUNDING), math.floor(stop + ROUNDING)
    return (start, stop) if start <= stop else bracket


def _cuts(bracket: tuple[int, int], likely: tuple[int, int], sections: int) -> list[int]:
    """Numbers that cut up the likely part of a bracket, and cut off the rest where they leave nothing of it open."""
    start, stop = likely
    count = min(sections, stop - start)
    cuts = [start + (stop - start + 1) * i // (count + 1) for i in range(1, count + 1)]
    if count == stop - start:
        cuts += [start] * (start > bracket[0]) + [stop + 1] * (stop < bracket[1])
    return cuts
