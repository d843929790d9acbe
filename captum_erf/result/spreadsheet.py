"""Summaries as CSV: a row for each map, a cell for each number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def spreadsheet(rows: Sequence[Row]) -> str:
    r"""
    Rows as CSV, with a cell for each entry of a list, lists within it too, in columns numbered along the axes.

    Examples::

        >>> rows = [{"layer": "a", "grid": [7, 5]}, {"layer": "b", "grid": None}]
        >>> print(spreadsheet(rows).replace("\r", ""))
        layer,grid_0,grid_1
        a,7,5
        b,,
        <BLANKLINE>
    """
    flat = [{name: cell for key, value in row.items() for name, cell in _cells(key, value)} for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    columns = [name for name in names if f"{name}_0" not in names and f"{name}_0_0" not in names]
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(flat)
    return sheet.getvalue()


def _cells(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list):
        yield key, value
        return
    for axis, entry in enumerate(value):
        yield from _cells(f"{key}_{axis}", entry)
