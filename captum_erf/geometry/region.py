"""A region: a box of the positions of an input, a grid or an activation, by where it starts and how far it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """
    Per axis the positions from ``offset`` on, ``shape`` of them.

    Examples::

        >>> part = Region((2, 3), (4, 5))
        >>> part.stop, part.index
        ((6, 8), (Ellipsis, slice(2, 6, None), slice(3, 8, None)))
        >>> part.relative_to(Region((1, 1), (9, 9)))
        Region(offset=(1, 2), shape=(4, 5))
        >>> part.joined(Region.whole((3, 3)))
        Region(offset=(0, 0), shape=(6, 8))
        >>> Region.around(np.array([[False, False, False], [False, True, True]]))
        Region(offset=(1, 1), shape=(1, 2))
    """

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def whole(cls, size: Sequence[int]) -> Region:
        """All of an array of that size."""
        return cls((0,) * len(size), tuple(size))

    @classmethod
    def between(cls, start: Sequence[int], stop: Sequence[int]) -> Region:
        """From ``start`` to before ``stop``."""
        return cls(tuple(start), tuple(high - low for low, high in zip(start, stop, strict=True)))

    @classmethod
    def around(cls, mask: NDArray[np.bool_]) -> Region | None:
        """The smallest region that holds all positions at which a mask is set; None where there are none."""
        places = [
            np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
            for axis in range(mask.ndim)
        ]
        if not len(places[0]):
            return None
        return cls.between([int(found[0]) for found in places], [int(found[-1]) + 1 for found in places])

    @property
    def stop(self) -> tuple[int, ...]:
        """Per axis the first position behind the region."""
        return tuple(start + length for start, length in zip(self.offset, self.shape, strict=True))

    @property
    def index(self) -> tuple[Any, ...]:
        """What picks the region out of the last axes of an array."""
        return (..., *map(slice, self.offset, self.stop))

    def relative_to(self, outer: Region) -> Region:
        """The same region, counted from where another one starts."""
        return Region(tuple(own - start for own, start in zip(self.offset, outer.offset, strict=True)), self.shape)

    def slab(self, axis: int, position: int) -> Region:
        """The part of the region at one position along an axis, one thick."""
        start = (*self.offset[:axis], position, *self.offset[axis + 1 :])
        return Region(start, (*self.shape[:axis], 1, *self.shape[axis + 1 :]))

    def joined(self, other: Region) -> Region:
        """The smallest region that holds both."""
        return Region.between(tuple(map(min, self.offset, other.offset)), tuple(map(max, self.stop, other.stop)))
