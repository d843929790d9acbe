"""The rehearsal: which part of the input, and of the activations on the way, gives a unit's map as the whole would.

A window is used only after one sample, computed both ways, has come out the same, and NaN has shown that the unit sees
in the window what it sees in the whole input; crops on the way only after the like (see
:mod:`captum_erf.geometry.pyramids`). Hard decisions that are taken from the whole input, such as those of a router,
cross neither as NaN nor as a gradient: they show in the unit's values, which are compared for some samples more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..geometry.places import Trace, View, at_unit
from ..geometry.pyramids import Proof, Pyramid, agree, pyramid_of, worth_cropping
from ..geometry.region import Region
from ..geometry.windows import Window, field_inside, field_within, find_window, larger_windows
from ..network.batch import Batch, finite_samples
from ..network.crops import Step, cropping
from ..network.network import Network
from ..network.passes import read
from ..network.precision import full_precision
from .measurement import Measurement
from .routes import PyramidWindow, Route, Unit, WholeInput, sample_maps_of
from .sample_maps import SampleMaps, sample_maps
from .sharing import MANY, PLANNING, WITNESSES, Costs, alone, is_worth_a_window, pays
from .sight import sees_its_field

TOLERANCE = {torch.float64: 1e-12}  # of the largest value, by which parts and whole may differ
TOLERANCE_ELSE = 1e-4
NUM_WITNESSES = 4  # where nothing in the network looks like a decision; else all samples of the first batch
DEAD = "the first sample does not activate the unit, so the window could not be checked"


class WindowRefuted(RuntimeError):
    """A later sample has shown that a window's map is not that of the whole input."""


@dataclass(frozen=True)
class Verdict:
    """
    What is known of a unit.

    Attributes:
        route (Route): How it runs best alone.
        costs (Costs, optional): Where they are known.
        is_final (bool): Whether no better route may pay with more samples.
        decides (bool): Whether the network may take decisions that no gradient shows.
    """

    route: WholeInput | PyramidWindow
    costs: Costs | None = None
    is_final: bool = True
    decides: bool = True


@dataclass
class Rehearsal:
    """
    Compares parts and whole.

    Args:
        measurement (Measurement): What is measured; its network is settled.
        sample (Batch): One finite sample.
        expected (int): Samples that will follow.
        known (dict[Unit, Tensor]): What the whole sample has shown of units' values.
    """

    measurement: Measurement
    sample: Batch
    expected: int = MANY
    known: dict[Unit, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.exact = replace(self.measurement, channel=every_channel, magnitude="abs", autocast=None)
        self.tolerance = TOLERANCE.get(self.sample.measured.dtype, TOLERANCE_ELSE)

    def routes(self, units: Sequence[Unit], verdicts: dict[Unit, Verdict], witnesses: Batch) -> tuple[Route, ...]:
        """The routes of units; what is found out of them is added to the verdicts."""
        beside = Counter(unit.place for unit in units)
        likely = {unit: self._likely_window(unit, verdicts.get(unit), witnesses, beside[unit.place]) for unit in units}
        open_units = [unit for unit in likely if unit not in verdicts or self._is_open(verdicts[unit])]
        fresh: dict[Unit, Verdict] = {}
        with full_precision():
            fresh |= self._on_windows([unit for unit in open_units if isinstance(likely[unit], Window)])
            refused = {unit: verdict.route for unit, verdict in fresh.items()}
            likely |= {unit: route.reason for unit, route in refused.items() if isinstance(route, WholeInput)}
            whole = {unit: reason for unit, reason in likely.items() if isinstance(reason, str)}
            fresh |= self._on_whole_inputs(whole, {unit: verdicts[unit] for unit in whole if unit not in open_units})
            verdicts.update(self._witnessed(fresh, witnesses))
        shared = whole.keys() - self._alone({unit: verdicts[unit] for unit in whole})
        return tuple(WholeInput(whole[unit]) if unit in shared else verdicts[unit].route for unit in units)

    def refuted(self, routes: Mapping[Unit, PyramidWindow], deciding: Container[Unit]) -> dict[Unit, str]:
        """
        The units of which the sample does not come out on their routes as on the whole input, and in what.

        Values are compared, of units that may depend on decisions maps as well. In single precision a ReLU about to
        switch moves a map, but no value, by more than rounding does: the tolerance is wider for maps.
        """
        found: dict[Unit, str] = {}
        steady = [unit for unit in routes if unit not in deciding]
        for unit, values in self._values(steady, self.sample).items():
            if not agree(routes[unit].values(self.measurement, unit, self.sample), values, self.tolerance):
                found[unit] = "the unit's values were others there"
        for unit, (values, gradient) in self._wholes([unit for unit in routes if unit in deciding]).items():
            route = routes[unit]
            ((own, part),) = self._shown([unit], route.part(self.sample), [route.pyramid.index], route.pyramid.steps)
            maps = sample_maps(part, route.window.region, self.sample.size, "abs").over(self.sample.size)
            if not agree(own, values, self.tolerance):
                found[unit] = "the unit's values were others there"
            elif not agree(maps, gradient.abs().sum(1).to(maps), max(self.tolerance, self.tolerance**0.5)):
                found[unit] = "the map was another there"
        return found

    def _values(self, units: Sequence[Unit], batch: Batch) -> dict[Unit, Tensor]:
        """The values of units over the whole input, ``(N, C)``."""
        if not units:
            return {}
        places = sorted({unit.place for unit in units})
        with torch.no_grad():
            outputs = dict(zip(places, read(self.measurement.network.only(places), batch), strict=True))
        return {unit: at_unit(outputs[unit.place], _position(unit)) for unit in units}

    def _wholes(self, units: Sequence[Unit]) -> dict[Unit, tuple[Tensor, Tensor]]:
        """The values of units for the whole sample, and the gradients of all channels."""
        if not units:
            return {}
        return dict(zip(units, self._shown(units, self.sample, list(map(_position, units))), strict=True))

    def _shown(
        self, units: Sequence[Unit], part: Batch, indices: Sequence[tuple[int, ...]], steps: Sequence[Step] = ()
    ) -> list[tuple[Tensor, Tensor]]:
        """The values of units for a part of the sample, and the gradients of all channels."""
        places = sorted({unit.place for unit in units})
        leaf = part.measured.detach().clone().requires_grad_()
        shown = []
        with cropping([steps]):
            outputs = read(self.measurement.network.only(places), part.with_measured(leaf))
            for unit, index in zip(units, indices, strict=True):
                values = at_unit(outputs[places.index(unit.place)], index)
                shown.append((values.detach(), _gradient(every_channel(values).sum(), leaf)))
        return shown

    def _is_open(self, verdict: Verdict) -> bool:
        if verdict.is_final:
            return False
        share = verdict.costs.share if verdict.costs else 0.0
        return pays(share, self.expected)

    def _likely_window(self, unit: Unit, verdict: Verdict | None, batch: Batch, units: int) -> Window | str:
        """The window that one of so many units of a layer has, or may have; else why it has none."""
        if verdict is not None:
            route = verdict.route
            return route.window if isinstance(route, PyramidWindow) and not route.reason else route.reason
        if len(batch.inputs) > 1:
            return "the network takes several inputs"
        if batch.has_arguments_by_sample:
            return "the network takes additional arguments that hold one entry for each sample"
        if unit.theoretical is None:
            return "the layer has no grid"
        window = find_window(unit.theoretical)
        if isinstance(window, Window) and not is_worth_a_window(
            math.prod(window.region.shape) / math.prod(batch.size), units
        ):
            return "the layer's other units share the pass"
        return window

    def _network(self, unit: Unit) -> Network:
        return self.measurement.network.only([unit.place])

    def _on_windows(self, units: Sequence[Unit]) -> dict[Unit, Verdict]:
        if not units:
            return {}
        wholes = self._wholes(units)
        self.known |= {unit: values for unit, (values, _) in wholes.items()}
        region = Region.whole(self.sample.size)
        references = {
            unit: sample_maps(gradient, region, region.shape, "abs") for unit, (_, gradient) in wholes.items()
        }
        alike: dict[Any, Verdict] = {}
        return {unit: self._on_window(unit, reference.values, alike) for unit, reference in references.items()}

    def _on_window(self, unit: Unit, reference: Tensor, alike: dict[Any, Verdict]) -> Verdict:
        """
        The smallest window in which the unit sees its very field, where its map equals the reference.

        What was shown of the network in a window holds for ``alike`` ones, in which the unit has the same place.
        """
        reason = ""
        assert unit.theoretical is not None
        for window in larger_windows(unit.theoretical):
            kind = (unit.place, window.region.shape, window.unit, field_inside(unit.theoretical, window))
            known = self._moved(alike.get(kind), unit, window, reference)
            if known is not None:
                return known
            route = PyramidWindow(window, Pyramid.plain(window.unit))
            try:
                found, view = self._run(unit, route)
                if sees_its_field(self._network(unit), unit.theoretical, window, self.sample, found):
                    difference = self._difference(found, reference)
                    if difference:
                        return Verdict(WholeInput(difference))
                    return alike.setdefault(kind, self._cropped(unit, route, view))
                reason = "the unit sees another part of the input in the window"
            except Exception as error:
                reason = f"the network does not take the window: {error}"
        return Verdict(WholeInput(reason))

    def _moved(self, known: Verdict | None, unit: Unit, window: Window, reference: Tensor) -> Verdict | None:
        """What is known of a like window, in another place; None where the unit's map is not the reference there."""
        if known is None or not isinstance(known.route, PyramidWindow):
            return None
        route = replace(known.route, window=window)
        with suppress(Exception):
            (found,) = sample_maps_of(self.exact, [unit], [route], self.sample)
            if not self._difference(found, reference):
                return replace(known, route=route)
        return None

    def _run(self, unit: Unit, route: PyramidWindow) -> tuple[SampleMaps, View | None]:
        """The sample's map on a window, and what the pass shows of it, where it can be looked at."""
        with suppress(Exception):
            (view,) = self._views([unit], route.part(self.sample), [route.window.unit])
            return sample_maps(view.gradient, route.window.region, self.sample.size, "abs"), view
        (found,) = sample_maps_of(self.exact, [unit], [route], self.sample)
        return found, None

    def _views(self, units: Sequence[Unit], part: Batch, indices: Sequence[tuple[int, ...]]) -> list[View]:
        """What one pass over a part of the sample shows of units."""
        places = sorted({unit.place for unit in units})
        network = self.measurement.network.only(places)
        trace = Trace(lambda inputs: read(network, part.with_measured(inputs)), network.modules, part.measured)
        return [
            trace.look(places.index(unit.place), self._network(unit).layers[0], index, every_channel, _strides(unit))
            for unit, index in zip(units, indices, strict=True)
        ]

    def _cropped(self, unit: Unit, route: PyramidWindow, view: View | None) -> Verdict:
        """The route with crops on the way, where these hold and pay."""
        if view is None or self.measurement.network.is_parallel:
            return Verdict(route)
        costs = _costs(view, route.window.unit)
        if costs.share == 1 or not pays(costs.share, self.expected):
            return Verdict(route, costs, is_final=costs.share == 1, decides=view.decides)
        return Verdict(self._proved(unit, route, view) or route, costs, decides=view.decides)

    def _proved(self, unit: Unit, route: PyramidWindow, view: View) -> PyramidWindow | None:
        """The route with as many crops as can be proved."""
        network, part = self._network(unit), route.part(self.sample)
        proof = Proof(
            run=lambda inputs: read(network, part.with_measured(inputs))[0],
            sample=part.measured,
            view=view,
            unit=route.window.unit,
            scalar=every_channel,
            tolerance=self.tolerance,
            seen=None if unit.theoretical is None else field_inside(unit.theoretical, route.window),
        )
        pyramid = proof.find()
        return None if pyramid is None else replace(route, pyramid=pyramid)

    def _on_whole_inputs(self, reasons: Mapping[Unit, str], known: dict[Unit, Verdict]) -> dict[Unit, Verdict]:
        """
        Units on the whole input, with crops on the way where a pass of their own is worth it.

        Of each layer the unit with the least of a field is looked at first. Others cost more alone: they are only
        looked at where a pass of their own would be worth it at its costs.
        """
        unknown = [unit for unit in reasons if unit not in known]
        plain = {unit: Verdict(WholeInput(reasons[unit])) for unit in unknown}
        able = [unit for unit in unknown if unit.theoretical is not None]
        if not able or self.measurement.network.is_parallel:
            return plain
        if not pays(0.0, self.expected, PLANNING + WITNESSES):
            return {unit: replace(verdict, is_final=False) for unit, verdict in plain.items()}
        views: dict[Unit, View] = {}
        open_verdicts: dict[Unit, Verdict] = {}

        def look_at(units: Sequence[Unit]) -> None:
            with suppress(Exception):
                indices = list(map(_position, units))
                views.update(zip(units, self._views(units, self.sample, indices), strict=True))
            for unit, view in views.items():
                open_verdicts[unit] = Verdict(plain[unit].route, _costs(view, _position(unit)), is_final=False)

        leaders = _with_least_fields(able)
        look_at(list(leaders.values()))
        cheapest = {
            unit: replace(plain[unit], costs=open_verdicts[leader].costs, is_final=False)
            for unit in able
            if (leader := leaders[unit.place]) in views
        }
        others = [unit for unit in self._alone(known | cheapest) & cheapest.keys() if unit not in views]
        if others:
            look_at(others)
        self.known |= {unit: view.values for unit, view in views.items()}
        open_verdicts = cheapest | open_verdicts
        for unit in self._alone(known | open_verdicts) & views.keys():
            window = Window(Region.whole(self.sample.size), _position(unit))
            route = self._proved(unit, PyramidWindow(window, Pyramid.plain(window.unit), reasons[unit]), views[unit])
            whole = views[unit].work
            open_verdicts[unit] = (
                Verdict(plain[unit].route, Costs(whole, whole))
                if route is None
                else Verdict(route, Costs(whole, route.pyramid.work), decides=views[unit].decides)
            )
        return plain | open_verdicts

    def _alone(self, verdicts: Mapping[Unit, Verdict]) -> set[Unit]:
        """Those of the units on the whole input for which a pass of their own is worth it."""
        costs = {unit: verdict.costs for unit, verdict in verdicts.items() if verdict.costs is not None}
        chosen = zip(costs, alone(list(costs.values()), self.expected), strict=True)
        return {unit for unit, is_alone in chosen if is_alone}

    def _witnessed(self, verdicts: Mapping[Unit, Verdict], witnesses: Batch) -> dict[Unit, Verdict]:
        """The verdicts, without windows and crops in which the values of some samples are not those of the whole."""
        kept = dict(verdicts)
        units = [unit for unit, verdict in verdicts.items() if isinstance(verdict.route, PyramidWindow)]
        if not units:
            return kept
        if not any(verdicts[unit].decides for unit in units):
            witnesses = witnesses.head(NUM_WITNESSES)
        finite = finite_samples(witnesses.measured)
        is_first_known = bool(finite[0])  # the sample, of which map and values were the same
        if is_first_known and len(witnesses) == 1:
            return kept
        others = self._values(units, witnesses.tail(1) if is_first_known else witnesses)
        for unit in units:
            expected = torch.cat([self.known[unit], others[unit]]) if is_first_known else others[unit]
            kept[unit] = self._confirmed(unit, verdicts[unit], witnesses, expected, finite)
        return kept

    def _confirmed(self, unit: Unit, verdict: Verdict, witnesses: Batch, expected: Tensor, finite: Tensor) -> Verdict:
        route = verdict.route
        assert isinstance(route, PyramidWindow)
        plain = replace(route, pyramid=Pyramid.plain(route.window.unit))
        for candidate in dict.fromkeys((route, plain)):
            with suppress(Exception):
                found = candidate.values(self.measurement, unit, witnesses)
                if agree(found[finite], expected[finite], self.tolerance):
                    is_whole = candidate == plain and bool(plain.reason)
                    return Verdict(WholeInput(plain.reason)) if is_whole else replace(verdict, route=candidate)
        return Verdict(WholeInput("the unit's values in the window are not those on the whole input for every sample"))

    def _difference(self, part: SampleMaps, reference: Tensor) -> str:
        """Why the window may not be used; nothing where it may."""
        peak = float(reference.max())
        if peak == 0.0:
            return DEAD
        difference = float((part.over(reference.shape[1:]) - reference).abs().max()) / peak
        if difference <= self.tolerance:
            return ""
        return f"the window's map differs from the whole input's by {difference:.1e} of its maximum"


def _with_least_fields(units: Iterable[Unit]) -> dict[int, Unit]:
    """Of each layer, by its place, the unit that sees least of the input."""
    areas = {unit: math.prod(field_within(unit.theoretical).shape) for unit in units if unit.theoretical is not None}
    return {unit.place: unit for unit in sorted(areas, key=lambda unit: -areas[unit])}


def _position(unit: Unit) -> tuple[int, ...]:
    assert unit.theoretical is not None
    return unit.theoretical.position


def _gradient(scalar: Tensor, leaf: Tensor) -> Tensor:
    """The gradient with respect to a leaf; zero where no path leads there."""
    if not scalar.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(scalar, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)
    return found


def _strides(unit: Unit) -> tuple[int | float, ...]:
    assert unit.theoretical is not None
    return unit.theoretical.stride


def _costs(view: View, unit: tuple[int, ...]) -> Costs:
    chosen = worth_cropping(view.places, view.work)
    return Costs(view.work, pyramid_of(chosen, unit, view.work).work)


def every_channel(values: Tensor) -> Tensor:
    """A scalar in which no channels cancel, and whose gradient shows where a unit's values differ."""
    weights = torch.arange(values.shape[1], device=values.device).cos().to(values.dtype)
    peak = values.detach().abs().amax(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    return (weights * values * (1 + values / (4 * peak))).sum(1)
