"""Patterns: how boxes lie to their units, over one period of units.

In a chain of layers the box moves on by the stride from unit to unit. Where scales are merged (feature pyramids,
U-Nets, necks of detectors) it does not: four neighbouring units may share what the coarsest branch sees, and the box
jumps by its stride after them. Only the mean over one period then tells onto which point of the input a unit projects,
and only the furthest reach in a period tells how much of the input around a tile its units need.
"""

from __future__ import annotations

import math
from collections.abc import Collection
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
    canvases: Canvases, guess: Guess, periods: dict[int, Period], layers: Collection[int]
) -> dict[int, Pattern]:
    """The patterns of layers, from the boxes of one period of units; those with no room for a period are left out."""
    patterns: dict[int, Pattern] = {}
    for pixels in {periods[layer].pixels for layer in layers}:
        alike = {layer for layer in layers if periods[layer].pixels == pixels}
        canvas = _canvas(canvases, guess, pixels, alike)
        if canvas is not None:
            try:
                patterns |= _patterns(canvas, {layer: periods[layer] for layer in alike})
            except Refused:
                continue
    return patterns


def _canvas(canvases: Canvases, guess: Guess, pixels: int, layers: set[int]) -> Canvas | None:
    """A canvas with room for the boxes of one period of units; where their size is not known, the longest so far."""
    ends = [guess.interval(Bound(layer, side, 0))[side] for layer in layers for side in Side]
    size = max(high - low for low, high in zip(ends[::2], ends[1::2], strict=True))
    own = canvases[canvases.length]
    if math.isinf(size):
        return max(canvases.made.values(), key=lambda canvas: canvas.length)
    wanted = pixels + size + 2 * own.margin
    repeats = canvases.repeats(pixels, wanted - own.length) if wanted > own.length else 0
    canvas = canvases[own.length + max(repeats, 0) * pixels]
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
