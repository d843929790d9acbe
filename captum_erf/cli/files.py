"""What a measurement leaves behind: a table to read, and a folder with the numbers, the maps and the picture."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import visualization
from ..erfmap import ERFMap

Row = dict[str, Any]

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}


def write(folder: Path, fields: Sequence[ERFMap], rows: Sequence[Row], run: Mapping[str, Any]) -> list[Path]:
    r"""
    Writes ``summary.csv``, ``summary.json``, a ``.npz`` for each map and ``erf.png``, over those of an earlier run.

    Args:
        folder (Path): Where to.
        fields (Sequence[ERFMap]): The maps.
        rows (Sequence[dict]): Their summaries.
        run (Mapping): What was measured and how, ready for JSON.

    Returns:
        *list[Path]*: the files.
    """
    names = file_names([field.layer for field in fields])
    maps = [folder / f"{name}.npz" for name in names]
    for file, field in zip(maps, fields, strict=True):
        field.save(file, overwrite=True)
    report = {**run, "layers": [{**row, "file": file.name} for row, file in zip(rows, maps, strict=True)]}
    summary = folder / "summary.json"
    summary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sheet = folder / "summary.csv"
    with sheet.open("w", newline="", encoding="utf-8") as stream:
        listed = {key: len(value) for row in rows for key, value in row.items() if isinstance(value, list)}
        flat = [_flat(row, listed) for row in rows]
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in flat for key in row)))
        writer.writeheader()
        writer.writerows(flat)
    picture = folder / "erf.png"
    visualization.plot_layers(fields).savefig(picture)
    return [picture, sheet, summary, *maps]


def _flat(row: Row, listed: Mapping[str, int]) -> Row:
    """The row with a cell for each entry of a list: ``grid_0``, ``grid_1``, ... along the axes."""
    flat: Row = {}
    for key, value in row.items():
        cells = {f"{key}_{axis}": value and value[axis] for axis in range(listed.get(key, 0))}
        flat.update(cells or {key: value})
    return flat


def file_names(layers: Iterable[str]) -> list[str]:
    """Names of the layers that every file system takes, each once whatever it makes of capitals."""
    taken: dict[str, int] = {}
    names = []
    for layer in layers:
        name = safe(layer) or "network"
        taken[name.lower()] = count = taken.get(name.lower(), 0) + 1
        names.append(name if count == 1 else f"{name}-{count}")
    return names


def safe(name: str) -> str:
    """The name with ``-`` for whatever a file system may refuse."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-")
    return f"{plain}-" if plain.split(".")[0].lower() in RESERVED else plain
