"""Places to crop: where on the way through a network a unit needs only a part of what is there.

Modules qualify through whose output every path from the input to the unit leads. What the unit needs of an output is
the box in which its gradient is not zero: of one sample only, so that a proof has to follow (see
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

import torch
from torch import Tensor
from torch.nn import Module

from ..network.layouts import fits_input
from ..network.traces import Handed, paths, traced
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
    """

    module: Module
    axes: tuple[int, ...]
    size: tuple[int, ...]
    needed: Region
    stride: tuple[Fraction, ...]
    step: tuple[int, ...]
    work: float

    def grown(self, steps: int) -> Place:
        """The place with more of it taken for needed, on either side."""
        low = [max(start - steps * step, 0) for start, step in zip(self.needed.offset, self.step, strict=True)]
        stops = zip(self.needed.stop, self.step, self.size, strict=True)
        return replace(self, needed=Region.between(low, [min(s + steps * step, size) for s, step, size in stops]))

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
        places (list[Place]): Where that pass may be cropped, in the order of the pass.
        widened (Callable): The places again, with what NaN as the unit's gradient reaches, too. It shows what zeros
            among the weights and values too small for their precision hide, but takes a backward pass.
    """

    values: Tensor
    gradient: Tensor
    work: float
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
        with traced(modules) as self.handed:
            self.outputs = run(self.leaf)
        self.size = tuple(sample.shape[2:])

    def look(self, number: int, layer: Module, unit: tuple[int, ...], scalar: Scalar) -> View:
        """What the sample shows of a unit of one of the layers, which is the output of the module ``layer``."""
        output = self.outputs[number]
        found = paths(output, self.leaf)
        on_the_way = [handed for handed in self.handed if handed.node in found.nodes]
        if not on_the_way:
            raise ValueError("no module hands over a tensor on the way to the unit")
        own = max((n for n, handed in enumerate(on_the_way) if handed.module is layer), default=len(on_the_way) - 1)
        last = on_the_way[own]
        before = [handed for handed in on_the_way[:own] if handed.node is not last.node]
        runs = Counter(handed.module for handed in self.handed[: self.handed.index(last) + 1])
        candidates: dict[object, Handed] = {}
        for handed in before:
            if handed.node in found.dominators and runs[handed.module] == 1 and self._axes(handed):
                candidates.setdefault(handed.node, handed)
        steps = self._coarsest(before, output)
        values = output[(slice(None), slice(None), *unit)]

        def places(needed: dict[Handed, Region]) -> list[Place]:
            grid = tuple(output.shape[2:])
            return [
                self._place(handed, needed[handed], steps[handed], grid)
                for handed in candidates.values()
                if handed in needed
            ]

        def widened() -> list[Place]:
            wired = self._needed(values, torch.full_like(values, torch.nan), candidates.values())[1]
            joined = {handed: box.joined(wired.get(handed, box)) for handed, box in needed.items()}
            return places(wired | joined)

        gradient, needed = self._needed(scalar(values), None, candidates.values())
        return View(values.detach(), gradient, last.work, places(needed), widened)

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

    def _lengths(self, handed: Handed) -> tuple[int, ...]:
        return tuple(handed.shape[axis] for axis in self._axes(handed))

    def _coarsest(self, before: Sequence[Handed], output: Tensor) -> dict[Handed, tuple[int, ...]]:
        """Per axis, for each output, how many of its steps the coarsest grid from there on takes at once."""
        steps: dict[Handed, tuple[int, ...]] = {}
        smallest = tuple(output.shape[2:])
        for handed in reversed(before):
            lengths = self._lengths(handed)
            if lengths:
                smallest = tuple(map(min, smallest, lengths))
                steps[handed] = tuple(int(_ratio(long, short)) for long, short in zip(lengths, smallest, strict=True))
        return steps

    def _place(self, handed: Handed, needed: Region, steps: tuple[int, ...], grid: tuple[int, ...]) -> Place:
        lengths = self._lengths(handed)
        stride = tuple(map(_ratio, lengths, grid))
        step = tuple(math.lcm(own, per_unit.numerator) for own, per_unit in zip(steps, stride, strict=True))
        return Place(handed.module, self._axes(handed), lengths, needed, stride, step, handed.work)


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
    seen = torch.linalg.vector_norm(gradient, torch.inf, others) != 0
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
