"""One batch of inputs -> the sample maps of every layer and position, by the cheapest exact route.

Units that see most of the input share one forward pass over the whole of it, stopped after the deepest layer. The
others run on windows alone; equal windows are stacked into one batch. A window is used only after one sample,
computed both ways, has come out the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .geometry import TheoreticalReceptiveField, probe
from .gradients import Magnitude, Network, gradients_enabled, sample_maps, unit_gradients
from .groupsums import region
from .layers import all_modules, mixes_samples, unchanged
from .units import Channel, NeuronSelector, Position, Reader, Selected, Units
from .windows import Window, find_window

SELF_CHECK_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Target:
    """One unit of one layer, and how it is measured: on a window, or on the whole input for a stated reason."""

    place: int
    position: Position
    theoretical: TheoreticalReceptiveField | None
    window: Window | str


@dataclass(frozen=True)
class SampleMaps:
    """Sample maps ``(N, *shape)`` over the part of the input that starts at ``offset``; zero elsewhere."""

    values: Tensor
    offset: tuple[int, ...]


@dataclass(frozen=True)
class Measurement:
    """All that the maps of a batch depend on, but the batch."""

    network: Network
    positions: tuple[Position, ...] = ("center",)
    channel: Channel = None
    neuron_selector: NeuronSelector | None = None
    magnitude: Magnitude = "abs"
    window: str | bool = "auto"
    autocast: torch.dtype | None = None
    eval_mode: bool = True
    input_index: int = 0
    cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Gradients are on, modules in the wanted mode; everything is as before afterwards."""
        modules = all_modules(self.network.forward_func, self.network.layers)
        with gradients_enabled(), unchanged(modules, eval_mode=self.eval_mode):
            yield

    def targets(self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]) -> list[Target]:
        """The units to measure in inputs like these, layer by layer, position by position."""
        fields = self._fields(inputs, arguments)
        refusal = self._refusal(inputs, arguments)
        targets = [
            Target(place, position, theoretical, refusal or _window(theoretical))
            for place, row in enumerate(fields)
            for position, theoretical in zip(self.positions, row, strict=True)
        ]
        return self._checked(targets, inputs, arguments)

    def maps(
        self, targets: Sequence[Target], inputs: tuple[Any, ...], arguments: tuple[Any, ...]
    ) -> list[SampleMaps]:
        """Sample maps of the targets, in their order."""
        found: dict[int, SampleMaps] = {}
        whole = [number for number, target in enumerate(targets) if isinstance(target.window, str)]
        if whole:
            found.update(self._whole(targets, whole, inputs, arguments))
        windowed = [number for number in range(len(targets)) if number not in found]
        for stack in _stacks(targets, windowed, inputs[self.input_index]):
            found.update(self._windowed(targets, stack, inputs[self.input_index]))
        return [found[number] for number in range(len(targets))]

    def _whole(
        self,
        targets: Sequence[Target],
        numbers: list[int],
        inputs: tuple[Any, ...],
        arguments: tuple[Any, ...],
    ) -> Iterator[tuple[int, SampleMaps]]:
        places = sorted({targets[number].place for number in numbers})
        rows = [[number for number in numbers if targets[number].place == place] for place in places]
        readers = [[self._reader(targets[number]) for number in row] for row in rows]
        network = replace(self.network, layers=tuple(self.network.layers[place] for place in places))
        offset = (0,) * (inputs[self.input_index].ndim - 2)
        for row, column, gradients in unit_gradients(
            network, readers, inputs, arguments, autocast=self.autocast
        ):
            gradient = gradients[self.input_index]
            if gradient is None:
                gradient = torch.zeros_like(inputs[self.input_index])
            yield rows[row][column], SampleMaps(sample_maps(gradient, self.magnitude), offset)

    def _windowed(
        self, targets: Sequence[Target], stack: list[tuple[int, Window]], inputs: Tensor
    ) -> Iterator[tuple[int, SampleMaps]]:
        layer = self.network.layers[targets[stack[0][0]].place]
        crops = torch.cat([inputs[(..., *region(window.offset, window.shape))] for _, window in stack])
        reader = Units(tuple(window.index for _, window in stack), self.channel)
        network = replace(self.network, layers=(layer,))
        for _, _, (gradient,) in unit_gradients(network, [[reader]], (crops,), autocast=self.autocast):
            values = sample_maps(
                gradient if gradient is not None else torch.zeros_like(crops), self.magnitude
            )
            for (number, window), part in zip(stack, values.chunk(len(stack)), strict=True):
                yield number, SampleMaps(part, window.offset)

    def _reader(self, target: Target) -> Reader:
        if self.neuron_selector is not None:
            return Selected(self.neuron_selector)
        position = target.position if target.theoretical is None else target.theoretical.position
        return Units((position,), self.channel)

    def _fields(
        self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]
    ) -> list[list[TheoreticalReceptiveField | None]]:
        key = ("fields", self.positions, self.input_index, tuple(inputs[self.input_index].shape[1:]))
        if key not in self.cache:
            self.cache[key] = self._probed(inputs, arguments)
        found: list[list[TheoreticalReceptiveField | None]] = self.cache[key]
        return found

    def _probed(self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]) -> list[list[Any]]:
        network = self.network
        try:
            return probe(
                network.forward_func,
                network.layers,
                self.positions,
                inputs,
                layout=network.layout,
                additional_forward_args=arguments,
            )
        except (ValueError, TypeError):
            if self.neuron_selector is None:
                raise
            return [[None] * len(self.positions) for _ in network.layers]

    def _refusal(self, inputs: tuple[Any, ...], arguments: tuple[Any, ...]) -> str:
        modules = all_modules(self.network.forward_func, self.network.layers)
        reasons = {
            "window=False": self.window is False,
            "a neuron selector is used": self.neuron_selector is not None,
            "the network takes several inputs": len(inputs) > 1,
            "the network takes additional arguments": len(arguments) > 0,
            "the layer's input is read": self.network.layer_input,
            "normalisation mixes the samples": bool(mixes_samples(modules)),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def _checked(
        self, targets: list[Target], inputs: tuple[Any, ...], arguments: tuple[Any, ...]
    ) -> list[Target]:
        windowed = [target for target in targets if isinstance(target.window, Window)]
        verdicts = self.cache.setdefault("verdicts", {})
        size = tuple(inputs[self.input_index].shape)[2:]
        unknown = [target for target in windowed if (target, size) not in verdicts]
        if unknown:
            plain = replace(self, channel=None, magnitude="abs", autocast=None)
            one = tuple(item[:1] if isinstance(item, Tensor) else item for item in inputs)
            apart = plain.maps(unknown, one, arguments)
            whole = plain.maps([replace(target, window="self-check") for target in unknown], one, arguments)
            for target, part, reference in zip(unknown, apart, whole, strict=True):
                verdicts[target, size] = _verdict(part, reference.values)
        return [replace(target, window=verdicts.get((target, size)) or target.window) for target in targets]


def _window(theoretical: TheoreticalReceptiveField | None) -> Window | str:
    return "the layer has no grid" if theoretical is None else find_window(theoretical)


def _verdict(part: SampleMaps, reference: Tensor) -> str:
    """Why the window may not be used; nothing where it may."""
    placed = torch.zeros_like(reference)
    placed[(slice(None), *region(part.offset, tuple(part.values.shape[1:])))] = part.values
    peak = float(reference.max())
    if peak == 0.0:
        return "the first sample does not activate the unit, so the window could not be checked"
    difference = float((placed - reference).abs().max()) / peak
    if difference <= SELF_CHECK_TOLERANCE:
        return ""
    return f"the window's map differs from the whole input's by {difference:.1e} of its maximum"


def _stacks(
    targets: Sequence[Target], numbers: list[int], inputs: Tensor
) -> Iterator[list[tuple[int, Window]]]:
    """Windows of one layer and one shape, as many at a time as cover no more than the input itself."""
    alike: dict[tuple[int, tuple[int, ...]], list[tuple[int, Window]]] = {}
    for number in numbers:
        window = targets[number].window
        assert isinstance(window, Window)
        alike.setdefault((targets[number].place, window.shape), []).append((number, window))
    for (_, shape), group in alike.items():
        fitting = max(1, math.prod(inputs.shape[2:]) // math.prod(shape))
        for first in range(0, len(group), fitting):
            yield group[first : first + fitting]
