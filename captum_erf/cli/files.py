"""What a measurement leaves behind: a folder with the numbers, the maps and the picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..erfmap import ERFMap
from ..result.spreadsheet import spreadsheet

Row = dict[str, Any]

SUMMARY = "summary.json"


def write(
    folder: Path,
    maps: Mapping[str, ERFMap],
    rows: Sequence[Row],
    run: Mapping[str, Any],
    drawings: Mapping[str, Callable[[Path], object]],
) -> list[Path]:
    """
    Writes ``summary.csv`` and ``summary.json`` of the maps' summaries and the run, a ``.npz`` for each map, named
    without its ending, and the drawings. What an earlier run has written into the folder, as its ``summary.json``
    lists it, is written over or removed.
    """
    names = [*drawings, "summary.csv", SUMMARY, *(f"{name}.npz" for name in maps)]
    _remove(folder, keep=names)
    for name, field in maps.items():
        field.save(folder / f"{name}.npz", overwrite=True)
    listed = [{**row, "file": f"{name}.npz"} for row, name in zip(rows, maps, strict=True)]
    (folder / SUMMARY).write_text(
        json.dumps({**run, "layers": listed, "files": names}, indent=2) + "\n", encoding="utf-8"
    )
    (folder / "summary.csv").write_text(spreadsheet(rows), encoding="utf-8", newline="")
    for name, draw in drawings.items():
        draw(folder / name)
    return [folder / name for name in names]


def _remove(folder: Path, keep: Iterable[str]) -> None:
    """Removes what an earlier run has written here and this one does not write over."""
    try:
        written = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["files"]
        names = [name for name in written if isinstance(name, str) and Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in set(names) - set(keep):
        (folder / name).unlink(missing_ok=True)
