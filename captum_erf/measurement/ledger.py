"""The ledger: sums of sample maps by group for every unit, and whose samples they are.

On a GPU nothing waits for a batch: its maps are in the sums as soon as the device comes to it, and what is counted of
its samples is settled when the next one comes, or when somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..geometry.field import TheoreticalReceptiveField
from ..result.sums import GroupSums
from .numbering import Numbering
from .sample_maps import SampleMaps


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


def comes_late(tensor: Tensor) -> bool:
    """Whether somebody would have to wait for a tensor's values, as on a GPU, which works on by itself."""
    return tensor.is_cuda


class Arriving:
    """Tensors on their way to the CPU, for which nobody waits before they are asked for."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        on_gpu = tensors[0].is_cuda
        self._copies = [tensor.to("cpu", non_blocking=on_gpu) for tensor in tensors]
        self._event: Any = torch.cuda.current_stream(tensors[0].device).record_event() if on_gpu else None

    def here(self) -> list[Tensor]:
        """The tensors, as soon as they are here."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies


@dataclass(frozen=True)
class Pending:
    """
    A batch of which the maps are in the sums.

    Attributes:
        number (int): Of the batch.
        groups (Tensor): Of its samples, ``(N,)``.
        before (int): How many numbers had been given away before it.
        counted (Arriving): Which samples are finite, the sums of their maps and which of these are zero everywhere,
            ``(units, N)``, and the samples' fingerprints, ``(N,)``.
    """

    number: int
    groups: Tensor
    before: int
    counted: Arriving


@dataclass
class Ledger:
    """
    What has been summed up.

    Args:
        groups (int): Groups of samples.
        skips (bool): Whether samples that are not finite are left out and counted; else their batch is refused.

    Attributes:
        input_shape (tuple[int, ...], optional): Of every sample, ``(C_in, *size)``, once there are entries.
        entries (list[Entry]): The units.
        numbering (Numbering): The samples' numbers.
        num_seen (int): Samples so far.
    """

    groups: int
    skips: bool
    input_shape: tuple[int, ...] | None = None
    entries: list[Entry] = field(default_factory=list)
    numbering: Numbering = field(init=False)
    num_seen: int = 0
    _pending: Pending | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.numbering = Numbering(self.groups)

    @property
    def size(self) -> tuple[int, ...]:
        """Size of the input."""
        assert self.input_shape is not None
        return self.input_shape[1:]

    def open(
        self,
        units: Sequence[tuple[str, TheoreticalReceptiveField | None]],
        shape: tuple[int, ...],
        device: torch.device | None,
    ) -> None:
        """Makes room for the units' sums where there is none yet; refuses those of another model's units."""
        entries = [Entry(*unit, GroupSums.empty(self.groups, len(shape) - 1, device)) for unit in units]
        for ours, theirs in zip(self.entries, entries, strict=bool(self.entries)):
            if ours.theoretical != theirs.theoretical:
                raise ValueError(
                    f"The sums so far are not of this model: they are those of {ours.words}, not of {theirs.words}. "
                    "Load a state, or merge, only into an accumulator of the model it comes from."
                )
        if not self.entries:
            self.input_shape, self.entries = shape, entries

    def add(
        self, number: int, maps: Sequence[SampleMaps], finite: Tensor, prints: Tensor, names: Sequence[str] | int
    ) -> None:
        """
        Adds a batch's maps to the entries. The batch is settled where nobody has to wait for that.

        Args:
            number (int): Of the batch.
            maps (Sequence[SampleMaps]): Of every unit.
            finite (Tensor): Which of them are finite, ``(units, N)``.
            prints (Tensor): The samples' fingerprints, ``(N,)``.
            names (Sequence[str] or int): Their images, or how many there are.
        """
        before = self.numbering.numbered
        groups = self.numbering.add(names)
        used = finite if self.skips else finite & finite.all()
        rows = [
            entry.sums.add(item.values.detach(), item.region, groups, row)
            for entry, item, row in zip(self.entries, maps, used, strict=True)
        ]
        weights, dead = (torch.stack(column) for column in zip(*rows, strict=True))
        self._pending = Pending(number, groups, before, Arriving([finite, weights, dead, prints]))
        self.num_seen += len(groups)
        if not comes_late(finite):
            self.settle()

    def settle(self) -> None:
        """Counts the samples of the last batch. Refused with an error, the batch is as if it had never been added."""
        pending = self._pending
        if pending is None:
            return
        finite, weights, dead, prints = pending.counted.here()
        self._pending = None
        try:
            self._check_finite(pending.number, [entry.layer for entry in self.entries], finite)
        except FloatingPointError:
            self.num_seen -= len(pending.groups)
            self.numbering.go_back_to(pending.before)
            if not self.num_seen:
                self.entries, self.input_shape = [], None
            raise
        for entry, *counted in zip(self.entries, finite, weights, dead, strict=True):
            entry.sums.count(pending.groups, prints, *counted)

    def refuse_early(self, number: int, layers: Sequence[str], finite: Tensor) -> None:
        """Refuses a batch with samples that are not finite before it is added, where nobody has to wait for that."""
        if not comes_late(finite):
            self._check_finite(number, layers, finite)

    def _check_finite(self, number: int, layers: Sequence[str], finite: Tensor) -> None:
        for layer, good in zip(layers, finite, strict=True):
            if not (self.skips or good.all()):
                raise FloatingPointError(
                    f"Batch {number}: the gradient of layer {layer!r} is not finite for {int((~good).sum())} of "
                    f"{len(good)} samples; look for NaN or inf in the inputs, or pass "
                    'nonfinite="skip" to leave such samples out and count them.'
                )
