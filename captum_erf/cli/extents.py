"""Extents in the unit of ``--spacing``: how far a unit sees along every axis, before and behind its own cell."""

from __future__ import annotations

from collections.abc import Sequence

from ..result.statistics import Row
from ..spacing import Spacing
from ..text import columns, interval, number

SHARES = (50, 90)  # percent of the map
AXES = ("z", "y", "x")


def extents(rows: Sequence[Row], labels: Sequence[Sequence[str]], spacing: Spacing) -> str:
    r"""
    A table of extents and their lengths with errors, a line for each map; where pixels are as long along every axis,
    of the sides of boxes as well.

    Args:
        rows (Sequence[dict]): Summaries of the maps, see :meth:`ERFMap.summary`.
        labels (Sequence): Headings of columns in front, and then for each map what stands in them; may be empty.
        spacing (Spacing): Length of a step between two input positions.
    """
    before = labels or [[]] * (len(rows) + 1)
    names = AXES[-max(len(row["input_size"]) for row in rows) :]
    even, unit = len(set(spacing.lengths)) == 1, spacing.unit or 1
    sides = [f"ERF {share} % [{unit}]" for share in SHARES if even]
    lines = [[*before[0], "layer", *sides, *(f"{share} % {name} [{unit}]" for share in SHARES for name in names)]]
    for label, row in zip(before[1:], rows, strict=True):
        lengths = spacing.along(len(row["input_size"]))
        cells = [_side(row, f"diameter_{share}", lengths[0]) for share in SHARES if even]
        cells += [cell for share in SHARES for cell in _extents(row, f"extent_{share}", lengths)]
        lines.append([*label, row["layer"] or "the network", *cells])
    return columns(lines, left=1 + len(before[0]))


def _side(row: Row, key: str, length: float) -> str:
    value, error = row[key], row[f"{key}_se"]
    return "-" if value is None else number(value * length, None if error is None else error * length, 3)


def _extents(row: Row, key: str, lengths: Sequence[float]) -> list[str]:
    extents, errors = row[key], row[f"{key}_se"]
    if extents is None:
        return ["-"] * len(lengths)
    return [
        interval([end * length for end in ends], None if error is None else error * length, digits=3)
        for ends, error, length in zip(extents, errors or [None] * len(lengths), lengths, strict=True)
    ]
