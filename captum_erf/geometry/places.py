"""Places to crop: where on the way through a network a unit needs only a part of what is there.

Modules qualify through whose output every path from the input to the unit leads, and those that open a branch which
another module closes: what a branch's part does not hold is put back as zeros at its end. What the unit needs of an
output is the box in which its gradient is not zero: of one sample only, so that a proof has to follow (see
:mod:`captum_erf.geometry.pyramids`). A part must start where the grids of all that follows still fall on the same
places, at a multiple of the coarsest stride from there on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import takewhile
from operator import mul, truediv
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Module

from ..network.layers import Layer
from ..network.layouts import fits_input
from ..network.traces import Handed, Paths, traced
from .region import Region

Run = Callable[[Tensor], list[Tensor]]
Scalar = Callable[[Tensor], Tensor]  # of a unit's values (N, C), one for each sample


@dataclass(frozen=True)
class Place:
    """
    A module whose output may be cropped for a unit.

    Attributes:
        axes, size (tuple[int, ...]): The spatial axes of its output, and the output's lengths along them.
        needed (Region): What the unit needs of it.
        stride (tuple[Fraction, ...]): Steps in it from one unit of the layer to the next.
        step (tuple[int, ...]): Crops start at multiples of this.
        work (float): Of the pass up to here.
        end (Place, optional): What closes the branch in which it lies; None where every path leads through it.
    """

    module: Module
    axes: tuple[int, ...]
    size: tuple[int, ...]
    needed: Region
    stride: tuple[Fraction, ...]
    step: tuple[int, ...]
    work: float
    end: Place | None = None

    @property
    def share(self) -> float:
        """Of the output that is needed."""
        return math.prod(self.needed.shape) / math.prod(self.size)

    @property
    def moved(self) -> tuple[Fraction, ...]:
        """What is not needed at the front, in units of the layer."""
        return tuple(map(truediv, map(Fraction, self.needed.offset), self.stride))

    def grown(self, steps: int) -> Place:
        """The place with more of it taken for needed, on either side."""
        low = [max(start - steps * step, 0) for start, step in zip(self.needed.offset, self.step, strict=True)]
        stops = zip(self.needed.stop, self.step, self.size, strict=True)
        high = [min(stop + steps * step, size) for stop, step, size in stops]
        return replace(self, needed=Region.between(low, high), end=self.end and self.end.grown(steps))

    def in_whole_steps(self) -> Place:
        """The place with what is needed ending at a multiple of the step, as decoders that join scales want it."""
        stops = zip(self.needed.stop, self.step, self.size, strict=True)
        high = [min(-(-stop // step) * step, size) for stop, step, size in stops]
        return replace(self, needed=Region.between(self.needed.offset, high))


@dataclass(frozen=True)
class View:
    """
    What one sample shows of a unit.

    Attributes:
        values (Tensor): The unit's, ``(1, C)``.
        gradient (Tensor): Of its scalar, shaped like the input.
        work (float): Of a pass to the layer.
        decides (bool): Whether the pass may hold decisions that no gradient shows.
        places (list[Place]): Where that pass may be cropped, in the order of the pass.
        widened (Callable): The places again, with what NaN as the unit's gradient reaches, too. It shows what zeros
            among the weights and values too small for their precision hide, but takes a backward pass.
    """

    values: Tensor
    gradient: Tensor
    work: float
    decides: bool
    places: list[Place]
    widened: Callable[[], list[Place]]


class Trace:
    """
    One sample's pass through a network, kept with its graph.

    Args:
        run (Callable): Runs the network on a measured input and gives the layers' outputs, read as ``(N, C, *grid)``.
        modules (Sequence[Module]): Those that the pass may touch.
        sample (Tensor): The measured input, of one sample.
    """

    def __init__(self, run: Run, modules: Sequence[Module], sample: Tensor) -> None:
        self.leaf = sample.detach().clone().requires_grad_()
        with traced(modules) as (self.handed, work):
            self.outputs = run(self.leaf)
        self.decides = work.decides
        self.size = tuple(sample.shape[2:])

    def look(
        self, number: int, layer: Layer, unit: tuple[int, ...], scalar: Scalar, strides: Sequence[float] = ()
    ) -> View:
        """
        What the sample shows of a unit of one of the layers.

        Args:
            number (int): Which of the layers.
            layer (Layer): It itself.
            unit (tuple[int, ...]): The unit's index.
            scalar (Callable): What the gradient is of.
            strides (Sequence[float]): Per axis, input steps from one unit to the next, where they are known.
        """
        output = self.outputs[number]
        graph = Paths.between(output, self.leaf)
        on_the_way = [handed for handed in self.handed if handed.node in set(graph.nodes)]
        if not on_the_way:
            raise ValueError("no module hands over a tensor on the way to the unit")
        calls = [handed for handed in on_the_way if handed.module is layer.module]
        last = calls[layer.call or 0] if len(calls) > (layer.call or 0) else on_the_way[-1]
        own = on_the_way.index(last)
        before = [handed for handed in on_the_way[:own] if handed.node is not last.node]
        runs = Counter(handed.module for handed in self.handed[: self.handed.index(last) + 1])
        once: dict[Node, Handed] = {}
        for handed in before:
            if runs[handed.module] == 1 and self._axes(handed):
                once.setdefault(handed.node, handed)
        values = at_unit(output, unit)
        gradient, needed = self._needed(scalar(values), None, once.values())
        grids = _Grids(self, before, tuple(output.shape[2:]), strides)
        ends = self._ends(graph, once)

        def places(boxes: dict[Handed, Region]) -> list[Place]:
            found = {handed: grids.place(handed, boxes[handed]) for handed in once.values() if handed in boxes}
            closed = {handed: found.get(end) for handed, end in ends.items() if end is not None}
            open_places = [
                replace(place, end=closed.get(handed))
                for handed, place in found.items()
                if handed in ends and (ends[handed] is None or _fits(place, closed[handed]))
            ]
            return aligned(open_places, unit)

        def widened() -> list[Place]:
            wired = self._needed(values, torch.full_like(values, torch.nan), once.values())[1]
            joined = {handed: box.joined(wired.get(handed, box)) for handed, box in needed.items()}
            return places(wired | joined)

        return View(values.detach(), gradient, last.work, self.decides, places(needed), widened)

    def _ends(self, graph: Paths, once: dict[Node, Handed]) -> dict[Handed, Handed | None]:
        """Outputs at which a pass may be cropped, with the output that closes the branch; None outside branches."""
        dominators = graph.dominators
        ends: dict[Handed, Handed | None] = {}
        for node, handed in once.items():
            if node in dominators:
                ends[handed] = None
                continue
            inside = takewhile(lambda end: end not in dominators, graph.ends(node))
            for end in inside:
                if end in once:
                    ends[handed] = once[end]
        return ends

    def _needed(
        self, scalars: Tensor, weights: Tensor | None, candidates: Iterable[Handed]
    ) -> tuple[Tensor, dict[Handed, Region]]:
        """The gradient with respect to the input, and the box in which that to each output is not zero."""
        needed: dict[Handed, Region] = {}

        def keep(handed: Handed, gradients: Sequence[Tensor | None]) -> None:
            box = None if gradients[0] is None else box_of(gradients[0], self._axes(handed))
            if box is not None:
                needed[handed] = box

        with ExitStack() as stack:
            for handed in candidates:
                stack.callback(handed.node.register_prehook(partial(keep, handed)).remove)
            weights = torch.ones_like(scalars) if weights is None else weights
            (gradient,) = torch.autograd.grad(scalars, self.leaf, weights, retain_graph=True)
        return gradient, needed

    def _axes(self, handed: Handed) -> tuple[int, ...]:
        """The spatial axes of an output; none where it has no grid like the input's."""
        shape, dims = handed.shape, len(self.size)
        if len(shape) != dims + 2 or 0 in shape:
            return ()
        is_last = fits_input(shape[1:-1], self.size) and not fits_input(shape[2:], self.size)
        return tuple(range(1, dims + 1) if is_last else range(2, dims + 2))


class _Grids:
    """How the grids of outputs on the way to a layer lie over each other."""

    def __init__(self, trace: Trace, before: Sequence[Handed], grid: tuple[int, ...], strides: Sequence[float]) -> None:
        self.trace, self.grid = trace, grid
        self.strides = [int(s) if float(s).is_integer() else 0 for s in strides] or [0] * len(grid)
        self.smallest: dict[Handed, tuple[int, ...]] = {}  # of the grids from there on
        smallest = grid
        for handed in reversed(before):
            if trace._axes(handed):
                smallest = tuple(map(min, smallest, self._lengths(handed)))
                self.smallest[handed] = smallest

    def place(self, handed: Handed, needed: Region) -> Place:
        """The place at which an output may be cropped, in a branch or not."""
        lengths = self._lengths(handed)
        stride = tuple(map(_stride, lengths, self.grid, self.strides))
        step = tuple(map(_step, lengths, self.smallest[handed], stride))
        return Place(handed.module, self.trace._axes(handed), lengths, needed, stride, step, handed.work)

    def _lengths(self, handed: Handed) -> tuple[int, ...]:
        return tuple(handed.shape[axis] for axis in self.trace._axes(handed))


def aligned(places: Sequence[Place], unit: tuple[int, ...]) -> list[Place]:
    """The places with what is needed of them starting at a whole step, and nowhere behind what later ones need."""
    found: list[Place] = []
    outside = inside = tuple(map(Fraction, unit))
    branch: Place | None = None
    for place in reversed(places):
        if place.end != branch:
            branch = place.end
            inside = outside if branch is None else branch.moved
        latest = map(mul, inside, place.stride)
        start = tuple(map(_whole_step, map(min, place.needed.offset, latest), place.step))
        found.insert(0, replace(place, needed=Region.between(start, place.needed.stop)))
        inside = found[0].moved
        outside = inside if branch is None else tuple(map(min, outside, inside))
    return found


def _whole_step(start: int | Fraction, step: int) -> int:
    return math.floor(start / step) * step


def _fits(place: Place, end: Place | None) -> bool:
    """Whether a branch closes on the grid on which it is cropped."""
    return end is not None and (place.stride, place.axes) == (end.stride, end.axes) and place != end


def _stride(length: int, grid: int, whole: int) -> Fraction:
    """Steps from one unit to the next, which divide those in the input; sizes alone tell them only about."""
    if length < grid or not whole:
        return _ratio(length, grid)
    divisors = [number for number in range(1, whole + 1) if whole % number == 0]
    return Fraction(min(divisors, key=lambda number: abs(math.log(number * grid / length))))


def _step(length: int, smallest: int, stride: Fraction) -> int:
    """Steps that the coarsest grid takes at once, in whole ones of the layer."""
    unit = stride.numerator
    return unit * max(1, round(_ratio(length, smallest) / unit))


def at_unit(output: Tensor, unit: Sequence[int]) -> Tensor:
    """A unit's values ``(N, C)`` in a layer's output ``(N, C, *grid)``."""
    index: tuple[Any, ...] = (..., *unit)
    return output[index]


def box_of(gradient: Tensor, axes: Sequence[int]) -> Region | None:
    """
    The smallest box along some axes that holds all that is not zero; None where all is.

    Examples::

        >>> gradient = torch.zeros(1, 2, 4, 6)
        >>> gradient[0, 1, 2, 3:5] = torch.nan
        >>> box_of(gradient, (2, 3))
        Region(offset=(2, 3), shape=(1, 2))
    """
    others = [axis for axis in range(gradient.ndim) if axis not in axes]
    seen = gradient.abs().amax(others) != 0
    rows = [
        seen.any([other for other in range(seen.ndim) if other != axis]).nonzero().flatten().tolist()
        if seen.ndim > 1
        else seen.nonzero().flatten().tolist()
        for axis in range(seen.ndim)
    ]
    return Region.between([row[0] for row in rows], [row[-1] + 1 for row in rows]) if all(rows) else None


def _ratio(length: int, other: int) -> Fraction:
    """How many times as long, in whole numbers one way or the other."""
    if length < other:
        return 1 / _ratio(other, length)
    return Fraction((2 * length + other) // (2 * other))
