"""The box of input positions that can influence a unit, as numbers and as a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..text import times


class AxisBox(NamedTuple):
    """A unit's box along one axis; on a global axis, and at a clipped side, it ends with the input."""

    lower: int
    upper: int
    stride: int | float
    is_global: bool = False
    is_clipped: bool = False

    @property
    def middle(self) -> float:
        """The position in the middle of the box."""
        return (self.lower + self.upper - 1) / 2


Box = tuple[AxisBox, ...]


@dataclass(frozen=True, repr=False)
class TheoreticalReceptiveField:
    r"""
    The box of input positions that can influence one unit.

    Attributes:
        lower, upper (tuple[int, ...]): Per axis the half-open interval ``[lower, upper)`` of input indices, not
            clipped: it may reach outside the input. On a global axis, ``[0, size of the input)``.
        size (tuple[int, ...]): ``upper - lower``, in pixels.
        stride (tuple[int | float, ...]): Input steps from one unit to the next; below one on upsampled grids.
        center (tuple[float, ...]): The input position onto which the unit projects, in pixels: the middle of the
            box, and on an axis that is global or of which a side is clipped the middle of the unit's own grid cell,
            ``(u + 0.5) * size / grid - 0.5``.
        is_clipped (bool): Whether a side of the box was found only as far as the input reaches, because the
            network takes no other input size.
        outside (float, optional): Share of the box that lies outside the input; None where ``is_clipped``.
        input_size, grid, position (tuple[int, ...]): Shape of the input and of the layer's grid, and the unit.
        global_axes (tuple[bool, ...]): Axes on which every input position can influence the unit.
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

    @classmethod
    def from_box(
        cls, box: Box, input_size: tuple[int, ...], grid: tuple[int, ...], position: tuple[int, ...]
    ) -> TheoreticalReceptiveField:
        """The field of the unit at a position of the grid, from its box axis by axis."""
        is_clipped = any(axis.is_clipped for axis in box)
        cells = [(u + 0.5) * length / units - 0.5 for u, length, units in zip(position, input_size, grid, strict=True)]
        inside = [
            max(min(axis.upper, length) - max(axis.lower, 0), 0) / (axis.upper - axis.lower)
            for axis, length in zip(box, input_size, strict=True)
        ]
        return cls(
            lower=tuple(axis.lower for axis in box),
            upper=tuple(axis.upper for axis in box),
            size=tuple(axis.upper - axis.lower for axis in box),
            stride=tuple(axis.stride for axis in box),
            center=tuple(
                cell if axis.is_global or axis.is_clipped else axis.middle
                for axis, cell in zip(box, cells, strict=True)
            ),
            is_clipped=is_clipped,
            outside=None if is_clipped else 1 - math.prod(inside),
            input_size=input_size,
            grid=grid,
            position=position,
            global_axes=tuple(axis.is_global for axis in box),
        )

    @property
    def is_global(self) -> bool:
        """Whether every input position can influence the unit."""
        return all(self.global_axes)

    @property
    def is_known(self) -> bool:
        """Whether the whole box was found: no axis is global, no side clipped."""
        return not (any(self.global_axes) or self.is_clipped)

    @property
    def center_source(self) -> str:
        """Where ``center`` comes from: ``"theoretical"`` (the box), ``"grid cell"``, or ``"mixed"`` by axis."""
        sides = zip(self.lower, self.upper, self.center, self.global_axes, strict=True)
        of_cell = [everywhere or center != (low + high - 1) / 2 for low, high, center, everywhere in sides]
        return "grid cell" if all(of_cell) else "mixed" if any(of_cell) else "theoretical"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TheoreticalReceptiveField:
        """The inverse of :meth:`to_dict`."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)

    def __repr__(self) -> str:
        size = self._words(lambda low, high: f"{high - low}")
        box = self._words(lambda low, high: f"[{low}, {high})")
        rows = [
            f"TheoreticalReceptiveField of unit {self.position} in a grid of {times(self.grid)}",
            f"  size       {size}{' (clipped by the input)' if self.is_clipped else ''}",
            f"  box        {box} in an input of {times(self.input_size)}",
            f"  stride     {times(self.stride)}",
            f"  center     ({', '.join(f'{c:g}' for c in self.center)}), {self.center_source}",
        ]
        if self.outside is not None:
            rows.append(f"  outside    {self.outside:.1%} of the box lies outside the input")
        return "\n".join(rows)

    def _words(self, form: Callable[[int, int], str]) -> str:
        sides = zip(self.lower, self.upper, self.global_axes, strict=True)
        return " x ".join("global" if everywhere else form(low, high) for low, high, everywhere in sides)
