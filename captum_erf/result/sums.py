"""Sums of sample maps by group: all that a mean and its standard error need.

A sum over a group of samples is kept for each of G groups. The standard error of any statistic is that of the
delete-a-group jackknife (Kott, J. Official Statistics 17, 2001): the statistic is computed again without each group in
turn, and the spread of these values gives its error, however it depends on the map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry.region import Region

BY_GROUP = ("counts", "dead", "squares", "prints")  # what is kept for each group, beside the maps
MIXER = 0x2545F4914F6CDD1D  # an odd number without pattern, from Vigna's xorshift*


@dataclass(frozen=True, eq=False)
class Groups:
    """
    The sums of a finished measurement.

    Attributes:
        sums (ndarray): Sum of the sample maps of each group, float64, of shape ``(G, *region.shape)``.
        counts (ndarray), dead (ndarray): Samples of each group, and how many of them are dead.
        squares (ndarray): Sum over each group's samples of the squared sum of the sample map; NaN where unknown.
        prints (ndarray): Sum over each group's samples of their fingerprints, whose order within a group does not
            matter; 0 where unknown.
        region (Region): The part of the input that the sums cover; outside it every sample map is zero.
        size (tuple[int, ...]): Size of the input.
        num_nonfinite (int): Samples left out because their gradient was not finite.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    dead: NDArray[np.int64]
    squares: NDArray[np.float64]
    prints: NDArray[np.int64]
    region: Region
    size: tuple[int, ...]
    num_nonfinite: int = 0

    @classmethod
    def of(cls, maps: NDArray[np.float64]) -> Groups:
        """One group for each of the maps ``(N, *size)``."""
        size, ones = maps.shape[1:], np.ones(len(maps), np.int64)
        dead = (maps.reshape(len(maps), -1) == 0).all(1).astype(np.int64)
        squares = maps.reshape(len(maps), -1).sum(1) ** 2
        return cls(maps, ones, dead, squares, 0 * ones, Region.whole(size), size)

    def mean(self) -> NDArray[np.float64]:
        """The mean of the sample maps, over the whole input."""
        values = np.zeros(self.size)
        values[self.region.index] = self.sums[self.counts > 0].sum(0) / self.counts.sum()
        return values

    def leave_one_out(self) -> Iterator[Groups]:
        """The sums without each group in turn; nothing with fewer than two groups."""
        filled = np.flatnonzero(self.counts)
        for group in filled if len(filled) > 1 else ():
            kept = np.arange(len(self.counts)) != group
            yield replace(self, counts=self.counts * kept, dead=self.dead * kept)

    def effective_samples(self) -> float | None:
        """(sum w)^2 / sum w^2 of the samples' own sums w: how many equal samples would carry the mean as well."""
        filled = self.counts > 0
        total, squares = float(self.sums[filled].sum()), float(self.squares[filled].sum())
        return total**2 / squares if total > 0 and squares > 0 else None

    def check_paired(self, other: Groups) -> None:
        """Refuses sums over other samples, or over the same ones in other groups."""
        ours, theirs = ((side.counts.tolist(), (side.prints * (side.counts > 0)).tolist()) for side in (self, other))
        if (self.prints[self.counts > 0] == 0).any():
            raise ValueError("This map does not know its samples, as version 0.1 has measured it; measure it again.")
        if ours != theirs:
            raise ValueError(
                f"The two maps did not see the same samples in the same order ({self.counts.sum()} here, "
                f"{other.counts.sum()} there); measure both on the same data loader without shuffling, with as many "
                "groups, and where the networks prepare images differently, name each image with get_groups."
            )


def standard_error(value: Any, without: Sequence[Any]) -> Any:
    """
    The standard error of a statistic: sqrt((G - 1) / G * sum((value_g - mean)^2)) over the G groups.

    A 95 % interval is the statistic plus or minus this times the quantile of Student's t with G - 1 degrees of freedom.

    Args:
        value (float, array, dict or None): The statistic.
        without (sequence): Its values with each of the G groups left out, of the same kind.

    Returns:
        The errors, in the units of the statistic and of its kind. None for what is None, also without one of the
        groups, and with fewer than two groups.

    Examples::

        >>> standard_error({"a": 2.5, "b": None}, [{"a": one, "b": 0.0} for one in (1.0, 2.0, 3.0, 4.0)])
        {'a': 1.9364916731037085, 'b': None}
    """
    if isinstance(value, Mapping):
        return {key: standard_error(one, [other[key] for other in without]) for key, one in value.items()}
    if value is None or len(without) < 2 or any(other is None for other in without):
        return None
    estimates = np.stack([np.asarray(other, dtype=np.float64) for other in without], axis=-1)
    squares = np.square(estimates - estimates.mean(-1, keepdims=True)).sum(-1)
    errors = np.sqrt((len(without) - 1) / len(without) * squares)
    return errors if np.ndim(value) else float(errors)


def corrected(value: Any, without: Sequence[Any], most: float = np.inf) -> Any:
    """
    A statistic that noise moves one way, without the part of it that falls with the number of samples.

    It is G * value - (G - 1) * (mean of the values without each group), and no more than ``most``.

    Examples::

        >>> corrected(2.0, [2.25, 1.75, 2.75, 2.25])
        1.25
    """
    if value is None or len(without) < 2 or any(other is None for other in without):
        return value
    groups = len(without)
    return min(float(groups * value - (groups - 1) * np.mean(without)), most)


@dataclass
class GroupSums:
    """Running sums of one unit's sample maps; attributes as in :class:`Groups`, the sums on the device of the maps."""

    sums: Tensor
    counts: Tensor
    dead: Tensor
    squares: Tensor
    prints: Tensor
    region: Region
    num_nonfinite: int = 0

    @classmethod
    def empty(cls, groups: int, num_dims: int, device: torch.device | None) -> GroupSums:
        """Sums over no region yet; float64, float32 where the device has none."""
        dtype = torch.float32 if device is not None and device.type == "mps" else torch.float64
        nothing = Region.whole((0,) * num_dims)
        counts, dead, prints = torch.zeros(3, groups, dtype=torch.int64)
        squares = torch.zeros(groups, dtype=torch.float64)
        return cls(
            torch.zeros(groups, *nothing.shape, dtype=dtype, device=device), counts, dead, squares, prints, nothing
        )

    @property
    def num_samples(self) -> int:
        return int(self.counts.sum())

    @property
    def num_dead(self) -> int:
        return int(self.dead.sum())

    def add(self, maps: Tensor, region: Region, groups: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
        """
        Adds sample maps ``(N, *region.shape)`` of samples in the given groups ``(N,)``, as far as they are ``used``.

        Nothing waits for the device. What :meth:`count` needs of the samples is given: the sums of their maps, and
        which of them are zero everywhere, ``(N,)``.
        """
        kept = only(used, maps).to(self.sums)
        self._cover(region)
        self._view(region).index_add_(0, groups.to(self.sums.device, non_blocking=True), kept)
        rows = kept.flatten(1)
        return rows.sum(1), (rows == 0).all(1)

    def count(self, groups: Tensor, prints: Tensor, finite: Tensor, weights: Tensor, dead: Tensor) -> None:
        """Counts the samples of a batch that has been added, ``(N,)`` each; those that are not finite apart."""
        groups = groups[finite]
        self.counts += torch.bincount(groups, minlength=len(self.counts))
        self.dead += torch.bincount(groups[dead[finite]], minlength=len(self.dead))
        self.squares.index_add_(0, groups, weights[finite].double().square())
        self.prints.index_add_(0, groups, prints[finite])
        self.num_nonfinite += int((~finite).sum())

    def merge(self, other: GroupSums) -> None:
        """Adds the other's sums, group by group."""
        self._cover(other.region)
        self._view(other.region).add_(other.sums.to(self.sums))
        for name in BY_GROUP:
            getattr(self, name).add_(getattr(other, name))
        self.num_nonfinite += other.num_nonfinite

    def numbered_from(self, first: int) -> GroupSums:
        """The same sums with the samples numbered from ``first`` on, each in the group that this gives it."""
        return replace(self, **{name: getattr(self, name).roll(first, 0) for name in ("sums", *BY_GROUP)})

    def spread_over(self, size: tuple[int, ...]) -> None:
        """Covers the whole input from now on."""
        self._cover(Region.whole(size))

    def finished(self, size: tuple[int, ...]) -> Groups:
        """A copy of the sums so far, of inputs of that size."""
        numbers = {name: getattr(self, name).numpy().copy() for name in BY_GROUP}
        sums = self.sums.cpu().double().numpy().copy()
        return Groups(sums, **numbers, region=self.region, size=size, num_nonfinite=self.num_nonfinite)

    def _cover(self, region: Region) -> None:
        wider = region if 0 in self.region.shape else self.region.joined(region)
        if wider != self.region:
            spread = replace(self, sums=self.sums.new_zeros(len(self.counts), *wider.shape), region=wider)
            if 0 not in self.region.shape:
                spread._view(self.region).copy_(self.sums)
            self.sums, self.region = spread.sums, wider

    def _view(self, region: Region) -> Tensor:
        return self.sums[region.relative_to(self.region).index]


def only(used: Tensor, maps: Tensor, other: float = 0.0) -> Tensor:
    """The maps ``(N, ...)`` of samples that are ``used``, ``(N,)``; the other ones' values are replaced."""
    if used.device.type == "cpu" and used.all():
        return maps
    return torch.where(used.view(-1, *[1] * (maps.ndim - 1)), maps, other)


def fingerprints(samples: Tensor) -> Tensor:
    """A number for each sample of ``(N, ...)``, ``(N,)``, the same wherever and whenever it is computed."""
    parts = torch.view_as_real(samples) if samples.is_complex() else samples
    values = parts.detach().contiguous().flatten(1)
    length = values.shape[1] * values.element_size()
    whole = next(kind for kind in (torch.int64, torch.int32, torch.int16) if length % kind.itemsize == 0)
    numbers = values.view(whole)
    factors = _factors(numbers.shape[1], numbers.device)
    is_quick = numbers.dtype == torch.int64 and numbers.device.type == "cpu"
    mixed = numbers @ factors if is_quick else (numbers * factors).sum(1)
    return (mixed ^ (mixed >> 29)) * MIXER | 1


@lru_cache(maxsize=2)
def _factors(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device) * MIXER | 1
