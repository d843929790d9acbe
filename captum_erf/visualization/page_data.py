"""What the page knows: every unit's place, words and boxes, every layer's maps, and the table of numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..erfmap import ERFMap
from ..result.report import MAGNITUDE_WORDS, channel_words, number
from ..result.sums import region
from ..summaries.arrays import times
from .atlas import atlas, extents, tile

Row = dict[str, Any]

SIZES = {"diameter_50": 0.5, "diameter_90": 0.9}
SHARES = [percent / 100 for percent in range(5, 101, 5)]  # of a map, for which the page knows the box
NUMBERS = {"diameter_50": 1, "diameter_90": 1, "diameter_95": 1, "gaussian_sigma": 1, "gaussian_r2": 3, "erf_to_trf": 2}
COLUMNS = ["layer", "grid", "stride", "TRF", "outside", "50 %", "90 %", "95 %", "sigma", "R²", "ERF/TRF"]


@dataclass(frozen=True)
class Unit:
    """A unit's mean field, its summary, and, where there is one, the field whose groups are single images."""

    mean: ERFMap
    row: Row
    single: ERFMap | None = None

    @property
    def num_images(self) -> int:
        return 0 if self.single is None else len(self.single.group_counts)

    @property
    def fields(self) -> Iterator[ERFMap]:
        """The mean field, then that of each image."""
        yield self.mean
        if self.single is not None:
            yield from (_of_group(self.single, group) for group in range(self.num_images))

    @cached_property
    def extents(self) -> tuple[int, int]:
        return extents(self.mean.values)

    @property
    def cell(self) -> tuple[float, float]:
        """The middle of the unit's grid cell in pixels."""
        size, position, grid = self.mean.values.shape, self.mean.position or (0, 0), self.mean.grid or (1, 1)
        y, x = ((u + 0.5) * length / g - 0.5 for u, length, g in zip(position, size, grid, strict=True))
        return y, x

    @property
    def name(self) -> str:
        """The unit's index in words."""
        return "the layer" if self.mean.position is None else f"{self.mean.position} of {times(self.mean.grid or ())}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps."""
        trf = self.mean.theoretical
        shown = [_Shown.of(field) for field in self.fields]
        shown[0] = replace(shown[0], sizes=[f"{number(self.row[key], self.row[f'{key}_se'])} px" for key in SIZES])
        return {
            "name": self.name,
            "index": self.mean.position or (0, 0),
            "cell": self.cell,
            "center": self.mean.center,
            "trf": None if trf is None or trf.is_global else [*(low - 0.5 for low in trf.lower), *trf.size],
            "facts": _facts(self.mean),
            "sizes": [one.sizes for one in shown],
            "boxes": [one.boxes for one in shown],
        }


@dataclass(frozen=True)
class _Shown:
    """What a map's mass says: words for two sizes, and ``[side, top, left]`` of the box for each of ``SHARES``."""

    sizes: list[str]
    boxes: list[list[float]] | None

    @classmethod
    def of(cls, field: ERFMap) -> _Shown:
        try:
            mass = field.radius_mass()
        except ValueError:
            return cls(["none: the image does not activate the unit"] * len(SIZES), None)
        sides = [mass.diameter(share) for share in SHARES]
        boxes = [[round(v, 2) for v in (side, *(at - side / 2 for at in field.center))] for side in sides]
        return cls([f"{number(mass.diameter(share), None)} px" for share in SIZES.values()], boxes)


@dataclass(frozen=True)
class Layer:
    """The units of a layer."""

    name: str
    units: Sequence[Unit]

    @property
    def central(self) -> int:
        """Number of the unit nearest to the middle of the input."""
        middle = [(length - 1) / 2 for length in self.units[0].mean.values.shape]
        return int(np.argmin([np.hypot(*np.subtract(unit.cell, middle)) for unit in self.units]))

    def to_dict(self, place: int, *names: str) -> dict[str, Any]:
        """Everything but the maps; ``place`` orders the layers, ``names`` stand before them in their table."""
        first = self.units[0].mean
        grid, own_name = first.grid or (1, 1), self.name or "the network"
        return {
            "name": own_name,
            "central": self.central,
            "step": [length / units for length, units in zip(first.values.shape, grid, strict=True)],
            "cells": [*([name, name] for name in names), [own_name, place], *_cells(self.units[self.central])],
            "units": [unit.to_dict() for unit in self.units],
        }

    def atlases(self, *sides: int) -> list[dict[str, Any]]:
        """The maps of all units: one picture of the means, and one for each image."""
        made: list[dict[str, Any]] = []
        for fields in zip(*(unit.fields for unit in self.units), strict=True):
            drawn = atlas([tile(field.values, sides[bool(made)]) for field in fields])
            made.append({"src": drawn.source, "places": drawn.places})
        return made


@dataclass(frozen=True)
class Model:
    """A model's layers."""

    name: str
    layers: Sequence[Layer]

    @classmethod
    def of(cls, name: str, units: Iterable[Unit]) -> Model:
        layers: dict[str, list[Unit]] = {}
        for unit in units:
            layers.setdefault(unit.mean.layer, []).append(unit)
        return cls(name, [Layer(layer, its_units) for layer, its_units in layers.items()])

    @property
    def units(self) -> list[Unit]:
        return [unit for layer in self.layers for unit in layer.units]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps."""
        first = self.units[0].mean
        names = [without_folders(self.name)] if self.name else []
        what = MAGNITUDE_WORDS.get(first.recipe.get("magnitude", "abs"), "mean")
        samples = f"{first.num_samples} sample{'s' * (first.num_samples != 1)}"
        return {
            "name": without_folders(self.name),
            "size": first.values.shape,
            "about": f"{what} over {samples} of {times(first.values.shape)}; {channel_words(first.recipe)}",
            "layers": [layer.to_dict(place, *names) for place, layer in enumerate(self.layers)],
        }


def without_folders(name: str) -> str:
    """The name without the folders of files in it: ``nets.py:make`` of ``/home/me/nets.py:make``."""
    return re.sub(r"[^\s=@:,]*[\\/]", "", name)


def spreadsheet(models: Sequence[Model]) -> str:
    """The summaries of all units as CSV, a cell for each entry of a list: ``grid_0``, ``grid_1``, ..."""
    named = [{"model": without_folders(m.name)} if len(models) > 1 else {} for m in models]
    rows = [name | unit.row for name, model in zip(named, models, strict=True) for unit in model.units]
    listed = {key: len(value) for row in rows for key, value in row.items() if isinstance(value, list)}
    flat = [_flat(row, listed) for row in rows]
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(dict.fromkeys(key for row in flat for key in row)))
    writer.writeheader()
    writer.writerows(flat)
    return sheet.getvalue()


def _flat(row: Row, listed: dict[str, int]) -> Row:
    flat: Row = {}
    for key, value in row.items():
        cells = {f"{key}_{axis}": value and value[axis] for axis in range(listed.get(key, 0))}
        flat.update(cells or {key: value})
    return flat


def _of_group(field: ERFMap, group: int) -> ERFMap:
    """The field over the samples of one group alone."""
    values = np.zeros_like(field.values)
    values[region(field.group_offset, field.group_sums.shape[1:])] = field.group_sums[group]
    nothing = field.group_counts[:0]
    return replace(field, values=values, num_samples=1, group_sums=field.group_sums[:0], group_counts=nothing)


def _facts(field: ERFMap) -> dict[str, str]:
    """What is told of a unit beside its sizes."""
    trf = field.theoretical
    center = f"({', '.join(f'{value:g}' for value in field.center)}), middle of the {_source(field)}"
    if trf is None:
        return {"centre": center}
    outside = "not known" if trf.outside is None else f"{100 * trf.outside:.1f} %"
    return {"centre": center, "TRF": _size(field), "outside": outside}


def _source(field: ERFMap) -> str:
    return {"theoretical": "theoretical field", "input": "input"}.get(field.center_source, "unit's grid cell")


def _size(field: ERFMap) -> str:
    trf = field.theoretical
    if trf is None:
        return "none"
    if trf.is_global:
        return "global"
    return f"{'at least ' if trf.is_clipped else ''}{times(trf.size)} px"


def _cells(unit: Unit) -> list[list[Any]]:
    """What each column but the names' shows, and what it is sorted by."""
    field, row = unit.mean, unit.row
    trf = field.theoretical
    cells: list[list[Any]] = [["-", 0]] * 4
    if trf is not None:
        outside = trf.outside or 0.0
        cells = [
            [times(trf.grid), trf.grid[0]],
            [times(trf.stride), trf.stride[0]],
            [_size(field).removesuffix(" px"), float("1e9") if trf.is_global else max(trf.size)],
            [f"{100 * outside:.0f} %", outside],
        ]
    for key, digits in NUMBERS.items():
        value = row[key]
        cells.append([number(value, row[f"{key}_se"], digits), (value[0] if isinstance(value, list) else value) or 0])
    return cells
