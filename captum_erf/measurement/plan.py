"""The plan of a measurement: its units, and for each the cheapest exact route.

A window is used only after one sample, computed both ways, has come out the same, and NaN has shown that the unit sees
in the window what it sees in the whole input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..geometry.field import TheoreticalReceptiveField
from ..geometry.nan_mode import safe_nan
from ..geometry.region import Region
from ..geometry.search import probe, warn_of_estimates
from ..geometry.windows import Window, field_ends, field_inside, find_window, larger_windows
from ..network.batch import Batch
from ..network.network import Network
from ..network.passes import read
from ..network.readings import Settled, settle
from ..network.units import Position
from ..result.sums import finite_samples
from .measurement import Measurement
from .routes import ROUTES, InputWindow, Route, Step, Unit, WholeInput
from .sample_maps import SampleMaps

TOLERANCE = 1e-4  # of a map's maximum, by which a window's may differ from the whole input's
SWALLOWED_IN_PART = (
    "its gradient reaches outside the field that NaN finds, as where torch.where or nan_to_num swallow it"
)

Fields = list[list[TheoreticalReceptiveField | None]]


@dataclass(frozen=True)
class Plan:
    """The units of a measurement, layer by layer and position by position, and the route of each."""

    measurement: Measurement
    units: tuple[Unit, ...]
    routes: tuple[Route, ...]

    def layer(self, unit: Unit) -> str:
        """The name of the unit's layer."""
        return self.measurement.network.layers[unit.place].name

    def sample_maps(self, batch: Batch) -> list[SampleMaps]:
        """Sample maps of the units, in their order; NaN for samples that are not finite themselves."""
        steps = [Step(number, *pair) for number, pair in enumerate(zip(self.units, self.routes, strict=True))]
        found: dict[int, SampleMaps] = {}
        for kind in ROUTES:
            taking = [step for step in steps if isinstance(step.route, kind)]
            if taking:
                found.update(kind.sample_maps(self.measurement, taking, batch))
        finite = finite_samples(batch.measured)
        if not finite.all():
            for maps in found.values():
                maps.values[~finite] = math.nan
        return [found[step.number] for step in steps]

    def corrected(self, maps: Sequence[SampleMaps]) -> Plan:
        """The plan with estimated fields, and a warning, where maps reach outside the fields that NaN found."""
        measurement = self.measurement
        if measurement.neuron_selector is not None or callable(measurement.magnitude) or not measurement.eval_mode:
            return self
        units, wrong = list(self.units), []
        for number, (unit, route, found) in enumerate(zip(self.units, self.routes, maps, strict=True)):
            field = unit.theoretical
            if isinstance(route, WholeInput) and field and _reaches_outside(field, found):
                field = TheoreticalReceptiveField.unprobed(field.input_size, field.grid, field.position)
                units[number] = replace(unit, theoretical=field)
                wrong.append(self.layer(unit))
        warn_of_estimates(list(dict.fromkeys(wrong)), SWALLOWED_IN_PART)
        return replace(self, units=tuple(units))


def make_plan(measurement: Measurement, batch: Batch) -> Plan:
    """Finds the units' theoretical fields and their routes with one sample of a batch."""
    sample = _usable_sample(batch)
    settled, fields = _fields(measurement, sample)
    if measurement.neuron_selector is None and measurement.channel is None:
        settled.warn_of_cancelling()
    if measurement.eval_mode:
        settled.warn_of_unseen()
    measurement = replace(measurement, network=settled.network)
    units = tuple(
        Unit(place, position, theoretical)
        for place, row in enumerate(fields)
        for position, theoretical in zip(measurement.positions, row, strict=True)
    )
    reason = _reason_for_whole_input(measurement, sample)
    routes = [WholeInput(reason) if reason else _likely_route(unit) for unit in units]
    return Plan(measurement, units, _proved(measurement, units, routes, sample))


def _usable_sample(batch: Batch) -> Batch:
    """One sample to set up with: the first that is finite, or the first one with zeros where it is not."""
    sample = batch.sample(int(finite_samples(batch.measured).int().argmax()))
    finite = [
        torch.nan_to_num(item, 0.0, 0.0, 0.0) if isinstance(item, Tensor) and item.is_floating_point() else item
        for item in sample.inputs
    ]
    return replace(sample, inputs=tuple(finite))


def _fields(measurement: Measurement, sample: Batch) -> tuple[Settled, Fields]:
    """The network with its calls settled, and the theoretical fields of its units."""
    find = _fields_or_none if measurement.neuron_selector is not None else _fields_of_all
    network, positions = measurement.network, measurement.positions
    if not sample.is_alone:
        return find(network, positions, sample)
    key = (find, tuple(positions), tuple(sample.measured.shape[1:]), network.settings())
    return measurement.memo.recall(key, lambda: find(network, positions, sample))


def _fields_of_all(network: Network, positions: Sequence[Position], sample: Batch) -> tuple[Settled, Fields]:
    settled = settle(network, sample)
    return settled, [list(row) for row in probe(settled, sample, positions)]


def _fields_or_none(network: Network, positions: Sequence[Position], sample: Batch) -> tuple[Settled, Fields]:
    """A neuron selector needs no grid: where a layer has none, its units have no fields."""
    settled = settle(network, sample, grids=False)
    fields: Fields = []
    for place in range(len(network.layers)):
        try:
            (row,) = _fields_of_all(settled.network.only([place]), positions, sample)[1]
            fields.append([field if field and not field.is_estimated else None for field in row])
        except (ValueError, TypeError):
            fields.append([None] * len(positions))
    return settled, fields


def _reason_for_whole_input(measurement: Measurement, sample: Batch) -> str:
    reasons = {
        "window=False": measurement.window is False,
        "a neuron selector is used": measurement.neuron_selector is not None,
        "the network takes several inputs": len(sample.inputs) > 1,
        "the network takes additional arguments": len(sample.arguments) > 0,
        "normalisation mixes the samples": bool(measurement.network.mixes_samples()),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _likely_route(unit: Unit) -> Route:
    if unit.theoretical is None:
        return WholeInput("the layer has no grid")
    window = find_window(unit.theoretical)
    return InputWindow(window) if isinstance(window, Window) else WholeInput(window)


def _proved(
    measurement: Measurement, units: Sequence[Unit], routes: Sequence[Route], sample: Batch
) -> tuple[Route, ...]:
    """The routes, with windows only where they have been proved."""
    network = measurement.network
    state = (tuple(sample.measured.shape), measurement.eval_mode, network.settings(), network.weights())
    verdicts: dict[Unit, Route] = measurement.memo.recall(("verdicts", *state), dict)
    windowed = {unit for unit, route in zip(units, routes, strict=True) if isinstance(route, InputWindow)}
    unknown = [unit for unit in units if unit in windowed and unit not in verdicts]
    if unknown:
        with torch.backends.cudnn.flags(enabled=False):  # whose TF32 differs by more than the tolerance
            verdicts.update(_verdicts(measurement, unknown, sample))
    return tuple(verdicts[unit] if unit in windowed else route for unit, route in zip(units, routes, strict=True))


def _verdicts(measurement: Measurement, units: Sequence[Unit], sample: Batch) -> dict[Unit, Route]:
    """For each unit the window whose map equals the whole input's, or why there is none."""
    exact = replace(measurement, channel=_every_channel, magnitude="abs", autocast=None)
    references = Plan(exact, tuple(units), (WholeInput("self-check"),) * len(units)).sample_maps(sample)
    return {
        unit: _proved_window(exact, unit, sample, reference.values)
        for unit, reference in zip(units, references, strict=True)
    }


def _proved_window(measurement: Measurement, unit: Unit, sample: Batch, reference: Tensor) -> Route:
    """The smallest window in which the unit sees its very field, where its map equals the reference."""
    reason = ""
    assert unit.theoretical is not None
    for window in larger_windows(unit.theoretical):
        route = InputWindow(window)
        try:
            (found,) = Plan(measurement, (unit,), (route,)).sample_maps(sample)
            if _sees_its_field(measurement.network.only([unit.place]), unit.theoretical, window, sample, found):
                difference = _difference(found, reference)
                return WholeInput(difference) if difference else route
            reason = "the unit sees another part of the input in the window"
        except Exception as error:
            reason = f"the network does not take the window: {error}"
    return WholeInput(reason)


def _sees_its_field(
    network: Network, theoretical: TheoreticalReceptiveField, window: Window, sample: Batch, found: SampleMaps
) -> bool:
    """Whether the unit sees none of the window around its field, and something at each of the field's ends.

    What a map does not show, NaN does: it reaches the unit from wherever the unit sees.
    """
    crop = sample.measured[window.region.index]
    around = torch.full_like(crop, math.nan)
    inside = field_inside(theoretical, window).index
    around[inside] = crop[inside]
    at_ends = []
    for end in field_ends(theoretical, window):
        if not found.values[end.index].any():
            at_ends.append(crop.clone())
            at_ends[-1][end.index] = math.nan
    with torch.no_grad(), safe_nan():
        (output,) = read(network, Batch((torch.cat([around, *at_ends]),)))
    index: tuple[Any, ...] = (..., *window.unit)
    reached: list[bool] = output[index].isnan().any(1).tolist()
    return reached == [False, *[True] * len(at_ends)]


def _difference(part: SampleMaps, reference: Tensor) -> str:
    """Why the window may not be used; nothing where it may."""
    peak = float(reference.max())
    if peak == 0.0:
        return "the first sample does not activate the unit, so the window could not be checked"
    difference = float((part.over(reference.shape[1:]) - reference).abs().max()) / peak
    if difference <= TOLERANCE:
        return ""
    return f"the window's map differs from the whole input's by {difference:.1e} of its maximum"


def _every_channel(values: Tensor) -> Tensor:
    """A scalar in which no channels cancel, and whose gradient shows where a unit's values differ."""
    weights = torch.arange(values.shape[1], device=values.device).cos().to(values.dtype)
    peak = values.detach().abs().amax(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    return (weights * values * (1 + values / (4 * peak))).sum(1)


def _reaches_outside(theoretical: TheoreticalReceptiveField, maps: SampleMaps) -> bool:
    stop = [max(high, 0) for high in theoretical.upper]
    inside = Region.between([max(low, 0) for low in theoretical.lower], stop)
    outside = maps.values.detach().abs()
    peak = float(outside.max())
    outside[inside.index] = 0
    return float(outside.max()) > TOLERANCE * peak
