"""Patterns: how boxes lie to their units, over one period of units.

In a chain of layers the box moves on by the stride from unit to unit. Where scales are merged (feature pyramids,
U-Nets, necks of detectors) it does not: four neighbouring units may share what the coarsest branch sees, and the box
jumps by its stride after them. Only the mean over one period then tells onto which point of the input a unit projects,
and only the furthest reach in a period tells how much of the input around a tile its units need.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from .bisection import Guess, bisect
from .canvas import LOWER, UPPER, Bound, Canvas, Side, Test
from .periods import Canvases, Period
from .probing import Refused


class Pattern(NamedTuple):
    """
    Along one axis, unit ``u`` projects onto ``offset + stride * u``, and its own cell is ``[stride * u, stride * (u +
    1))``, beyond which no unit sees further than ``before`` and ``after`` pixels.
    """

    offset: float
    before: int
    after: int


def find_patterns(
    canvases: Canvases, guess: Guess, periods: dict[int, Period], layers: Collection[int], *, whole: bool = False
) -> dict[int, Pattern]:
    """The patterns of layers, from the boxes of one period of units; those with no room for a period are left out.

    The shortest period that all tests so far agree with is taken for the layer's, unless the whole one is asked for.
    """
    shortest = {layer: periods[layer] if whole else _shortest(canvases, layer, periods[layer]) for layer in layers}
    patterns: dict[int, Pattern] = {}
    for pixels in {period.pixels for period in shortest.values()}:
        alike = {layer: period for layer, period in shortest.items() if period.pixels == pixels}
        canvas = _canvas(canvases, guess, periods[next(iter(alike))].pixels, pixels, alike)
        if canvas is not None:
            with suppress(Refused):
                patterns |= _patterns(canvas, alike)
    return patterns


def _shortest(canvases: Canvases, layer: int, period: Period) -> Period:
    return next(part for part in period.parts() if part == period or _agrees(canvases, layer, part))


def _agrees(canvases: Canvases, layer: int, period: Period) -> bool:
    """Whether all tests so far allow that boxes repeat with a period."""
    for side in Side:
        lowest, highest = np.full(period.units, -np.inf), np.full(period.units, np.inf)
        for canvas in canvases.made.values():
            for other, tested, low, high in canvas.brackets():
                if (other, tested) == (layer, side):
                    turn, place = np.divmod(np.arange(len(low)), period.units)
                    np.maximum.at(lowest, place, low - turn * period.pixels)
                    np.minimum.at(highest, place, high - turn * period.pixels)
        if (lowest > highest).any():
            return False
    return True


def _canvas(canvases: Canvases, guess: Guess, step: int, pixels: int, layers: Collection[int]) -> Canvas | None:
    """A canvas, longer by whole steps, with room for one period's boxes; if their size is not known, the longest."""
    ends = [guess.interval(Bound(layer, side, 0))[side] for layer in layers for side in Side]
    size = max(high - low for low, high in zip(ends[::2], ends[1::2], strict=True))
    own = canvases[canvases.length]
    if math.isinf(size):
        return max(canvases.made.values(), key=lambda canvas: canvas.length)
    wanted = pixels + size + 2 * own.margin
    repeats = canvases.repeats(step, wanted - own.length) if wanted > own.length else 0
    canvas = canvases[own.length + max(repeats, 0) * step]
    return canvas if canvas.length >= wanted else None


def _patterns(canvas: Canvas, periods: dict[int, Period]) -> dict[int, Pattern]:
    pixels = next(iter(periods.values())).pixels
    starts = {LOWER: canvas.margin, UPPER: canvas.length - canvas.margin - pixels}
    for side, start in starts.items():
        canvas.test([Test(side, start), Test(side, start + pixels)], periods)
    bounds = [
        Bound(layer, side, int(unit))
        for layer in periods
        for side, start in starts.items()
        for unit in np.flatnonzero(canvas.is_between(layer, side, start, start + pixels))
    ]
    bisect(canvas, bounds, Guess(), least_sections=3)  # of few brackets, as units share what the coarsest branch sees
    patterns: dict[int, Pattern] = {}
    for layer, (_, units) in periods.items():
        stride = pixels / units
        shifts = {
            side: [canvas.bracket(bound)[0] - stride * bound.unit for bound in bounds if bound[:2] == (layer, side)]
            for side in Side
        }
        if all(len(found) == units for found in shifts.values()):
            offset = (float(np.mean(shifts[LOWER])) + float(np.mean(shifts[UPPER])) - 1) / 2
            before, after = -min(shifts[LOWER]), max(shifts[UPPER]) - stride
            patterns[layer] = Pattern(offset, int(np.ceil(before)), int(np.ceil(after)))
    return patterns
