"""Extents in the unit of ``--spacing``: how far a unit sees along every axis, before and behind its own cell."""

from __future__ import annotations

from collections.abc import Sequence

from ..result.statistics import Row
from ..text import columns, interval
from .texts import Spacing

SHARES = (50, 90)  # percent of the map
AXES = ("z", "y", "x")


def extents(rows: Sequence[Row], labels: Sequence[Sequence[str]], spacing: Spacing) -> str:
    r"""
    A table of extents, and their lengths with errors, a line for each map.

    Args:
        rows (Sequence[dict]): Summaries of the maps, see :meth:`ERFMap.summary`.
        labels (Sequence): Headings of columns in front, and then for each map what stands in them; may be empty.
        spacing (Spacing): Length of a step between two input positions.
    """
    before = labels or [[]] * (len(rows) + 1)
    num_dims = max(len(row["input_size"]) for row in rows)
    names = AXES[-num_dims:]
    lines = [[*before[0], "layer", *(f"{share} % {name} [{spacing.unit or 1}]" for share in SHARES for name in names)]]
    for label, row in zip(before[1:], rows, strict=True):
        lengths = along(spacing, len(row["input_size"]))
        lines.append(
            [*label, row["layer"] or "the network", *(cell for share in SHARES for cell in _cells(row, share, lengths))]
        )
    return columns(lines, left=1 + len(before[0]))


def along(spacing: Spacing, num_dims: int) -> Sequence[float]:
    """The length of a step on every axis.

    Raises:
        ValueError: There are neither one length nor one for each axis.
    """
    if len(spacing.lengths) not in (1, num_dims):
        raise ValueError(
            f"--spacing {spacing} has {len(spacing.lengths)} lengths; expected 1 or {num_dims}, one an axis."
        )
    return spacing.lengths if len(spacing.lengths) == num_dims else spacing.lengths * num_dims


def _cells(row: Row, share: int, lengths: Sequence[float]) -> list[str]:
    extents, errors = row[f"extent_{share}"], row[f"extent_{share}_se"]
    if extents is None:
        return ["-"] * len(lengths)
    return [
        interval([end * length for end in ends], None if error is None else error * length, digits=3)
        for ends, error, length in zip(extents, errors or [None] * len(lengths), lengths, strict=True)
    ]
