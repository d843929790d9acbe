"""Streaming state of a measurement: sums of sample maps by group, for every layer and position."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch

from ..erfmap import ERFMap
from ..geometry.field import TheoreticalReceptiveField
from ..geometry.region import Region
from ..network.batch import Batches
from ..network.layers import model_device
from ..result.sums import GroupSums, finite_samples
from . import ranks as distributed
from .recipe import describe, join_routes, route_words
from .routes import Measurement, SampleMaps, Target
from .states import STATE_VERSION, Unit, check_same, check_units, read_state


@dataclass(frozen=True)
class Entry:
    """One unit of one layer, and what has been summed up for it."""

    layer: str
    theoretical: TheoreticalReceptiveField | None
    sums: GroupSums


class ERFAccumulator:
    r"""
    Streaming state of a measurement, made by ``EffectiveReceptiveField.accumulator``.

    Sums are kept in float64 (float32 where the device has none) by group of samples; a sample's group is its
    running number modulo the number of groups. An update that fails changes nothing.

    Args:
        measurement (Measurement), batches (Batches): What is measured, and how inputs are taken from a batch.
        groups (int): Groups of samples for the standard errors.
        nonfinite (str): ``"raise"``, or ``"skip"`` to leave out and count samples that are not finite.

    Raises:
        TypeError, ValueError: ``groups`` or ``nonfinite`` is none of the allowed values.

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
    """

    def __init__(
        self, measurement: Measurement, batches: Batches, *, groups: int = 10, nonfinite: str = "raise"
    ) -> None:
        if isinstance(groups, bool) or not isinstance(groups, int):
            raise TypeError(f"groups must be a whole number of groups of samples, such as 10, got {groups!r}.")
        if groups < 1:
            raise ValueError(f"groups must be 1 or more, got {groups}; 10 is the usual number for a jackknife.")
        if nonfinite not in ("raise", "skip"):
            raise ValueError(f'nonfinite must be "raise" or "skip", got {nonfinite!r}.')
        self._measurement = measurement
        self._batches = batches
        self._groups = groups
        self._nonfinite = nonfinite
        self._recipe = describe(measurement, batches, groups=groups, nonfinite=nonfinite)
        self._input_shape: tuple[int, ...] | None = None
        self._targets: list[Target] = []
        self._entries: list[Entry] = []
        self._routes: list[list[str]] = []
        self._num_seen = 0
        self._num_batches = 0

    @property
    def groups(self) -> int:
        """Number of groups of samples."""
        return self._groups

    @property
    def magnitude(self) -> Any:
        """What makes sample maps of gradients."""
        return self._measurement.magnitude

    @property
    def num_samples(self) -> int:
        """Number of samples seen so far, those with a non-finite gradient included."""
        return self._num_seen

    @property
    def has_dead_unit(self) -> bool:
        """Whether there is a unit that no sample has activated so far."""
        return any(entry.sums.num_samples == entry.sums.num_dead for entry in self._entries)

    def update(self, batch: Any, *, limit: int | None = None) -> None:
        r"""
        Adds a batch.

        Args:
            batch (Any): A tensor, or a tuple or list whose first item is the inputs, or what ``get_inputs`` makes
                inputs of.
            limit (int, optional): Take no more than this many of the batch's samples.

        Raises:
            TypeError: The batch holds no floating-point tensor where inputs were looked for.
            ValueError, IndexError: The inputs have another size than those before, ``limit`` is negative, or a
                position, channel or ``input_index`` does not fit.
            FloatingPointError: A gradient is not finite (with ``nonfinite="raise"``).
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit must be 0 or more samples of the batch, or None for all, got {limit}.")
        network = self._measurement.network
        device = model_device(network.modules)
        inputs, arguments = self._batches.read(batch, device, limit)
        shape = tuple(inputs[self._measurement.input_index].shape)
        self._check_shape(shape[1:])
        if shape[0] == 0:
            self._num_batches += 1
            return
        with self._measurement.running():
            targets = self._targets or self._measurement.targets(inputs, arguments)
            maps = self._measurement.maps(targets, inputs, arguments)
        if self._nonfinite == "raise":
            self._check_finite(targets, maps)
        if not self._targets:
            self._measurement.warn_of_wrong_fields(targets, maps)
        self._open([(network.layers[target.place].name, target.theoretical) for target in targets], shape[1:])
        self._routes = join_routes(self._routes, [[route_words(target)] for target in targets])
        self._targets = targets
        numbers = torch.arange(self._num_seen, self._num_seen + shape[0])
        for entry, found in zip(self._entries, maps, strict=True):
            maps_here, region = found.values.detach(), Region(found.offset, tuple(found.values.shape[1:]))
            entry.sums.add(maps_here, region, numbers % self._groups)
        self._num_seen += shape[0]
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
        """
        headers = distributed.gather(self._header(), process_group)
        filled = [header for header in headers if header["entries"]]
        if not filled:
            return
        for header in headers:
            check_same(filled[0], header)
        self._open_from(filled[0])
        self._routes = reduce(join_routes, [header["routes"] for header in headers])
        numbers = [header["num_seen"] for header in headers]
        before = sum(numbers[: distributed.rank_in(process_group)])
        for entry in self._entries:
            entry.sums.spread_over(self._size())
        self._entries = [
            replace(entry, sums=distributed.add_up(entry.sums.numbered_from(before), process_group))
            for entry in self._entries
        ]
        self._num_seen = sum(numbers)

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
        """
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
            "counts": [item.counts.clone() for item in sums],
            "dead": [item.dead.clone() for item in sums],
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
        fresh = ERFAccumulator(self._measurement, self._batches, groups=self._groups, nonfinite=self._nonfinite)
        fresh._add(header, sums)
        fresh._num_batches = header["num_batches"]
        vars(self).update(vars(fresh))

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
            "num_seen": self._num_seen,
            "num_batches": self._num_batches,
        }
        plain: dict[str, Any] = json.loads(json.dumps(header))
        return plain

    def _add(self, header: dict[str, Any], sums: list[GroupSums]) -> None:
        check_same(self._header(), header)
        if not sums:
            return
        self._open_from(header)
        self._routes = join_routes(self._routes, header["routes"])
        for entry, other in zip(self._entries, sums, strict=True):
            entry.sums.merge(other.numbered_from(self._num_seen))
        self._num_seen += header["num_seen"]

    def _open_from(self, header: dict[str, Any]) -> None:
        units = [
            (
                entry["layer"],
                entry["theoretical"] and TheoreticalReceptiveField.from_dict(entry["theoretical"]),
            )
            for entry in header["entries"]
        ]
        self._open(units, tuple(header["input_shape"]))

    def _open(self, units: list[Unit], shape: tuple[int, ...]) -> None:
        """Makes room for the units' sums, where there is none yet."""
        if self._entries:
            check_units([(entry.layer, entry.theoretical) for entry in self._entries], units)
            return
        device = model_device(self._measurement.network.modules)
        self._input_shape = shape
        self._entries = [
            Entry(layer, theoretical, GroupSums.empty(self._groups, len(shape) - 1, device))
            for layer, theoretical in units
        ]

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
            raise ValueError(
                f"All samples of layer {entry.layer!r} are dead: of {self._num_seen}, {sums.num_dead} have a gradient "
                f"of zero everywhere and {sums.num_nonfinite} one that is not finite. Measure a unit that the inputs "
                'activate: the layer before its ReLU, another position, or channel=None or "random" (which '
                "helps after a normalisation over the channels). What is rounded has no gradient at all."
            )
        recipe = self._recipe | {"input_shape": list(self._input_shape or ()), "route": route}
        return ERFMap.from_sums(
            sums, size=self._size(), layer=entry.layer, theoretical=entry.theoretical, recipe=recipe
        )

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if self._input_shape not in (None, shape):
            raise ValueError(
                f"Batch {self._num_batches} holds inputs of shape {shape}, those before had {self._input_shape}; a map "
                "needs inputs of one size: resize or crop them, or measure each size by itself."
            )

    def _check_finite(self, targets: list[Target], maps: list[SampleMaps]) -> None:
        for target, found in zip(targets, maps, strict=True):
            bad = int((~finite_samples(found.values)).sum())
            if bad:
                layer = self._measurement.network.layers[target.place].name
                raise FloatingPointError(
                    f"Batch {self._num_batches}: the gradient of layer {layer!r} is not finite for {bad} of "
                    f"{len(found.values)} samples; look for NaN or inf in the inputs, or pass "
                    'nonfinite="skip" to leave such samples out and count them.'
                )
