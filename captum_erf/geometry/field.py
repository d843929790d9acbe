"""The box of input positions that can influence a unit, as numbers and as a report."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

from ..text import box_size, place, times
from .region import Region


class AxisBox(NamedTuple):
    """A unit's box along one axis; on a global axis, and at a clipped side, it ends with the input.

    ``center`` is the point onto which the unit projects, and ``halo`` how far any unit sees before and after its own
    cell; None where that is not known. ``is_bound`` says that the unit may see less.
    """

    lower: int
    upper: int
    stride: int | float
    is_global: bool = False
    is_clipped: bool = False
    center: float | None = None
    halo: tuple[int, int] | None = None
    is_bound: bool = False


Box = tuple[AxisBox, ...]


def cell_center(position: Sequence[int], grid: Sequence[int], size: Sequence[int]) -> tuple[float, ...]:
    """The middle of a unit's own cell, of a grid that lies evenly over an input of that size."""
    return tuple((u + 0.5) * length / units - 0.5 for u, length, units in zip(position, size, grid, strict=True))


@dataclass(frozen=True, repr=False)
class TheoreticalReceptiveField:
    r"""
    The box of input positions that can influence one unit.

    Attributes:
        lower, upper (tuple[int, ...]): Per axis the half-open interval ``[lower, upper)`` of input indices, not
            clipped: it may reach outside the input. On a global axis, ``[0, size of the input)``.
        size (tuple[int, ...]): ``upper - lower``, in pixels.
        stride (tuple[int | float, ...]): Input steps from one unit to the next; below one on upsampled grids.
        center (tuple[float, ...]): The input position onto which the unit projects, in pixels: ``offset + stride * u``
            for unit ``u``, where ``offset`` is the mean over one period of units of the boxes' middles less ``stride
            * u``. In a chain of layers that is the middle of the box. On an axis that is global or of which a side
            is clipped it is not known before the map, and the middle of the unit's own grid cell stands for it,
            ``(u + 0.5) * size / grid - 0.5``.
        is_clipped (bool): Whether a side of the box was found only as far as the input reaches, because the
            end lies beyond it and was not found, as where the network takes no other input size.
        outside (float, optional): Share of the box that lies outside the input; None where ``is_clipped``.
        input_size, grid, position (tuple[int, ...]): Shape of the input and of the layer's grid, and the unit.
        global_axes (tuple[bool, ...]): Axes on which every input position can influence the unit, and no end of the
            box was found. It is looked for within about eight lengths of the input, of an only axis within four.
        cell_axes (tuple[bool, ...]): Axes on which ``center`` is that of the unit's grid cell.
        halo (tuple, optional): Per axis how many pixels before and after its own cell, ``[stride * u, stride * (u +
            1))``, any unit of the layer sees, None where that is not known: a tile of the output is exact where its
            input reaches so far beyond it and starts at a whole number of periods. Found by
            :func:`theoretical_receptive_fields`.
        is_estimated (bool): Whether NaN could not probe the network, so that the box is the extent of the gradients
            that were seen.
        is_bound (bool): Whether the unit sees no more than the box, but may see less of what lies outside the input:
            the network lays out several axes as one, as scans in reading order and windows of attention do, so that
            inputs of another size may show another field.
    """

    lower: tuple[int, ...]
    upper: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int | float, ...]
    center: tuple[float, ...]
    is_clipped: bool
    outside: float | None
    input_size: tuple[int, ...]
    grid: tuple[int, ...]
    position: tuple[int, ...]
    global_axes: tuple[bool, ...]
    cell_axes: tuple[bool, ...] = ()
    halo: tuple[tuple[int, int] | None, ...] | None = None
    is_estimated: bool = False
    is_bound: bool = False

    def __post_init__(self) -> None:
        if not self.cell_axes:  # as in files of before 0.2, where a known centre was the middle of the box
            sides = zip(self.lower, self.upper, self.center, self.global_axes, strict=True)
            cells = tuple(everywhere or center != (low + high - 1) / 2 for low, high, center, everywhere in sides)
            object.__setattr__(self, "cell_axes", cells)

    @classmethod
    def from_box(
        cls, box: Box, input_size: tuple[int, ...], grid: tuple[int, ...], position: tuple[int, ...]
    ) -> TheoreticalReceptiveField:
        """The field of the unit at a position of the grid, from its box axis by axis."""
        is_clipped = any(axis.is_clipped for axis in box)
        cells = cell_center(position, grid, input_size)
        inside = [
            max(min(axis.upper, length) - max(axis.lower, 0), 0) / (axis.upper - axis.lower)
            for axis, length in zip(box, input_size, strict=True)
        ]
        return cls(
            lower=tuple(axis.lower for axis in box),
            upper=tuple(axis.upper for axis in box),
            size=tuple(axis.upper - axis.lower for axis in box),
            stride=tuple(axis.stride for axis in box),
            center=tuple(cell if axis.center is None else axis.center for axis, cell in zip(box, cells, strict=True)),
            is_clipped=is_clipped,
            outside=None if is_clipped else 1 - math.prod(inside),
            input_size=input_size,
            grid=grid,
            position=position,
            global_axes=tuple(axis.is_global for axis in box),
            cell_axes=tuple(axis.center is None for axis in box),
            halo=tuple(axis.halo for axis in box) if any(axis.halo for axis in box) else None,
            is_bound=any(axis.is_bound for axis in box),
        )

    @classmethod
    def unprobed(
        cls, input_size: tuple[int, ...], grid: tuple[int, ...], position: tuple[int, ...]
    ) -> TheoreticalReceptiveField:
        """The field of a unit that NaN cannot probe: the whole input, to be narrowed to where gradients are seen."""
        strides = [axis_stride(length, units) for length, units in zip(input_size, grid, strict=True)]
        box = tuple(AxisBox(0, n, stride, is_global=True) for n, stride in zip(input_size, strides, strict=True))
        return replace(cls.from_box(box, input_size, grid, position), outside=None, is_estimated=True)

    def narrowed(self, extent: Region) -> TheoreticalReceptiveField:
        """An estimated field, narrowed to a region of the input."""
        return replace(
            self,
            lower=extent.offset,
            upper=extent.stop,
            size=extent.shape,
            global_axes=tuple(map(operator.eq, extent.shape, self.input_size)),
        )

    def holds(self, extent: Region) -> bool:
        """Whether a region of the input lies in the box."""
        sides = zip(self.lower, extent.offset, extent.stop, self.upper, strict=True)
        return all(lower <= start and stop <= upper for lower, start, stop, upper in sides)

    @property
    def is_global(self) -> bool:
        """Whether every input position can influence the unit."""
        return all(self.global_axes)

    @property
    def is_known(self) -> bool:
        """Whether the whole box was found: no axis is global, no side clipped, nothing estimated."""
        return not (any(self.global_axes) or self.is_clipped or self.is_estimated)

    @property
    def center_source(self) -> str:
        """Where ``center`` comes from: ``"theoretical"`` (the boxes), ``"grid cell"``, or ``"mixed"`` by axis."""
        return "grid cell" if all(self.cell_axes) else "mixed" if any(self.cell_axes) else "theoretical"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return {name: _listed(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TheoreticalReceptiveField:
        """The inverse of :meth:`to_dict`."""
        fields: dict[str, Any] = {name: _tupled(value) for name, value in values.items()}
        return cls(**fields)

    @property
    def halo_in_words(self) -> str:
        """The halo as it is printed, before and after the cell, such as ``1 1 x 1 1``."""
        halo = self.halo or (None,) * len(self.size)
        return " x ".join("unknown" if sides is None else f"{sides[0]} {sides[1]}" for sides in halo)

    def __repr__(self) -> str:
        note = " (clipped by the input)" if self.is_clipped else " (seen of the gradients)" if self.is_estimated else ""
        box = self._words(lambda low, high: f"[{low}, {high})")
        rows = [
            f"TheoreticalReceptiveField of unit {self.position} in a grid of {times(self.grid)}",
            f"  size       {box_size(self)}{note}",
            f"  box        {box} in an input of {times(self.input_size)}",
            f"  stride     {times(self.stride)}",
            f"  center     {place(self.center)}, {self.center_source}",
        ]
        if self.outside is not None:
            rows.append(f"  outside    {self.outside:.1%} of the box lies outside the input")
        if self.halo is not None:
            rows.append(f"  halo       {self.halo_in_words} pixels before and after a unit's cell")
        return "\n".join(rows)

    def _words(self, form: Callable[[int, int], str]) -> str:
        sides = zip(self.lower, self.upper, self.global_axes, strict=True)
        return " x ".join("global" if everywhere else form(low, high) for low, high, everywhere in sides)


def axis_stride(pixels: int, units: int, *, is_exact: bool = False) -> int | float:
    """Pixels from one unit to the next; where the grid need not fill the input exactly, whole if nearly so."""
    ratio = Fraction(pixels, units)
    nearest = round(ratio)
    is_whole = ratio == nearest or (not is_exact and abs(ratio - nearest) <= 0.1 * ratio)
    return nearest if is_whole else float(ratio)


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
