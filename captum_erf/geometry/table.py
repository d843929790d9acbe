"""A table of the theoretical receptive fields of many layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from ..text import box_size, columns, place, times
from .field import TheoreticalReceptiveField

HEADINGS = ("layer", "grid", "stride", "size", "center", "halo")


class FieldTable(Sequence[TheoreticalReceptiveField]):
    """
    Fields in the order of the layers, which print as a table and are found by number or by the layer's name.

    Examples::

        >>> from torch import nn
        >>> from captum_erf import theoretical_receptive_fields
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
        >>> table = theoretical_receptive_fields(net, ["0", "2"], (1, 32, 32))
        >>> table
        layer     grid  stride   size        center       halo
        0      32 x 32   1 x 1  3 x 3      (16, 16)  1 1 x 1 1
        2      16 x 16   2 x 2  8 x 8  (16.5, 16.5)  3 3 x 3 3
        >>> table["2"].halo
        ((3, 3), (3, 3))
    """

    def __init__(self, layers: Iterable[str], fields: Iterable[TheoreticalReceptiveField]) -> None:
        self.layers, self._fields = tuple(layers), tuple(fields)

    @overload
    def __getitem__(self, key: int | str) -> TheoreticalReceptiveField: ...

    @overload
    def __getitem__(self, key: slice) -> FieldTable: ...

    def __getitem__(self, key: int | str | slice) -> TheoreticalReceptiveField | FieldTable:
        if isinstance(key, slice):
            return FieldTable(self.layers[key], self._fields[key])
        if isinstance(key, str):
            if key not in self.layers:
                raise KeyError(f"no layer {key!r} in the table; it has {', '.join(map(repr, self.layers))}")
            return self._fields[self.layers.index(key)]
        return self._fields[key]

    def __len__(self) -> int:
        return len(self._fields)

    def __iter__(self) -> Iterator[TheoreticalReceptiveField]:
        return iter(self._fields)

    def __repr__(self) -> str:
        return columns([HEADINGS, *map(cells_of, self.layers, self._fields)])


def cells_of(layer: str, field: TheoreticalReceptiveField) -> tuple[str, ...]:
    """A line of the table."""
    name = layer or "(network)"
    return name, times(field.grid), times(field.stride), box_size(field), place(field.center), field.halo_in_words
