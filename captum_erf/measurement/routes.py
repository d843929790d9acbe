"""Routes: how the sample maps of a unit are computed, and why in this way.

Units that see most of the input share one forward pass over the whole of it, stopped after the deepest layer. The
others run alone on the part of the input, and of the activations on the way, that they need; equal parts are stacked
into one batch, and layers of which the very same runs share the pass. A further route is a further class in ``ROUTES``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..geometry.field import TheoreticalReceptiveField
from ..geometry.places import at_unit
from ..geometry.pyramids import Pyramid
from ..geometry.region import Region
from ..geometry.windows import Window
from ..network.batch import Batch
from ..network.crops import cropping
from ..network.gradient import unit_gradients
from ..network.passes import read
from ..network.units import Channel, Position, Reader, Selected, Units
from .measurement import Measurement
from .sample_maps import SampleMaps, sample_maps

Advance = Callable[[float], None]  # is told which share of the work is done


def ignore(share: float) -> None:
    """Who waits for nothing."""


@dataclass(frozen=True)
class Unit:
    """A unit of the layer at a place in the network's list, with its theoretical field where the layer has a grid."""

    place: int
    position: Position
    theoretical: TheoreticalReceptiveField | None


class Route(ABC):
    """A way from a batch to the sample maps of units."""

    @property
    @abstractmethod
    def words(self) -> str:
        """Which part of the input is used, as the recipe tells it."""

    @property
    @abstractmethod
    def covers_all(self) -> bool:
        """Whether the maps show the gradient wherever there may be one."""

    @classmethod
    @abstractmethod
    def sample_maps(
        cls, measurement: Measurement, steps: Sequence[Step], batch: Batch
    ) -> Iterator[tuple[int, SampleMaps]]:
        """The maps of all units that take this route, each with its number."""


class Step(NamedTuple):
    """A unit on its route, by its number in the plan."""

    number: int
    unit: Unit
    route: Route


@dataclass(frozen=True)
class WholeInput(Route):
    """Everything runs, for a stated reason."""

    reason: str

    @property
    def words(self) -> str:
        return f"whole input: {self.reason}"

    @property
    def covers_all(self) -> bool:
        return True

    @classmethod
    def sample_maps(
        cls, measurement: Measurement, steps: Sequence[Step], batch: Batch
    ) -> Iterator[tuple[int, SampleMaps]]:
        places = sorted({step.unit.place for step in steps})
        rows = [[step for step in steps if step.unit.place == place] for place in places]
        readers = [[_reader(measurement, step.unit) for step in row] for row in rows]
        network = measurement.network.only(places)
        for row, column, gradients in unit_gradients(network, readers, batch, **measurement.ways):
            gradient = _or_zero(gradients[measurement.input_index], batch.measured)
            maps = sample_maps(gradient, Region.whole(batch.size), batch.size, measurement.magnitude)
            yield rows[row][column].number, maps


@dataclass(frozen=True)
class PyramidWindow(Route):
    """The smallest part of the input, and of the activations on the way, that gives the same map runs alone.

    ``reason`` says why the part of the input is all of it, where it is.
    """

    window: Window
    pyramid: Pyramid
    reason: str = ""

    @property
    def words(self) -> str:
        count = len(self.pyramid.steps)
        crops = f", cropped {count} time{'s' * (count > 1)} on the way" if count else ""
        if self.reason:
            return f"whole input: {self.reason}{crops}"
        return f"window {self.window.region.shape} at {self.window.region.offset}{crops}"

    @property
    def covers_all(self) -> bool:
        return bool(self.reason)

    def part(self, batch: Batch) -> Batch:
        """The batch's part that runs."""
        return batch if self.reason else replace(batch, inputs=(batch.measured[self.window.region.index],))

    def values(self, measurement: Measurement, unit: Unit, batch: Batch) -> Tensor:
        """The unit's values ``(N, C)``."""
        with torch.no_grad(), cropping([self.pyramid.steps]):
            (output,) = read(measurement.network.only([unit.place]), self.part(batch))
        return at_unit(output, self.pyramid.index)

    @classmethod
    def sample_maps(
        cls, measurement: Measurement, steps: Sequence[Step], batch: Batch
    ) -> Iterator[tuple[int, SampleMaps]]:
        for stacks in _together(_stacks(steps, batch.size)):
            routes = stacks[0].routes
            parts = [route.part(batch) for route in routes]
            together = (torch.cat([part.measured for part in parts]),)
            stacked = parts[0] if len(parts) == 1 else replace(parts[0], inputs=together)
            network = measurement.network.only([stack.place for stack in stacks])
            readers = [[stack.reader(measurement.channel)] for stack in stacks]
            with cropping([route.pyramid.steps for route in routes]):
                shown = list(unit_gradients(network, readers, stacked, **measurement.ways))
            for row, _, gradients in shown:
                found = _or_zero(gradients[stacked.index or 0], stacked.measured).chunk(len(routes))
                for number, route, part in zip(stacks[row].numbers, stacks[row].routes, found, strict=True):
                    yield number, sample_maps(part, route.window.region, batch.size, measurement.magnitude)


ROUTES: tuple[type[Route], ...] = (WholeInput, PyramidWindow)  # in the order in which they run


def sample_maps_of(
    measurement: Measurement,
    units: Sequence[Unit],
    routes: Sequence[Route],
    batch: Batch,
    advance: Advance = ignore,
) -> list[SampleMaps]:
    """Sample maps of units on their routes, in their order; ``advance`` is told which share of them is done."""
    steps = [Step(number, *pair) for number, pair in enumerate(zip(units, routes, strict=True))]
    found: dict[int, SampleMaps] = {}
    for kind in ROUTES:
        taking = [step for step in steps if isinstance(step.route, kind)]
        for number, maps in kind.sample_maps(measurement, taking, batch) if taking else ():
            found[number] = maps
            advance(len(found) / len(units))
    return [found[step.number] for step in steps]


def _reader(measurement: Measurement, unit: Unit) -> Reader:
    if measurement.neuron_selector is not None:
        return Selected(measurement.neuron_selector)
    position = unit.position if unit.theoretical is None else unit.theoretical.position
    return Units((position,), measurement.channel)


def _or_zero(gradient: Tensor | None, inputs: Tensor) -> Tensor:
    return torch.zeros_like(inputs) if gradient is None else gradient


class Stack(NamedTuple):
    """Units of one layer, by their numbers, that share a pass."""

    place: int
    numbers: tuple[int, ...]
    routes: tuple[PyramidWindow, ...]

    def reader(self, channel: Channel) -> Units:
        return Units(tuple(route.pyramid.index for route in self.routes), channel)

    @property
    def passes(self) -> tuple[Any, ...]:
        """What is run for them."""
        return tuple((route.window.region, route.pyramid.steps) for route in self.routes)


def _stacks(steps: Sequence[Step], size: Sequence[int]) -> Iterator[Stack]:
    """Units of one layer whose windows and crops have the same shapes, as many as cover no more than the input."""
    alike: dict[Any, list[tuple[int, PyramidWindow]]] = {}
    for number, unit, route in steps:
        assert isinstance(route, PyramidWindow)
        alike.setdefault((unit.place, route.window.region.shape, route.pyramid.kind), []).append((number, route))
    for (place, shape, _), group in alike.items():
        fitting = max(1, math.prod(size) // math.prod(shape))
        for first in range(0, len(group), fitting):
            yield Stack(place, *zip(*group[first : first + fitting], strict=True))


def _together(stacks: Iterable[Stack]) -> Iterable[list[Stack]]:
    """Of several layers, those for which the very same is run, up to the deepest of them."""
    alike: dict[Any, list[Stack]] = {}
    for stack in stacks:
        alike.setdefault(stack.passes, []).append(stack)
    return alike.values()
