"""What a measurement leaves behind: a table to read, and a folder with the numbers, the maps and the picture."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import visualization
from ..erfmap import ERFMap
from ..result.spreadsheet import spreadsheet

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
    sheet.write_text(spreadsheet(rows), encoding="utf-8", newline="")
    picture = folder / "erf.png"
    visualization.plot_layers(fields).savefig(picture)
    return [picture, sheet, summary, *maps]


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
