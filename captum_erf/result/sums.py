"""Sums of sample maps, group by group: all that a mean and its delete-a-group jackknife need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..geometry.region import Region


@dataclass
class GroupSums:
    """Running sums of one unit's sample maps; attributes as in :class:`Groups`, on the device of the maps."""

    sums: Tensor
    counts: Tensor
    dead: Tensor
    region: Region
    num_nonfinite: int = 0

    @classmethod
    def empty(cls, groups: int, num_dims: int, device: torch.device | None) -> GroupSums:
        """Sums over no region yet; float64, float32 where the device has none."""
        dtype = torch.float32 if device is not None and device.type == "mps" else torch.float64
        nothing = Region.whole((0,) * num_dims)
        counts, dead = torch.zeros(2, groups, dtype=torch.int64)
        return cls(torch.zeros(groups, *nothing.shape, dtype=dtype, device=device), counts, dead, nothing)

    @property
    def num_samples(self) -> int:
        return int(self.counts.sum())

    @property
    def num_dead(self) -> int:
        return int(self.dead.sum())

    def add(self, maps: Tensor, region: Region, groups: Tensor) -> None:
        """Adds sample maps ``(N, *region.shape)`` of samples in the given groups ``(N,)``.

        Samples that are not finite are only counted.
        """
        finite = finite_samples(maps)
        kept, groups = maps[finite].to(self.sums), groups.to(finite.device)[finite]
        self._cover(region)
        self._view(region).index_add_(0, groups.to(self.sums.device), kept)
        self.counts += torch.bincount(groups.cpu(), minlength=len(self.counts))
        self.num_nonfinite += int((~finite).sum())
        zero = (kept.flatten(1) == 0).all(1).to(groups.device)
        self.dead += torch.bincount(groups[zero].cpu(), minlength=len(self.dead))

    def merge(self, other: GroupSums) -> None:
        """Adds the other's sums, group by group."""
        self._cover(other.region)
        self._view(other.region).add_(other.sums.to(self.sums))
        self.counts += other.counts
        self.dead += other.dead
        self.num_nonfinite += other.num_nonfinite

    def numbered_from(self, first: int) -> GroupSums:
        """The same sums with the samples numbered from ``first`` on, each in the group that this gives it."""
        sums, counts, dead = (item.roll(first, 0) for item in (self.sums, self.counts, self.dead))
        return replace(self, sums=sums, counts=counts, dead=dead)

    def spread_over(self, size: tuple[int, ...]) -> None:
        """Covers the whole input from now on."""
        self._cover(Region.whole(size))

    @property
    def offset(self) -> tuple[int, ...]:
        return self.region.offset

    @property
    def shape(self) -> tuple[int, ...]:
        return self.region.shape

    def _cover(self, region: Region) -> None:
        wider = region if 0 in self.region.shape else self.region.joined(region)
        if wider != self.region:
            spread = replace(self, sums=self.sums.new_zeros(len(self.counts), *wider.shape), region=wider)
            if 0 not in self.region.shape:
                spread._view(self.region).copy_(self.sums)
            self.sums, self.region = spread.sums, wider

    def _view(self, region: Region) -> Tensor:
        return self.sums[region.relative_to(self.region).index]


def region(offset: Sequence[int], shape: Sequence[int]) -> tuple[Any, ...]:
    """Index of the box that starts at ``offset`` on the last axes of an array."""
    return (..., *(slice(start, start + length) for start, length in zip(offset, shape, strict=True)))


def finite_samples(maps: Tensor) -> Tensor:
    """Which samples of ``(N, *shape)`` hold finite numbers only, ``(N,)``; a finite sum, which is fast, shows all."""
    finite = torch.isfinite(maps.flatten(1).sum(1))
    return finite if bool(finite.all()) else torch.isfinite(maps).flatten(1).all(1)
