"""Routes: how the sample maps of a unit are computed, and why in this way.

Units that see most of the input share one forward pass over the whole of it, stopped after the deepest layer. The
others run on windows alone; equal windows are stacked into one batch. A further route is a further class in ``ROUTES``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..geometry.field import TheoreticalReceptiveField
from ..geometry.region import Region
from ..geometry.windows import Window
from ..network.batch import Batch
from ..network.gradient import unit_gradients
from ..network.units import Position, Reader, Selected, Units
from .measurement import Measurement
from .sample_maps import SampleMaps, sample_maps


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

    @classmethod
    def sample_maps(
        cls, measurement: Measurement, steps: Sequence[Step], batch: Batch
    ) -> Iterator[tuple[int, SampleMaps]]:
        places = sorted({step.unit.place for step in steps})
        rows = [[step for step in steps if step.unit.place == place] for place in places]
        readers = [[_reader(measurement, step.unit) for step in row] for row in rows]
        network = measurement.network.only(places)
        for row, column, gradients in unit_gradients(network, readers, batch, autocast=measurement.autocast):
            gradient = _or_zero(gradients[measurement.input_index], batch.measured)
            maps = sample_maps(gradient, Region.whole(batch.size), batch.size, measurement.magnitude)
            yield rows[row][column].number, maps


@dataclass(frozen=True)
class InputWindow(Route):
    """The smallest part of the input that gives the same map runs alone."""

    window: Window

    @property
    def words(self) -> str:
        return f"window {self.window.region.shape} at {self.window.region.offset}"

    @classmethod
    def sample_maps(
        cls, measurement: Measurement, steps: Sequence[Step], batch: Batch
    ) -> Iterator[tuple[int, SampleMaps]]:
        for place, stack in _stacks(steps, batch.size):
            windows = [window for _, window in stack]
            crops = torch.cat([batch.measured[window.region.index] for window in windows])
            reader = Units(tuple(window.unit for window in windows), measurement.channel)
            network = measurement.network.only([place])
            ((_, _, (gradient,)),) = unit_gradients(network, [[reader]], Batch((crops,)), autocast=measurement.autocast)
            parts = _or_zero(gradient, crops).chunk(len(stack))
            for (number, window), part in zip(stack, parts, strict=True):
                yield number, sample_maps(part, window.region, batch.size, measurement.magnitude)


ROUTES: tuple[type[Route], ...] = (WholeInput, InputWindow)  # in the order in which they run


def _reader(measurement: Measurement, unit: Unit) -> Reader:
    if measurement.neuron_selector is not None:
        return Selected(measurement.neuron_selector)
    position = unit.position if unit.theoretical is None else unit.theoretical.position
    return Units((position,), measurement.channel)


def _or_zero(gradient: Tensor | None, inputs: Tensor) -> Tensor:
    return torch.zeros_like(inputs) if gradient is None else gradient


def _stacks(steps: Sequence[Step], size: Sequence[int]) -> Iterator[tuple[int, list[tuple[int, Window]]]]:
    """Windows of one layer and one shape, as many at a time as cover no more than the input itself."""
    alike: dict[tuple[int, tuple[int, ...]], list[tuple[int, Window]]] = {}
    for number, unit, route in steps:
        assert isinstance(route, InputWindow)
        alike.setdefault((unit.place, route.window.region.shape), []).append((number, route.window))
    for (place, shape), group in alike.items():
        fitting = max(1, math.prod(size) // math.prod(shape))
        for first in range(0, len(group), fitting):
            yield place, group[first : first + fitting]
