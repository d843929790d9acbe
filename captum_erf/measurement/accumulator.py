"""Streaming state of a measurement: sums of sample maps by group, for every layer and position."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import reduce
from typing import Any

import torch

from ..erfmap import ERFMap
from ..geometry.field import TheoreticalReceptiveField
from ..geometry.region import Region
from ..network.batch import Batch, finite_samples
from ..network.guards import same_random_numbers
from ..network.looks import Look
from ..result.sums import BY_GROUP, GroupSums
from . import ranks as distributed
from .ledger import Entry, Ledger
from .measurement import Measurement
from .numbering import Numbering, prints
from .plan import Plan, make_plan
from .recipe import describe, join_routes
from .rehearsal import WindowRefuted
from .routes import Advance, ignore
from .sample_maps import SampleMaps
from .sharing import MANY
from .states import STATE_VERSION, check_headers, read_state, units_of


class ERFAccumulator:
    r"""
    Streaming state of a measurement, made by ``EffectiveReceptiveField.accumulator``.

    Sums are kept in float64 (float32 where the device has none) by group of samples; a sample's group is its
    running number, or with ``get_groups`` that of its image, modulo the number of groups. An update that fails changes
    nothing.

    On a GPU an update does not wait for what it has set going: whether the gradients of its batch are finite is told
    by the next one, or by what gives the sums out.

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
        self._plan: Plan | None = None
        self._ledger = Ledger(measurement.groups, skips=measurement.nonfinite == "skip")
        self._routes: list[list[str]] = []
        self._num_batches = 0

    @property
    def num_samples(self) -> int:
        """Number of samples seen so far, those with a non-finite gradient included."""
        return self._ledger.num_seen

    @property
    def has_dead_unit(self) -> bool:
        """Whether there is a unit that no sample has activated so far."""
        self._settle()
        return any(entry.sums.num_samples == entry.sums.num_dead for entry in self._ledger.entries)

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
            FloatingPointError: A gradient is not finite (with ``nonfinite="raise"``); on a GPU it is one of the batch
                before, which is left out; this one is not added either.
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
            self._settle()
            finite = torch.stack([finite_samples(item.values) for item in maps])
            self._ledger.refuse_early(self._num_batches, list(map(plan.layer, plan.units)), finite)
            if self._plan is None:
                plan = plan.corrected(maps)
            if self.measurement.normalize:
                maps = self._normalized(maps)
            self._open([(plan.layer(unit), unit.theoretical) for unit in plan.units], shape)
            self._routes = join_routes(self._routes, [[route.words] for route in plan.routes])
            self._plan = plan
            self._ledger.add(self._num_batches, maps, finite, prints(taken.measured, names), names)
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
        other._settle()
        self._add(other._header(), [entry.sums for entry in other._ledger.entries])

    def all_reduce(self, process_group: Any = None) -> None:
        r"""
        Adds up the ranks of an initialised ``torch.distributed`` job, so that every rank holds the whole, as if
        the samples of rank 0 came first, then those of rank 1, and so on.

        Ranks may have seen any number of samples, none included. Call it once, on every rank, at the end.

        Args:
            process_group (ProcessGroup, optional): The ranks; None takes all.

        Raises:
            ValueError: The ranks measure different things; raised on every rank.
            FloatingPointError: A gradient of the last batch is not finite, on a GPU (with ``nonfinite="raise"``); the
                other ranks raise a RuntimeError.

        Examples::

            >>> accumulator.all_reduce()  # doctest: +SKIP
        """
        ledger = self._ledger
        with distributed.together(process_group):
            self._settle()
        headers = distributed.gather(self._header(), process_group)
        filled = [header for header in headers if header["entries"]]
        if not filled:
            return
        for header in headers:
            check_headers(filled[0], header)
        self._open(*units_of(filled[0]))
        self._routes = reduce(join_routes, [header["routes"] for header in headers])
        ledger.numbering = Numbering(self.measurement.groups)
        moves = [ledger.numbering.append(header["numbering"]) for header in headers]
        move = moves[distributed.rank_in(process_group)]
        for entry in ledger.entries:
            entry.sums.spread_over(ledger.size)
        ledger.entries = [
            replace(entry, sums=distributed.add_up(entry.sums.numbered_from(move), process_group))
            for entry in ledger.entries
        ]
        ledger.num_seen = sum(header["num_seen"] for header in headers)

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
        self._settle()
        if self._ledger.num_seen == 0:
            raise ValueError(
                "No samples were measured: the data loader gave no batch. Check the folder or data set behind it."
            )
        maps: list[ERFMap] = []
        failures: list[ValueError] = []
        for entry, taken in zip(self._ledger.entries, self._routes, strict=True):
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
        self._settle()
        sums = [entry.sums for entry in self._ledger.entries]
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

    def _settle(self) -> None:
        """Counts the samples of the batch before; of one that is refused, nothing is left."""
        try:
            self._ledger.settle()
        except FloatingPointError:
            self._num_batches -= 1
            if not self._ledger.entries:
                self._plan, self._routes = None, []
            raise

    def _normalized(self, maps: list[SampleMaps]) -> list[SampleMaps]:
        if callable(self.measurement.magnitude):
            for item in maps:
                item.check_not_negative()
        return [item.normalized() for item in maps]

    def _measured(self, batch: Batch, plan: Plan, advance: Advance) -> tuple[Plan, list[SampleMaps]]:
        """The sample maps of a batch; with a new plan where the given one fails before it has added anything."""
        try:
            maps = plan.sample_maps(batch, advance)
            if self._plan is not None and _is_power_of_two(self._num_batches + 1):
                with same_random_numbers(batch.measured.device):
                    plan.look_again(batch)
        except WindowRefuted as error:
            if self._ledger.num_seen:
                self._refuted = error
                raise
            plan = self._make_plan(batch)
            maps = plan.sample_maps(batch, advance)
        return plan if plan is self._plan else plan.lifted(batch, maps), maps

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
            for entry in self._ledger.entries
        ]
        header = {
            "version": STATE_VERSION,
            "recipe": self._recipe,
            "input_shape": self._ledger.input_shape,
            "entries": entries,
            "routes": self._routes,
            "numbering": self._ledger.numbering.header,
            "num_seen": self._ledger.num_seen,
            "num_batches": self._num_batches,
        }
        plain: dict[str, Any] = json.loads(json.dumps(header))
        return plain

    def _add(self, header: dict[str, Any], sums: list[GroupSums]) -> None:
        self._settle()
        check_headers(self._header(), header)
        if not sums:
            return
        self._open(*units_of(header))
        self._routes = join_routes(self._routes, header["routes"])
        move = self._ledger.numbering.append(header["numbering"])
        for entry, other in zip(self._ledger.entries, sums, strict=True):
            entry.sums.merge(other.numbered_from(move))
        self._ledger.num_seen += header["num_seen"]

    def _open(self, units: list[tuple[str, TheoreticalReceptiveField | None]], shape: tuple[int, ...]) -> None:
        self._ledger.open(units, shape, self.measurement.network.device)

    def _map(self, entry: Entry, route: str) -> ERFMap:
        sums, ledger = entry.sums, self._ledger
        if sums.num_samples == 0:
            raise ValueError(
                f"All samples of layer {entry.layer!r} were left out: of {ledger.num_seen}, all have a gradient that "
                "is not finite. Look for NaN or inf in the inputs and weights, and for overflow in half precision."
            )
        if sums.num_samples == sums.num_dead:
            if self._plan is not None and entry.layer in self._plan.cancelling:
                raise ValueError(
                    f"The channels of layer {entry.layer!r} sum to a constant, as after a softmax or a normalisation "
                    f"over them, so that the gradient of their sum is zero: all samples are dead. Pass "
                    'channel="random", an index or a callable, or choose the layer before it.'
                )
            raise ValueError(
                f"All samples of layer {entry.layer!r} are dead: of {ledger.num_seen}, {sums.num_dead} have a gradient "
                f"of zero everywhere and {sums.num_nonfinite} one that is not finite. Measure a unit that the inputs "
                'activate: the layer before its ReLU, another position, or channel=None or "random" (which '
                "helps after a normalisation over the channels). What is rounded has no gradient at all."
            )
        recipe = self._recipe | {"input_shape": list(ledger.input_shape or ()), "route": route}
        if self.measurement.get_groups is not None:
            recipe["num_images"] = len(ledger.numbering.images)
        theoretical = entry.theoretical
        if theoretical and theoretical.is_estimated and self.measurement.neuron_selector is None:
            extent = Region.around((sums.sums != 0).any(0).cpu().numpy())
            theoretical = theoretical.narrowed(extent or sums.region)
        return ERFMap(sums.finished(ledger.size), entry.layer, theoretical, recipe)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        before = self._ledger.input_shape
        if before not in (None, shape):
            self._settle()
            raise ValueError(
                f"Batch {self._num_batches} holds inputs of shape {shape}, those before had {before}; a map "
                "needs inputs of one size: resize or crop them, or measure each size by itself."
            )


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
