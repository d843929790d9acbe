"""What the page knows: every unit's place, words and boxes, every layer's line of the table, and its maps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..result.mean_map import MeanMap
from ..result.report import CENTER_WORDS, channel_words, magnitude_words, table_cells
from ..result.statistics import DIAMETERS, STATISTICS, Row, summary
from ..summaries import RadiusMass, UndefinedStatistic
from ..text import box_size, counted, number, place, times
from .atlas import Atlas, atlas, tile

TAIL = (0.97, 0.98, 0.99, 0.995)  # shares at which the curve of the mass bends, beside those of the slider
SHARES = sorted([*TAIL, *(percent / 100 for percent in range(5, 101, 5))])  # for which the page knows the box
SIZES = {DIAMETERS[share].key: share for share in (0.5, 0.9)}  # that are told with each unit


@dataclass(frozen=True)
class Unit:
    """A unit's mean map, the map whose groups are single images if there is one, the summary, and what is told."""

    mean: MeanMap
    single: MeanMap | None
    row: Row
    told: dict[str, Any]


def describe(mean: MeanMap, single: MeanMap | None) -> tuple[Row, dict[str, Any]]:
    """The summary of a unit, and all that the page tells of it but pictures: what takes the time."""
    row, trf = summary(mean), mean.theoretical
    own = [f"{statistic.words(row)} px" for statistic in STATISTICS if statistic.key in SIZES]
    (_, boxes), *singles = map(_sizes, _maps(mean, single))
    return row, {
        "name": "the layer" if trf is None else f"{mean.position} of {times(trf.grid)}",
        "index": mean.position or (0, 0),
        "cell": mean.cell_center,
        "trf": None if trf is None or trf.is_global else [*(low - 0.5 for low in trf.lower), *trf.size],
        "facts": _facts(mean),
        "sizes": [own, *(words for words, _ in singles)],
        "boxes": [boxes, *(its_boxes for _, its_boxes in singles)],
    }


@dataclass(frozen=True)
class Layer:
    """The units of a layer."""

    name: str
    units: Sequence[Unit]

    @property
    def central(self) -> int:
        """Number of the centre unit, or of the nearest to it that was measured."""
        units = [(unit.mean.position or (0, 0), unit.mean.grid or (1, 1)) for unit in self.units]
        away = [sum((u - g // 2) ** 2 for u, g in zip(*unit, strict=True)) for unit in units]
        return away.index(min(away))

    def to_dict(self, model: Sequence[str]) -> dict[str, Any]:
        """Everything but the pictures; ``model`` stands in front of its line of the table."""
        first, central = self.units[0].mean, self.units[self.central]
        grid = first.grid or (1, 1)
        return {
            "name": self.name or "the network",
            "central": self.central,
            "step": [length / units for length, units in zip(first.groups.size, grid, strict=True)],
            "cells": [*model, *table_cells([central.mean], [central.row])[1]],
            "units": [unit.told for unit in self.units],
        }

    def atlases(self, side: int, single_side: int) -> list[Atlas]:
        """The maps of all units: one picture of the means, and one for each image."""
        means, *singles = zip(*(_maps(unit.mean, unit.single) for unit in self.units), strict=True)
        return [
            atlas([tile(one.values, longest) for one in maps])
            for maps, longest in [(means, side), *((maps, single_side) for maps in singles)]
        ]


@dataclass(frozen=True)
class Model:
    """A model's layers; without a name where there is no other."""

    name: str
    layers: Sequence[Layer]

    @classmethod
    def of(cls, name: str, units: Iterable[Unit]) -> Model:
        """The units by layer."""
        layers: dict[str, list[Unit]] = {}
        for unit in units:
            layers.setdefault(unit.mean.layer, []).append(unit)
        return cls(without_folders(name), [Layer(layer, its_units) for layer, its_units in layers.items()])

    @property
    def units(self) -> list[Unit]:
        return [unit for layer in self.layers for unit in layer.units]

    @property
    def rows(self) -> list[Row]:
        """The summaries of all units."""
        named = {"model": self.name} if self.name else {}
        return [named | unit.row for unit in self.units]

    def to_dict(self, is_alone: bool) -> dict[str, Any]:
        """Everything but the pictures."""
        first = self.units[0].mean
        samples = counted(first.num_samples, "sample")
        size = times(first.groups.size)
        return {
            "name": self.name,
            "size": first.groups.size,
            "mean": f"mean of {samples}",
            "about": f"{magnitude_words(first.recipe)} over {samples} of {size}; {channel_words(first.recipe)}",
            "layers": [layer.to_dict([] if is_alone else [self.name]) for layer in self.layers],
        }


def without_folders(name: str) -> str:
    r"""
    The name without the folders of files in it.

    Examples::

        >>> without_folders("/home/me/nets.py:make"), without_folders("resnet50=runs/best.pt")
        ('nets.py:make', 'resnet50=best.pt')
    """
    return re.sub(r"[^\s=@:,]*[\\/]", "", name)


def _maps(mean: MeanMap, single: MeanMap | None) -> Iterator[MeanMap]:
    """The mean map, then that of each image."""
    yield mean
    if single is not None:
        yield from (_of_group(single, group) for group in range(len(single.groups.counts)))


def _of_group(field: MeanMap, group: int) -> MeanMap:
    """The map of the samples of one group alone."""
    groups, only = field.groups, np.arange(len(field.groups.counts)) == group
    return replace(field, groups=replace(groups, counts=groups.counts * only, dead=groups.dead * only))


def _sizes(field: MeanMap) -> tuple[list[str], list[list[float]] | None]:
    """Words for ``SIZES``, and ``[side, top, left]`` of the box that holds each of ``SHARES``."""
    try:
        mass = field.radius_mass()
    except UndefinedStatistic:
        return ["none: the unit is dead"] * len(SIZES), None
    return [f"{number(mass.diameter(share))} px" for share in SIZES.values()], [_box(mass, share) for share in SHARES]


def _box(mass: RadiusMass, share: float) -> list[float]:
    (top, bottom), (left, _) = mass.box(share)
    return [round(length, 2) for length in (bottom - top, top, left)]


def _facts(field: MeanMap) -> dict[str, str]:
    """What is told of a unit beside its sizes."""
    source = CENTER_WORDS.get(field.center_source, "the middle of the unit's grid cell")
    center = f"{place(field.center, '.4g')}, {source}"
    trf = field.theoretical
    if trf is None:
        return {"centre": center}
    outside = "not known" if trf.outside is None else f"{100 * trf.outside:.1f} %"
    if trf.is_global:
        return {"centre": center, "TRF": "global", "outside": "not defined"}
    return {"centre": center, "TRF": f"{box_size(trf)} px", "outside": outside}
