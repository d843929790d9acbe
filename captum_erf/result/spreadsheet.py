"""Summaries as CSV: a row for each map, a cell for each number."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def spreadsheet(rows: Sequence[Row]) -> str:
    r"""
    Rows as CSV, with a cell for each entry of a list, in columns numbered along the axes, and none for None.

    Examples::

        >>> print(spreadsheet([{"layer": "a", "grid": [7, 5]}, {"layer": "b", "grid": None}]).replace("\r", ""))
        layer,grid_0,grid_1
        a,7,5
        b,,
        <BLANKLINE>
    """
    listed = [(key, len(value)) for row in rows for key, value in row.items() if isinstance(value, list)]
    lengths = {key: max(length for other, length in listed if other == key) for key, _ in listed}
    flat = [_flat(row, lengths) for row in rows]
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(dict.fromkeys(key for row in flat for key in row)))
    writer.writeheader()
    writer.writerows(flat)
    return sheet.getvalue()


def _flat(row: Row, lengths: Mapping[str, int]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        entries = value if isinstance(value, list) else []
        cells = {f"{key}_{axis}": entries[axis] if axis < len(entries) else None for axis in range(lengths.get(key, 0))}
        flat.update(cells or {key: value})
    return flat
