"""Sums of sample maps, group by group: all that a mean and its delete-a-group jackknife need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class GroupSums:
    """Running sums of one unit's sample maps over a region of the input.

    ``sums`` has shape ``(G, *shape)`` and covers the input from ``offset`` on; outside the region every map is
    zero. ``counts`` and ``dead``, the number of dead samples among them, have one entry per group.
    """

    sums: Tensor
    counts: Tensor
    dead: Tensor
    offset: tuple[int, ...]
    num_nonfinite: int = 0

    @classmethod
    def empty(cls, groups: int, num_dims: int, device: torch.device | None) -> GroupSums:
        """Sums over no region yet; float64, float32 where the device has none."""
        dtype = torch.float32 if device is not None and device.type == "mps" else torch.float64
        nothing = (0,) * num_dims
        sums = torch.zeros(groups, *nothing, dtype=dtype, device=device)
        counts, dead = torch.zeros(2, groups, dtype=torch.int64)
        return cls(sums, counts, dead, nothing)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.sums.shape[1:])

    @property
    def num_samples(self) -> int:
        return int(self.counts.sum())

    @property
    def num_dead(self) -> int:
        return int(self.dead.sum())

    def is_sound(self, *, signed: bool) -> bool:
        """Whether these can be sums of sample maps, which only a signed magnitude makes negative."""
        return bool(
            torch.isfinite(self.sums).all()
            and (signed or (self.sums >= 0).all())
            and ((self.dead >= 0) & (self.dead <= self.counts)).all()
            and self.num_nonfinite >= 0
        )

    def add(self, maps: Tensor, offset: tuple[int, ...], first: int) -> None:
        """Adds the maps of the samples numbered from ``first`` on; those that are not finite are only counted."""
        finite = finite_samples(maps)
        groups = (torch.arange(len(maps), device=maps.device) + first) % len(self.counts)
        kept, groups = maps[finite].to(self.sums), groups[finite].to(self.sums.device)
        self._cover(offset, tuple(maps.shape[1:]))
        self._view(offset, kept.shape[1:]).index_add_(0, groups, kept)
        self.counts += torch.bincount(groups.cpu(), minlength=len(self.counts))
        self.num_nonfinite += int((~finite).sum())
        zero = (kept.flatten(1) == 0).all(1)
        self.dead += torch.bincount(groups[zero].cpu(), minlength=len(self.dead))

    def merge(self, other: GroupSums) -> None:
        """Adds the other's sums, group by group."""
        self._cover(other.offset, other.shape)
        self._view(other.offset, other.shape).add_(other.sums.to(self.sums))
        self.counts += other.counts
        self.dead += other.dead
        self.num_nonfinite += other.num_nonfinite

    def numbered_from(self, first: int) -> GroupSums:
        """The same sums with the samples numbered from ``first`` on, each in the group that this gives it."""
        return GroupSums(
            self.sums.roll(first, 0),
            self.counts.roll(first, 0),
            self.dead.roll(first, 0),
            self.offset,
            self.num_nonfinite,
        )

    def spread_over(self, size: tuple[int, ...]) -> None:
        """Covers the whole input from now on."""
        self._cover((0,) * len(size), size)

    def _cover(self, offset: tuple[int, ...], shape: Sequence[int]) -> None:
        if 0 in self.shape:
            self.offset = offset
        lower = tuple(map(min, self.offset, offset))
        upper = tuple(map(max, _stops(self.offset, self.shape), _stops(offset, shape)))
        wider = tuple(stop - start for start, stop in zip(lower, upper, strict=True))
        if wider == self.shape:
            return
        spread = GroupSums(self.sums.new_zeros(len(self.counts), *wider), self.counts, self.dead, lower)
        spread._view(self.offset, self.shape).copy_(self.sums)
        self.sums, self.offset = spread.sums, lower

    def _view(self, offset: tuple[int, ...], shape: Sequence[int]) -> Tensor:
        start = tuple(place - own for place, own in zip(offset, self.offset, strict=True))
        return self.sums[region(start, shape)]


def _stops(offset: tuple[int, ...], shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(start + length for start, length in zip(offset, shape, strict=True))


def region(offset: Sequence[int], shape: Sequence[int]) -> tuple[Any, ...]:
    """Index of the box that starts at ``offset`` on the last axes of an array."""
    return (..., *(slice(start, start + length) for start, length in zip(offset, shape, strict=True)))


def finite_samples(maps: Tensor) -> Tensor:
    """Which samples of ``(N, *shape)`` hold finite numbers only, ``(N,)``; a finite sum, which is fast, shows all."""
    finite = torch.isfinite(maps.flatten(1).sum(1))
    return finite if bool(finite.all()) else torch.isfinite(maps).flatten(1).all(1)
