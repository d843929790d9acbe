"""The plan of a measurement: its units, and for each the cheapest exact route."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from ..geometry.field import TheoreticalReceptiveField
from ..geometry.region import Region
from ..geometry.search import probe, warn_of_estimates
from ..network.batch import Batch, finite_samples
from ..network.guards import same_random_numbers
from ..network.looks import Look
from ..network.network import Network
from ..network.precision import full_precision
from ..network.readings import Settled, settle
from ..network.units import GRID, Position, Positions
from ..result.sums import only
from .measurement import Measurement
from .rehearsal import Rehearsal, Verdict, WindowRefuted
from .routes import Advance, PyramidWindow, Route, Unit, WholeInput, ignore, sample_maps_of
from .sample_maps import SampleMaps
from .sharing import MANY

REACH = 1e-4  # of a map's maximum that may be seen outside the theoretical field
SWALLOWED_IN_PART = (
    "its gradient reaches outside the field that NaN finds, as where torch.where or nan_to_num swallow it"
)

FAINT = 1e-30  # from where on a gradient in single precision may have passed through denormal numbers
LIFT = 2.0**64
ROUNDING = 1e-4

Fields = list[list[TheoreticalReceptiveField | None]]


@dataclass(frozen=True)
class Plan:
    """The units of a measurement, layer by layer and position by position, and the route of each.

    ``cancelling`` names the layers of which the channels sum to a constant.
    """

    measurement: Measurement
    units: tuple[Unit, ...]
    routes: tuple[Route, ...]
    verdicts: dict[Unit, Verdict]
    cancelling: Sequence[str] = ()

    def layer(self, unit: Unit) -> str:
        """The name of the unit's layer."""
        return self.measurement.network.layers[unit.place].name

    def sample_maps(self, batch: Batch, advance: Advance = ignore) -> list[SampleMaps]:
        """
        Sample maps of the units, in their order; NaN for samples that are not finite themselves.

        ``advance`` is told which share of them is done.

        Raises:
            WindowRefuted: The network does not take a part of the input in which it took other samples.
        """
        try:
            found = self._sample_maps(batch, advance)
        except Exception as error:
            if not self.alone:
                raise
            sample_maps_of(self.measurement, self.units, [WholeInput("self-check")] * len(self.units), batch)
            raise self._refuted(dict.fromkeys(self.alone, f"the network fails there: {error}")) from error
        finite = finite_samples(batch.measured)
        return [replace(maps, values=only(finite, maps.values, math.nan)) for maps in found]

    def _sample_maps(self, batch: Batch, advance: Advance = ignore) -> list[SampleMaps]:
        found = sample_maps_of(self.measurement, self.units, self.routes, batch, advance)
        if self.measurement.lift > 1 and not all(finite_samples(maps.values).all() for maps in found):
            return sample_maps_of(replace(self.measurement, lift=1.0), self.units, self.routes, batch)
        return found

    def lifted(self, batch: Batch, maps: Sequence[SampleMaps]) -> Plan:
        """
        The plan for gradients that fade out into denormal numbers, as in a ConvNeXt that is not trained.

        A CPU computes with these up to a hundred times as long; only those of the calling thread can be flushed. Where
        the maps of one sample, which activates every unit, are the same for gradients that are larger by a power of two
        on their way, these are taken.
        """
        if self.measurement.autocast is not None or not any(map(_fades_out, maps)):
            return self
        alive = torch.stack([finite_samples(item.values) & item.values.flatten(1).any(1) for item in maps]).all(0)
        if not alive.any():
            return self
        sample, lifted = batch.sample(int(alive.int().argmax())), replace(self.measurement, lift=LIFT)
        found = []
        with suppress(Exception):
            for measurement in (lifted, self.measurement):
                with same_random_numbers(batch.measured.device):
                    found.append(sample_maps_of(measurement, self.units, self.routes, sample))
            pairs = list(zip(*found, strict=True))
            if all(torch.allclose(ours.values, theirs.values, ROUNDING, FAINT) for ours, theirs in pairs):
                return replace(self, measurement=lifted)
        return self

    def look_again(self, batch: Batch) -> None:
        """
        Computes one sample of a later batch both ways: its values, and its map where the network may take decisions.

        Raises:
            WindowRefuted: Hard decisions taken from the whole image have come out differently for this sample.
        """
        if not self.alone:
            return
        deciding = {unit for unit in self.alone if self.verdicts[unit].decides}
        with full_precision():
            differences = Rehearsal(self.measurement, batch.usable_sample()).refuted(self.alone, deciding)
        if differences:
            raise self._refuted(differences)

    @property
    def alone(self) -> dict[Unit, PyramidWindow]:
        """The units that run on a part of the input or of the activations, with their routes."""
        pairs = zip(self.units, self.routes, strict=True)
        return {unit: route for unit, route in pairs if isinstance(route, PyramidWindow)}

    def _refuted(self, reasons: Mapping[Unit, str]) -> WindowRefuted:
        for unit, reason in reasons.items():
            self.verdicts[unit] = Verdict(WholeInput(f"a later sample showed that {reason}"))
        unit, reason = next(iter(reasons.items()))
        return WindowRefuted(
            f"Layer {self.layer(unit)!r} was measured on a part of the input, on which the first samples came out as "
            f"on the whole; for a later one {reason}. The network takes a decision from the whole input. What was "
            "summed up may be wrong and is not given out. Measure again, for which this object uses the whole input, "
            "or pass window=False."
        )

    def corrected(self, maps: Sequence[SampleMaps]) -> Plan:
        """The plan with estimated fields, and a warning, where maps reach outside the fields that NaN found."""
        measurement = self.measurement
        if measurement.neuron_selector is not None or callable(measurement.magnitude) or not measurement.eval_mode:
            return self
        units, wrong = list(self.units), []
        for number, (unit, route, found) in enumerate(zip(self.units, self.routes, maps, strict=True)):
            field = unit.theoretical
            if route.covers_all and field and _reaches_outside(field, found):
                field = TheoreticalReceptiveField.unprobed(field.input_size, field.grid, field.position)
                units[number] = replace(unit, theoretical=field)
                wrong.append(self.layer(unit))
        warn_of_estimates(list(dict.fromkeys(wrong)), SWALLOWED_IN_PART)
        return replace(self, units=tuple(units))


def make_plan(measurement: Measurement, batch: Batch, expected: int = MANY, look: Look | None = None) -> Plan:
    """
    Finds the units' theoretical fields and their routes, with one sample of a batch and the values of four.

    What planning takes has to come back: over fewer samples than are ``expected``, units keep the whole input, or their
    window, without crops on the way (see :mod:`captum_erf.measurement.sharing`).
    """
    sample = batch.usable_sample()
    settled, fields = _fields(measurement, sample, look)
    cancelling = settled.cancelling if measurement.neuron_selector is None and measurement.channel is None else []
    if cancelling:
        settled.warn_of_cancelling()
    if measurement.eval_mode:
        settled.warn_of_unseen()
        if measurement.generator is None:
            settled.warn_of_random()
    measurement = replace(measurement, network=settled.network)
    units = tuple(
        Unit(place, position, theoretical)
        for place, row in enumerate(fields)
        for position, theoretical in zip(_named(measurement.positions, row), row, strict=True)
    )
    refusal = _refusal(measurement)
    if refusal:
        return Plan(measurement, units, (WholeInput(refusal),) * len(units), {}, cancelling)
    network = measurement.network
    state = (tuple(sample.measured.shape), measurement.eval_mode, network.settings(), network.weights())
    verdicts: dict[Unit, Verdict] = measurement.memo.recall(("verdicts", *state), dict) if sample.is_alone else {}
    routes = Rehearsal(measurement, sample, expected).routes(units, verdicts, batch)
    return Plan(measurement, units, routes, verdicts, cancelling)


def _fields(measurement: Measurement, sample: Batch, look: Look | None) -> tuple[Settled, Fields]:
    """The network with its calls settled, and the theoretical fields of its units."""
    find = _fields_or_none if measurement.neuron_selector is not None else _fields_of_all
    network, positions = measurement.network, measurement.positions
    if not sample.is_alone:
        return find(network, positions, sample, look)
    key = (find, positions, tuple(sample.measured.shape[1:]), network.settings())
    return measurement.memo.recall(key, lambda: find(network, positions, sample, look))


def _named(positions: Positions, fields: Sequence[TheoreticalReceptiveField | None]) -> Sequence[Position]:
    """The positions of a layer's units one by one."""
    if positions == GRID:
        return ["center" if field is None else field.position for field in fields]
    return positions


def _fields_of_all(network: Network, positions: Positions, sample: Batch, look: Look | None) -> tuple[Settled, Fields]:
    settled = settle(network, sample, look=look)
    return settled, [list(row) for row in probe(settled, sample, positions)]


def _fields_or_none(network: Network, positions: Positions, sample: Batch, look: Look | None) -> tuple[Settled, Fields]:
    """A neuron selector needs no grid: where a layer has none, its units have no fields."""
    settled = settle(network, sample, grids=False, look=look)
    fields: Fields = []
    for place in range(len(network.layers)):
        try:
            (row,) = _fields_of_all(settled.network.only([place]), positions, sample, None)[1]
            fields.append([field if field and not field.is_estimated else None for field in row])
        except (ValueError, TypeError):
            fields.append([None] * (1 if positions == GRID else len(positions)))
    return settled, fields


def _refusal(measurement: Measurement) -> str:
    """Why neither inputs nor activations may be cropped."""
    reasons = {
        "window=False": measurement.window is False,
        "a neuron selector is used": measurement.neuron_selector is not None,
        "normalisation mixes the samples": bool(measurement.network.mixes_samples()),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _fades_out(maps: SampleMaps) -> bool:
    """Whether maps in single precision on a CPU hold numbers next to the smallest."""
    values = maps.values.detach()
    is_single = values.dtype == torch.float32 and values.device.type == "cpu"
    return is_single and bool(((values > 0) & (values < FAINT)).any())


def _reaches_outside(theoretical: TheoreticalReceptiveField, maps: SampleMaps) -> bool:
    stop = [max(high, 0) for high in theoretical.upper]
    inside = Region.between([max(low, 0) for low in theoretical.lower], stop)
    outside = maps.values.detach().abs()
    peak = float(outside.max())
    outside[inside.index] = 0
    return float(outside.max()) > REACH * peak
