"""The proof of boxes, on the whole input: a unit sees nothing outside its box, and something at each of its ends.

Canvases that are thin across an axis do not have what leads along both axes at once, such as a diagonal shift; those as
thick as the input take together all units of a row, of which one may see less, as in a scan in raster order. Where
either shows, the box is searched again on the whole input, for that unit alone. Bounds on an only axis that were found
on the whole input, at the unit itself, are proved already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .bisection import Guess, bisect
from .canvas import Bound, Canvas, Side
from .extents import Unit
from .field import AxisBox, Box
from .probing import Prober
from .region import Region

PER_PASS = 4  # whole inputs in a batch


class Claim(NamedTuple):
    """That NaN in a region of the input, or everywhere outside it, does not reach a unit of a layer, or does."""

    region: Region
    within: bool
    layer: int
    number: int


def prove(prober: Prober, units: Sequence[Sequence[Unit]], boxes: list[list[Box]], *, ends: bool) -> None:
    """
    Replaces the boxes, layer by layer, of units that see something outside them or less than them.

    Thin canvases show less than a box where the network lays out several axes as one; canvases as thick as the input,
    which ``ends`` tells of, may do so in any network. What such a box holds outside the input is only a bound.
    """
    whole = Region.whole(prober.size)
    inside = {
        (layer, number): _inside(box, prober.size)
        for layer, layer_boxes in enumerate(boxes)
        for number, box in enumerate(layer_boxes)
    }
    inside = {which: region for which, region in inside.items() if region != whole}
    _check(prober, units, boxes, [Claim(region, False, *which) for which, region in inside.items()])
    if not (ends or prober.folds):
        return
    seen = {which: region for which, region in inside.items() if 0 not in region.shape}
    _check(
        prober,
        units,
        boxes,
        [
            Claim(end, True, *which)
            for which, region in seen.items()
            for end in _ends(boxes[which[0]][which[1]], region, prober.size)
        ],
    )
    for layer, number in seen:
        boxes[layer][number] = tuple(
            axis._replace(is_bound=axis.lower < 0 or axis.upper > length)
            for axis, length in zip(boxes[layer][number], prober.size, strict=True)
        )


def _check(prober: Prober, units: Sequence[Sequence[Unit]], boxes: list[list[Box]], claims: Iterable[Claim]) -> None:
    """Searches anew the boxes of units for which a claim does not hold: something within reaches them, or nothing."""
    by_image: dict[tuple[Region, bool], list[Claim]] = {}
    for claim in claims:
        by_image.setdefault(claim[:2], []).append(claim)
    images = list(by_image)
    for start in range(0, len(images), PER_PASS):
        chunk = images[start : start + PER_PASS]
        layers = sorted({claim.layer for image in chunk for claim in by_image[image]})
        inputs = torch.cat([_with_nan(prober.sample, region, within=within) for region, within in chunk])
        reached = dict(zip(layers, prober.reached(inputs, layers), strict=True))
        for row, image in enumerate(chunk):
            for _, within, layer, number in by_image[image]:
                unit = units[layer][number]
                if reached[layer][(row, *unit)] != within:
                    boxes[layer][number] = tuple(
                        _on_whole_input(prober, axis, layer, unit, box, may_shrink=within)
                        for axis, box in enumerate(boxes[layer][number])
                    )


def _inside(box: Box, size: Sequence[int]) -> Region:
    """The part of a box inside the input; none of it where the box lies outside."""
    start = [max(axis.lower, 0) for axis in box]
    stop = [min(axis.upper, length) for axis, length in zip(box, size, strict=True)]
    return Region.between(start, [max(low, high) for low, high in zip(start, stop, strict=True)])


def _ends(box: Box, inside: Region, size: Sequence[int]) -> Iterator[Region]:
    """The first and last slabs of a box, where it ends inside the input or with it."""
    for axis, (bounds, length) in enumerate(zip(box, size, strict=True)):
        if bounds.lower >= 0:
            yield inside.slab(axis, inside.offset[axis])
        if bounds.upper <= length:
            yield inside.slab(axis, inside.stop[axis] - 1)


def _with_nan(sample: Tensor, region: Region, *, within: bool) -> Tensor:
    """The sample with NaN within a region, or everywhere else."""
    image = sample.clone() if within else torch.full_like(sample, math.nan)
    image[region.index] = math.nan if within else sample[region.index]
    return image


def _on_whole_input(prober: Prober, axis: int, layer: int, unit: Unit, box: AxisBox, *, may_shrink: bool) -> AxisBox:
    """A unit's box along an axis as far as the whole input shows it; the box itself where that is no more than it."""
    canvas, guess = Canvas(prober, axis, prober.size, through=unit), Guess()
    guess.strides = {layer: float(box.stride)}
    bounds = [Bound(layer, side, unit[axis]) for side in Side]
    canvas.test(canvas.strips, [layer])
    bisect(canvas, bounds, guess)
    lower, upper = (canvas.bracket(bound)[0] for bound in bounds)
    first, end = max(box.lower, 0), min(box.upper, canvas.length)
    if (first, end) == (lower, upper) or (first <= lower and upper <= end and not may_shrink):
        return box
    beyond = [canvas.is_beyond(bound) for bound in bounds]
    return AxisBox(lower, upper, box.stride, all(beyond), sum(beyond) == 1)
