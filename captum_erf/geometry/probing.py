"""Probing: which units a NaN in the input reaches, on inputs of any size.

A NaN in the input reaches exactly the units that it can influence, through any layer, branch or pooling. With NaN at
all positions ``x < t`` of one axis a unit is reached if and only if its box starts before ``t``; with NaN at
``x >= t``, if and only if its box ends after ``t``. Both are monotone in ``t``, so that every pass narrows the
brackets of the bounds of all units of all layers at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..network.grids import check_grid
from ..network.layers import ForwardFunc, Layer, all_modules, aside, first_sample, is_batch
from ..network.layouts import Layout, apply_layout, tokens
from ..network.passes import layer_outputs

LOWER, UPPER = 0, 1
MIN_AREA_LIMIT = 32768  # pixels of a canvas that small inputs may use
MAX_SECTIONS = 15  # into which a pass cuts a bracket
SHARE_PER_PASS = 0.5  # of a pass over the whole input, which the tests of one pass may cost
ROUNDING = 1e-6  # of bounds computed from strides that are no whole numbers

Side = int
Test = tuple[Side, int]


class Refused(Exception):
    """The network, or the reading of its layers, does not take a canvas of this size."""


class Target(NamedTuple):
    """One bound of one unit along one axis."""

    layer: int
    side: Side
    unit: int

    @property
    def opposite(self) -> Target:
        return self._replace(side=1 - self.side)


class Prober:
    """Runs a network on canvases and tells which units NaN has reached."""

    def __init__(
        self,
        forward_func: ForwardFunc,
        layers: Sequence[Layer],
        layout: Layout,
        inputs: tuple[Tensor, ...],
        additional_forward_args: tuple[Any, ...] = (),
        input_index: int = 0,
    ) -> None:
        self.forward_func, self.layers, self.layout = forward_func, list(layers), layout
        self.modules = all_modules(forward_func, layers)
        self.input_index = input_index
        samples = len(_checked(inputs[input_index]))
        self.arguments = [first_sample(item, samples) for item in (*inputs, *additional_forward_args)]
        self.sample: Tensor = self.arguments[input_index]
        self.size: tuple[int, ...] = tuple(self.sample.shape[2:])
        self.area_limit = max(2 * math.prod(self.size), MIN_AREA_LIMIT)
        self.grids: list[tuple[int, ...]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Eval mode, no gradients, no kernels that spread NaN, the caller's random state left alone."""
        with ExitStack() as stack:
            stack.enter_context(aside(self.modules, self.sample.device))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            stack.enter_context(torch.backends.nnpack.flags(enabled=False))
            self._find_grids()
            yield

    def _find_grids(self) -> None:
        try:
            found = layer_outputs(self.forward_func, self.layers, tuple(self.arguments))
        except Exception as error:
            error.add_note(
                f"Raised by the network for one sample of shape {tuple(self.sample.shape[1:])}, on which captum_erf "
                "looks for the theoretical receptive field; pass the shape or the inputs that the network takes."
            )
            raise
        for place, layer in enumerate(self.layers):
            output = apply_layout(self.layout, found[place], layer.name)
            check_grid(self.forward_func, layer, self.layout, output, self.sample, tuple(self.arguments))
            self.grids.append(tuple(output.shape[2:]))
            if output.isnan().any():
                raise ValueError(
                    f"Layer {layer.name!r} gives NaN for finite inputs, so that NaN cannot probe it; "
                    "check the weights and the precision, or pass real inputs instead of a shape."
                )

    @property
    def max_stride(self) -> int:
        """The stride of the coarsest layer, about."""
        return max(
            math.ceil(length / units) for grid in self.grids for length, units in zip(self.size, grid, strict=True)
        )

    def canvas(self, size: Sequence[int]) -> Tensor:
        """The sample cut or repeated to another size."""
        canvas = self.sample
        for axis, length in enumerate(size, start=2):
            index = torch.arange(length, device=canvas.device) % canvas.shape[axis]
            canvas = canvas.index_select(axis, index)
        return canvas

    def reached(self, batch: Tensor, layers: Sequence[int]) -> list[NDArray[np.bool_]]:
        """For each of the layers, which units hold NaN: ``(N, *grid)``."""
        chosen = [self.layers[layer] for layer in layers]
        try:
            outputs = self._outputs(batch, chosen)
        except Exception as error:
            error.add_note(
                "Raised by the network for an input that holds NaN, with which captum_erf looks for the theoretical "
                "receptive field; switch off what looks for NaN in the network meanwhile."
            )
            raise
        return [output.isnan().any(1).cpu().numpy() for output in outputs]

    def _outputs(self, batch: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
        arguments = [_repeat(item, len(batch)) for item in self.arguments]
        arguments[self.input_index] = batch
        outputs = layer_outputs(self.forward_func, layers, tuple(arguments))
        return [apply_layout(self.layout, outputs[place], layer.name) for place, layer in enumerate(layers)]


def _checked(sample: Any) -> Tensor:
    if not isinstance(sample, Tensor) or not 3 <= sample.ndim <= 5 or 0 in sample.shape:
        got = tuple(sample.shape) if isinstance(sample, Tensor) else type(sample).__name__
        raise ValueError(f"Inputs must be a tensor (N, C_in, *size) with one to three spatial axes, got {got}.")
    if not sample.is_floating_point():
        raise TypeError(
            f"Inputs of type {sample.dtype} cannot hold NaN, with which the theoretical receptive field is found; "
            "pass floating-point inputs, such as the embedded tokens."
        )
    if sample[:1].isnan().any():
        raise ValueError("The first sample holds NaN; pass finite inputs.")
    return sample


def _repeat(item: Any, count: int) -> Any:
    return item.expand(count, *item.shape[1:]) if is_batch(item, 1) else item


class Guess:
    """Where each layer's bounds would lie, were they those of unit 0 moved on by the stride from unit to unit.

    It only chooses what to test next.
    """

    def __init__(self) -> None:
        self.strides: dict[int, float] = {}
        self.offsets: dict[tuple[int, Side], tuple[float, float]] = {}

    def learn(self, canvas: Canvas) -> None:
        """Takes in what a canvas shows, but not where units see less for being near its ends."""
        for (layer, side), (low, high) in canvas.brackets.items():
            if layer in self.strides:
                moved = self.strides[layer] * np.arange(len(low))
                known_low = low >= (canvas.margin if side == LOWER else -math.inf)
                known_high = high <= (canvas.length - canvas.margin if side == UPPER else math.inf)
                old_low, old_high = self.offsets.get((layer, side), (-math.inf, math.inf))
                self.offsets[layer, side] = (
                    float((low - moved).max(where=known_low, initial=old_low)),
                    float((high - moved).min(where=known_high, initial=old_high)),
                )

    def is_torn(self, target: Target) -> bool:
        """Whether the layer's units differ by more than the stride, as far as is known."""
        low, high = self.offsets.get((target.layer, target.side), (-math.inf, math.inf))
        return low > high + ROUNDING

    def interval(self, target: Target) -> tuple[float, float]:
        """The smallest and the largest likely bound."""
        low, high = sorted(self.offsets.get((target.layer, target.side), (-math.inf, math.inf)))
        moved = self.strides.get(target.layer, 0.0) * target.unit
        return low + moved, high + moved


class Canvas:
    """What tests on inputs of one size tell of the bounds of all units along one axis.

    A test ``(side, q)`` asks of every bound on that side whether it is at least ``q``, with ``q`` from 1 to the
    length. A lower bound of 0 and an upper bound of the length stand for "there or further out". A canvas that
    lengthens a ``shorter`` one must have the same grid on the other axes.
    """

    def __init__(self, prober: Prober, axis: int, size: Sequence[int], shorter: Canvas | None = None) -> None:
        self.prober, self.axis, self.size, self.shorter = prober, axis, tuple(size), shorter
        self.length = self.size[axis]
        self.is_whole_input = self.size == prober.size
        self.grid: dict[int, int] = {}
        self.other_grid: dict[int, tuple[int, ...]] = {}
        self.brackets: dict[tuple[int, Side], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self.is_clean = self.length != prober.size[axis] or self.is_whole_input
        self.margin = 1 if self.is_whole_input else min(prober.max_stride, (self.length + 1) // 2)

    @property
    def strips(self) -> list[Test]:
        """The tests with NaN in a strip at either end."""
        return [(LOWER, self.margin), (UPPER, self.length - self.margin + 1)]

    def test(self, tests: Collection[Test], layers: Iterable[int]) -> None:
        """Runs tests in one pass; the first one also checks that the canvas makes no NaN of its own."""
        tests, layers = sorted(tests), sorted(layers)
        canvas = self.prober.canvas(self.size)
        batch = canvas.repeat(len(tests) + (not self.is_clean), *[1] * (canvas.ndim - 1))
        for image, (side, q) in zip(batch, tests, strict=False):
            start, stop = (0, q) if side == LOWER else (q - 1, self.length)
            image.narrow(self.axis + 1, start, stop - start).fill_(math.nan)
        for layer, reached in zip(layers, self._reached(batch, layers), strict=True):
            others = tuple(axis for axis in range(1, reached.ndim) if axis != self.axis + 1)
            self.other_grid[layer] = tuple(reached.shape[axis] for axis in others)
            if self.shorter and self.shorter.other_grid[layer] != self.other_grid[layer]:
                raise Refused
            self._keep(layer, np.asarray(reached.any(axis=others)), tests)
        self.is_clean = True

    def _reached(self, batch: Tensor, layers: list[int]) -> list[NDArray[np.bool_]]:
        if self.is_whole_input:
            return self.prober.reached(batch, layers)
        if isinstance(self.prober.layout, tokens):
            raise Refused("tokens are folded into the grid of the whole input alone")
        try:
            reached = self.prober.reached(batch, layers)
        except Exception as error:
            raise Refused from error
        if any(r.ndim != len(self.size) + 1 or len(r) != len(batch) for r in reached):
            raise Refused
        if not self.is_clean and any(r[-1].any() for r in reached):
            raise Refused
        return reached

    def _keep(self, layer: int, reached: NDArray[np.bool_], tests: list[Test]) -> None:
        self.grid[layer] = reached.shape[1]
        for side in (LOWER, UPPER):
            unknown = np.full(reached.shape[1], np.inf)
            low, high = self.brackets.setdefault((layer, side), (-unknown, unknown))
            for hit, (tested, q) in zip(reached, tests, strict=False):
                if tested == side:
                    at_least = hit if side == UPPER else ~hit
                    low[at_least] = np.maximum(low[at_least], q)
                    high[~at_least] = np.minimum(high[~at_least], q - 1)

    def bracket(self, target: Target) -> tuple[int, int]:
        """Smallest and largest possible value of a bound."""
        if (target.layer, target.side) not in self.brackets:
            return 0, self.length
        if target.unit >= self.grid[target.layer]:
            raise Refused
        low, high = self.brackets[target.layer, target.side]
        return int(np.clip(low[target.unit], 0, self.length)), int(np.clip(high[target.unit], 0, self.length))

    def is_beyond(self, target: Target) -> bool:
        """Whether a bound is known to lie at its end of the canvas or further out."""
        low, high = self.bracket(target)
        return high == 0 if target.side == LOWER else low == self.length

    def units_reached(self, layer: int, test: Test) -> NDArray[np.bool_]:
        """Which of a layer's units the NaN of a test has reached."""
        side, q = test
        low, high = self.brackets[layer, side]
        return high < q if side == LOWER else low >= q

    def search(self, targets: Collection[Target], guess: Guess) -> None:
        """Runs tests until each bound is known or known to lie beyond its end."""
        misled: set[Target] = set()
        while True:
            guess.learn(self)
            brackets = {target: self.bracket(target) for target in targets}
            brackets = {target: bracket for target, bracket in brackets.items() if bracket[0] < bracket[1]}
            if not brackets:
                return
            sections = self._sections(len(brackets))
            tests: set[Test] = set()
            for target, bracket in brackets.items():
                likely = _overlap(bracket, (-math.inf, math.inf) if target in misled else guess.interval(target))
                if likely == bracket and bracket[target.side] == (0, self.length)[target.side]:
                    tests.add((target.side, (1, self.length)[target.side]))
                    continue
                tests.update((target.side, q) for q in _cuts(bracket, likely, sections))
                if sections >= likely[1] - likely[0]:
                    misled.add(target)
            self.test(tests, {target.layer for target in brackets})

    @property
    def cost(self) -> float:
        """Share of a pass over the whole input; an axis costs at least what one unit of the coarsest layer does."""
        stride = self.prober.max_stride
        return math.prod(max(length, stride) for length in self.size) / math.prod(self.prober.size)

    def _sections(self, num_targets: int) -> int:
        return int(np.clip(SHARE_PER_PASS / self.cost / max(num_targets, 1), 1, MAX_SECTIONS))


def _overlap(bracket: tuple[int, int], likely: tuple[float, float]) -> tuple[int, int]:
    """The part of a bracket that is likely, or its end that is nearest to that."""
    low, high = bracket
    start, stop = min(max(low, likely[0]), high), max(min(high, likely[1]), low)
    start, stop = math.ceil(start - ROUNDING), math.floor(stop + ROUNDING)
    return (start, stop) if start <= stop else bracket


def _cuts(bracket: tuple[int, int], likely: tuple[int, int], sections: int) -> list[int]:
    """Values that split a bracket's likely part; where that is split to the end, also those that split off the rest."""
    start, stop = likely
    count = min(sections, stop - start)
    cuts = [start + (stop - start + 1) * i // (count + 1) for i in range(1, count + 1)]
    if count == stop - start:
        cuts += [start] * (start > bracket[0]) + [stop + 1] * (stop < bracket[1])
    return cuts
