"""The table that the command prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..erfmap import ERFMap
from ..result.report import number
from ..summaries.arrays import times

Row = dict[str, Any]
HEADS = ["layer", "grid", "stride", "TRF", "ERF 50 %", "90 %", "95 %", "sigma", "R²", "ERF/TRF", "outside"]


def table(fields: Sequence[ERFMap], rows: Sequence[Row], labels: Sequence[Sequence[str]] = ()) -> str:
    """One line for each layer, lengths in input pixels, with standard errors; ``labels`` stand before them."""
    before = labels or [[]] * (len(fields) + 1)
    lines = [[*before[0], *HEADS]]
    for field, row, label in zip(fields, rows, before[1:], strict=True):
        lines.append([*label, field.layer or "the network", *_geometry(field), *_measured(row), _outside(field)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = len(before[0]) + 1
    return "\n".join(
        "  ".join(
            [*map(str.ljust, line[:left], widths[:left]), *map(str.rjust, map(_dash, line[left:]), widths[left:])]
        ).rstrip()
        for line in lines
    )


def _dash(cell: str) -> str:
    return "-" if cell == "none" else cell


def _geometry(field: ERFMap) -> list[str]:
    trf = field.theoretical
    if trf is None:
        return ["-"] * 3
    bound = "at least " if trf.is_clipped else ""
    return [times(trf.grid), _lengths(trf.stride), "global" if trf.is_global else bound + _lengths(trf.size)]


def _outside(field: ERFMap) -> str:
    trf = field.theoretical
    return "-" if trf is None or trf.outside is None or trf.is_global else f"{100 * trf.outside:.1f} %"


def _measured(row: Row) -> list[str]:
    lengths = [
        number(row[key], row[f"{key}_se"]) for key in ("diameter_50", "diameter_90", "diameter_95", "gaussian_sigma")
    ]
    return [*lengths, number(row["gaussian_r2"], None, 3), number(row["erf_to_trf"], None, 2)]


def _lengths(lengths: Sequence[float]) -> str:
    return times(lengths if len(set(lengths)) > 1 else lengths[:1])
