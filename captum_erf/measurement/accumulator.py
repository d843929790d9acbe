"""Streaming state of a measurement: sums of sample maps by group, for every layer and position."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from ..erfmap import ERFMap
from ..geometry.field import TheoreticalReceptiveField
from ..geometry.region import Region
from ..network.batch import Batch, finite_samples
from ..network.guards import same_random_numbers
from ..network.looks import Look
from ..result.sums import BY_GROUP, GroupSums
from . import ranks as distributed
from .measurement import Measurement
from .numbering import Numbering, prints
from .plan import Plan, make_plan
from .recipe import describe, join_routes
from .rehearsal import WindowRefuted
from .routes import Advance, ignore
from .sample_maps import SampleMaps
from .sharing import MANY
from .states import STATE_VERSION, check_headers, read_state, units_of


@dataclass(frozen=True)
class Entry:
    """One unit of one layer, and what has been summed up for it."""

    layer: str
    theoretical: TheoreticalReceptiveField | None
    sums: GroupSums

    @property
    def words(self) -> str:
        """The unit, as far as it tells networks apart."""
        if self.theoretical is None:
            return f"layer {self.layer!r} with no grid"
        return f"layer {self.layer!r} with a field of size {self.theoretical.size} around {self.theoretical.center}"


class ERFAccumulator:
    r"""
    Streaming state of a measurement, made by ``EffectiveReceptiveField.accumulator``.

    Sums are kept in float64 (float32 where the device has none) by group of samples; a sample's group is its
    running number, or with ``get_groups`` that of its image, modulo the number of groups. An update that fails changes
    nothing.

    Where units are measured on a part of the input, one sample is computed both ways again after 2, 4, 8, ... batches.
    Should it come out differently, the sums may be wrong: they are not given out any more.

    Args:
        measurement (Measurement): What is measured, and how.

    Examples::

        >>> import torch
        >>> from torch import nn
        >>> from captum_erf import EffectiveReceptiveField
        >>> erf = EffectiveReceptiveField(nn.Conv1d(1, 1, 3, padding=1), layer="")
        >>> first, second = erf.accumulator(), erf.accumulator()
        >>> first.update(torch.randn(4, 1, 9))
        >>> second.update(torch.randn(2, 1, 9))
        >>> first.merge(second)
        >>> first.compute()[0].num_samples
        6
        >>> resumed = erf.accumulator()
        >>> resumed.load_state_dict(first.state_dict())  # as torch.save and torch.load keep it
        >>> resumed.update(torch.randn(2, 1, 9))
        >>> resumed.num_samples
        8
    """

    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement
        self._most_samples = self._most_batches = MANY
        self._refuted: WindowRefuted | None = None
        self._recipe = describe(measurement)
        self._input_shape: tuple[int, ...] | None = None
        self._plan: Plan | None = None
        self._entries: list[Entry] = []
        self._routes: list[list[str]] = []
        self._numbering = Numbering(measurement.groups)
        self._num_seen = 0
        self._num_batches = 0

    @property
    def num_samples(self) -> int:
        """Number of samples seen so far, those with a non-finite gradient included."""
        return self._num_seen

    @property
    def has_dead_unit(self) -> bool:
        """Whether there is a unit that no sample has activated so far."""
        return any(entry.sums.num_samples == entry.sums.num_dead for entry in self._entries)

    def update(self, batch: Any, *, limit: int | None = None, advance: Advance = ignore) -> None:
        r"""
        Adds a batch.

        Args:
            batch (Any): A tensor, or a tuple or list whose first item is the inputs, or what ``get_inputs`` makes
                inputs of.
            limit (int, optional): Take no more than this many of the batch's samples.
            advance (Callable): Is told which share of the batch's maps is done, between 0 and 1.

        Raises:
            TypeError: The batch holds no floating-point tensor where inputs were looked for.
            ValueError, IndexError: The inputs have another size than those before, ``limit`` is negative, or a
                position, channel or ``input_index`` does not fit.
            FloatingPointError: A gradient is not finite (with ``nonfinite="raise"``).
            RuntimeError: A part of the input, on which a unit was measured, has turned out not to be enough.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit must be 0 or more samples of the batch, or None for all, got {limit}.")
        taken = self.measurement.read(batch, limit)
        shape = tuple(taken.measured.shape[1:])
        self._check_shape(shape)
        self._check_sound()
        names = self.measurement.names(batch, len(taken))
        if len(taken) > 0:
            with self.measurement.running(taken) as look:
                first = self._plan or self._make_plan(taken, look)
                plan, maps = self._measured(taken, first, advance)
            if self.measurement.nonfinite == "raise":
                self._check_finite(plan, maps)
            if self._plan is None:
                plan = plan.corrected(maps)
            if self.measurement.normalize:
                maps = [item.normalized() for item in maps]
            self._open([(plan.layer(unit), unit.theoretical) for unit in plan.units], shape)
            self._routes = join_routes(self._routes, [[route.words] for route in plan.routes])
            self._plan = plan
            seen = prints(taken.measured, names)
            groups = self._numbering.add(names)
            for entry, item in zip(self._entries, maps, strict=True):
                entry.sums.add(item.values.detach(), item.region, groups, seen)
            self._num_seen += len(taken)
        self._num_batches += 1

    def merge(self, other: ERFAccumulator) -> None:
        r"""
        Adds what another accumulator of the same measurement has summed up, as if its samples came after these.

        Args:
            other (ERFAccumulator): The other one, which stays as it is.

        Raises:
            TypeError: ``other`` is no ERFAccumulator.
            ValueError: The other one measures something else; nothing is changed.
        """
        if not isinstance(other, ERFAccumulator):
            raise TypeError(f"merge takes an ERFAccumulator, got a {type(other).__name__}.")
        self._add(other._header(), [entry.sums for entry in other._entries])

    def all_reduce(self, process_group: Any = None) -> None:
        r"""
        Adds up the ranks of an initialised ``torch.distributed`` job, so that every rank holds the whole, as if
        the samples of rank 0 came first, then those of rank 1, and so on.

        Ranks may have seen any number of samples, none included. Call it once, on every rank, at the end.

        Args:
            process_group (ProcessGroup, optional): The ranks; None takes all.

        Raises:
            ValueError: The ranks measure different things; raised on every rank.

        Examples::

            >>> accumulator.all_reduce()  # doctest: +SKIP
        """
        headers = distributed.gather(self._header(), process_group)
        filled = [header for header in headers if header["entries"]]
        if not filled:
            return
        for header in headers:
            check_headers(filled[0], header)
        self._open(*units_of(filled[0]))
        self._routes = reduce(join_routes, [header["routes"] for header in headers])
        self._numbering = Numbering(self.measurement.groups)
        moves = [self._numbering.append(header["numbering"]) for header in headers]
        move = moves[distributed.rank_in(process_group)]
        for entry in self._entries:
            entry.sums.spread_over(self._size())
        self._entries = [
            replace(entry, sums=distributed.add_up(entry.sums.numbered_from(move), process_group))
            for entry in self._entries
        ]
        self._num_seen = sum(header["num_seen"] for header in headers)

    def compute(self, *, skip_dead: bool = False) -> list[ERFMap]:
        r"""
        The maps so far, layer by layer, position by position.

        Args:
            skip_dead (bool): Leave out, with a warning, units of which all samples are dead or not finite.

        Returns:
            *list[ERFMap]*

        Raises:
            ValueError: No sample has been seen, or all samples of a unit (with ``skip_dead`` of every unit) are dead
                or not finite.
            RuntimeError: A part of the input, on which a unit was measured, has turned out not to be enough.
        """
        self._check_sound()
        if not self._entries or self._num_seen == 0:
            raise ValueError(
                "No samples were measured: the data loader gave no batch. Check the folder or data set behind it."
            )
        maps: list[ERFMap] = []
        failures: list[ValueError] = []
        for entry, taken in zip(self._entries, self._routes, strict=True):
            try:
                maps.append(self._map(entry, "; ".join(taken)))
            except ValueError as error:
                failures.append(error)
        if failures and not (skip_dead and maps):
            raise failures[0]
        for failure in failures:
            warnings.warn(f"Left out: {failure}", stacklevel=2)
        return maps

    def state_dict(self) -> dict[str, Any]:
        r"""
        The state as tensors, strings and numbers alone, so that ``torch.load(path, weights_only=True)`` reads it.

        Returns:
            *dict* for :meth:`load_state_dict`, on the CPU.
        """
        sums = [entry.sums for entry in self._entries]
        return {
            "header": json.dumps(self._header()),
            "sums": [item.sums.to("cpu", copy=True) for item in sums],
            **{name: [getattr(item, name).clone() for item in sums] for name in BY_GROUP},
            "offsets": [list(item.region.offset) for item in sums],
            "num_nonfinite": [item.num_nonfinite for item in sums],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        r"""
        Replaces the state by a saved one of the same measurement.

        Args:
            state (dict): What :meth:`state_dict` gave.

        Raises:
            ValueError: The state is damaged, foreign, or of another measurement or version; nothing is changed.
        """
        header, sums = read_state(state)
        fresh = ERFAccumulator(self.measurement)
        fresh._add(header, sums)
        fresh._num_batches = header["num_batches"]
        vars(self).update(vars(fresh))

    def expect(self, batches: int | None, samples: int | None) -> None:
        """Says how much will come at most: with few samples, crops on the way are not planned where they cannot pay."""
        self._most_batches, self._most_samples = batches or MANY, samples or MANY

    def start_over(self) -> None:
        """Forgets all samples."""
        fresh = ERFAccumulator(self.measurement)
        fresh.expect(self._most_batches, self._most_samples)
        vars(self).update(vars(fresh))

    def _measured(self, batch: Batch, plan: Plan, advance: Advance) -> tuple[Plan, list[SampleMaps]]:
        """The sample maps of a batch; with a new plan where the given one fails before it has added anything."""
        try:
            maps = plan.sample_maps(batch, advance)
            if self._plan is not None and _is_power_of_two(self._num_batches + 1):
                with same_random_numbers(batch.measured.device):
                    plan.look_again(batch)
        except WindowRefuted as error:
            if self._num_seen:
                self._refuted = error
                raise
            plan = self._make_plan(batch)
            maps = plan.sample_maps(batch, advance)
        return plan, maps

    def _make_plan(self, batch: Batch, look: Look | None = None) -> Plan:
        """A plan, for which no random numbers are used up."""
        expected = min(self._most_samples, self._most_batches * len(batch))
        with same_random_numbers(batch.measured.device):
            return make_plan(self.measurement, batch, expected, look)

    def _check_sound(self) -> None:
        if self._refuted is not None:
            raise WindowRefuted(*self._refuted.args)

    def _header(self) -> dict[str, Any]:
        entries = [
            {"layer": entry.layer, "theoretical": entry.theoretical and entry.theoretical.to_dict()}
            for entry in self._entries
        ]
        header = {
            "version": STATE_VERSION,
            "recipe": self._recipe,
            "input_shape": self._input_shape,
            "entries": entries,
            "routes": self._routes,
            "numbering": self._numbering.header,
            "num_seen": self._num_seen,
            "num_batches": self._num_batches,
        }
        plain: dict[str, Any] = json.loads(json.dumps(header))
        return plain

    def _add(self, header: dict[str, Any], sums: list[GroupSums]) -> None:
        check_headers(self._header(), header)
        if not sums:
            return
        self._open(*units_of(header))
        self._routes = join_routes(self._routes, header["routes"])
        move = self._numbering.append(header["numbering"])
        for entry, other in zip(self._entries, sums, strict=True):
            entry.sums.merge(other.numbered_from(move))
        self._num_seen += header["num_seen"]

    def _open(self, units: list[tuple[str, TheoreticalReceptiveField | None]], shape: tuple[int, ...]) -> None:
        """Makes room for the units' sums where there is none yet; refuses those of another model's units."""
        device = self.measurement.network.device
        entries = [Entry(*unit, GroupSums.empty(self.measurement.groups, len(shape) - 1, device)) for unit in units]
        for ours, theirs in zip(self._entries, entries, strict=bool(self._entries)):
            if ours.theoretical != theirs.theoretical:
                raise ValueError(
                    f"The sums so far are not of this model: they are those of {ours.words}, not of {theirs.words}. "
                    "Load a state, or merge, only into an accumulator of the model it comes from."
                )
        if not self._entries:
            self._input_shape, self._entries = shape, entries

    def _size(self) -> tuple[int, ...]:
        assert self._input_shape is not None
        return self._input_shape[1:]

    def _map(self, entry: Entry, route: str) -> ERFMap:
        sums = entry.sums
        if sums.num_samples == 0:
            raise ValueError(
                f"All samples of layer {entry.layer!r} were left out: of {self._num_seen}, all have a gradient that is "
                "not finite. Look for NaN or inf in the inputs and weights, and for overflow in half precision."
            )
        if sums.num_samples == sums.num_dead:
            if self._plan is not None and entry.layer in self._plan.cancelling:
                raise ValueError(
                    f"The channels of layer {entry.layer!r} sum to a constant, as after a softmax or a normalisation "
                    f"over them, so that the gradient of their sum is zero: all samples are dead. Pass "
                    'channel="random", an index or a callable, or choose the layer before it.'
                )
            raise ValueError(
                f"All samples of layer {entry.layer!r} are dead: of {self._num_seen}, {sums.num_dead} have a gradient "
                f"of zero everywhere and {sums.num_nonfinite} one that is not finite. Measure a unit that the inputs "
                'activate: the layer before its ReLU, another position, or channel=None or "random" (which '
                "helps after a normalisation over the channels). What is rounded has no gradient at all."
            )
        recipe = self._recipe | {"input_shape": list(self._input_shape or ()), "route": route}
        if self.measurement.get_groups is not None:
            recipe["num_images"] = len(self._numbering.images)
        theoretical = entry.theoretical
        if theoretical and theoretical.is_estimated and self.measurement.neuron_selector is None:
            extent = Region.around((sums.sums != 0).any(0).cpu().numpy())
            theoretical = theoretical.narrowed(extent or sums.region)
        return ERFMap(sums.finished(self._size()), entry.layer, theoretical, recipe)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if self._input_shape not in (None, shape):
            raise ValueError(
                f"Batch {self._num_batches} holds inputs of shape {shape}, those before had {self._input_shape}; a map "
                "needs inputs of one size: resize or crop them, or measure each size by itself."
            )

    def _check_finite(self, plan: Plan, maps: list[SampleMaps]) -> None:
        for unit, found in zip(plan.units, maps, strict=True):
            bad = int((~finite_samples(found.values)).sum())
            if bad:
                raise FloatingPointError(
                    f"Batch {self._num_batches}: the gradient of layer {plan.layer(unit)!r} is not finite for {bad} of "
                    f"{len(found.values)} samples; look for NaN or inf in the inputs, or pass "
                    'nonfinite="skip" to leave such samples out and count them.'
                )


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
