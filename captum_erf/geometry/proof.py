"""The proof of boxes: with NaN everywhere on the whole input but in its box, a unit stays free of NaN.

Where it does not, something that thin canvases do not have leads to the unit, such as a shift along both axes at once,
and its box is searched again on the whole input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .bisection import Guess, bisect
from .bounds import Unit
from .canvas import Bound, Canvas, Side
from .field import AxisBox, Box
from .probing import Prober
from .region import Region

PER_PASS = 4  # whole inputs in a batch


def prove(prober: Prober, units: Sequence[Sequence[Unit]], boxes: list[list[Box]]) -> None:
    """Replaces the boxes, layer by layer, of units that see something outside them."""
    claims: dict[Region, list[tuple[int, int]]] = {}
    for layer, layer_boxes in enumerate(boxes):
        for number, box in enumerate(layer_boxes):
            claims.setdefault(_inside(box, prober.size), []).append((layer, number))
    claims.pop(Region.whole(prober.size), None)
    regions = list(claims)
    for start in range(0, len(regions), PER_PASS):
        chunk = regions[start : start + PER_PASS]
        batch = torch.full_like(prober.sample, math.nan).repeat(len(chunk), *[1] * (prober.sample.ndim - 1))
        for image, region in zip(batch, chunk, strict=True):
            image[region.index] = prober.sample[0][region.index]
        layers = sorted({layer for region in chunk for layer, _ in claims[region]})
        reached = dict(zip(layers, prober.reached(batch, layers), strict=True))
        for row, region in enumerate(chunk):
            for layer, number in claims[region]:
                unit = units[layer][number]
                if reached[layer][(row, *unit)]:
                    boxes[layer][number] = tuple(
                        _on_whole_input(prober, axis, layer, unit[axis], box)
                        for axis, box in enumerate(boxes[layer][number])
                    )


def _inside(box: Box, size: Sequence[int]) -> Region:
    """The part of a box inside the input; none of it where the box lies outside."""
    start = [max(axis.lower, 0) for axis in box]
    stop = [min(axis.upper, length) for axis, length in zip(box, size, strict=True)]
    return Region.between(start, [max(low, high) for low, high in zip(start, stop, strict=True)])


def _on_whole_input(prober: Prober, axis: int, layer: int, unit: int, box: AxisBox) -> AxisBox:
    """The box along an axis as far as the whole input shows it, where that is more than the box holds."""
    canvas, guess = Canvas(prober, axis, prober.size), Guess()
    guess.strides = {layer: float(box.stride)}
    bounds = [Bound(layer, side, unit) for side in Side]
    canvas.test(canvas.strips, [layer])
    bisect(canvas, bounds, guess)
    lower, upper = (canvas.bracket(bound)[0] for bound in bounds)
    if max(box.lower, 0) <= lower and upper <= min(box.upper, canvas.length):
        return box
    beyond = [canvas.is_beyond(bound) for bound in bounds]
    return AxisBox(lower, upper, box.stride, all(beyond), sum(beyond) == 1)
