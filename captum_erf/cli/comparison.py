"""Several networks beside each other: what tells them apart, how far they differ, and their figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from .. import visualization
from ..erfmap import ERFMap
from ..result.statistics import STATISTICS, Statistic
from ..text import number
from . import files
from .measure import Measured
from .plan import Case

COMPARED = ("diameter_50", "diameter_90")  # sizes of which the table gives differences


def labels(measured: Sequence[Measured]) -> list[list[str]]:
    """The first columns of the table, of several networks."""
    columns = {
        "model": [found.case.wanted.short for found in measured],
        "weights": [found.case.label for found in measured],
    }
    told = {head: column for head, column in columns.items() if len(set(column)) > 1}
    lines = [[column[place] for column in told.values()] for place in range(len(measured))]
    rows = [line for line, found in zip(lines, measured, strict=True) for _ in found.fields]
    return [list(told), *rows] if told else []


def differences(measured: Sequence[Measured]) -> list[list[str]]:
    """The last columns of the table: paired differences to the first row, or to the layer with the first weights."""
    if len(measured) == 1:
        return []
    compared = [statistic for statistic in STATISTICS if statistic.key in COMPARED]
    lines = [[f"Δ {statistic.key.removeprefix('diameter_')} %" for statistic in compared]]
    for found in measured:
        first = next(other for other in measured if other.case.wanted == found.case.wanted)
        for field in found.fields:
            same = [other for other in first.fields if other.layer == field.layer and first is not found]
            lines.append(_compared(field, same[0] if same else measured[0].fields[0], compared))
    return lines


def _compared(field: ERFMap, other: ERFMap, compared: Sequence[Statistic]) -> list[str]:
    if field is other:
        return ["-"] * len(compared)
    try:
        return [number(*field.difference(other, statistic.formula)) for statistic in compared]
    except ValueError:
        return ["-"] * len(compared)


def file_names(measured: Sequence[Measured]) -> list[str]:
    """``layer4``, or of several networks ``resnet18-random``, with the layer where there are several."""
    if len(measured) == 1:
        return files.file_names(field.layer for field in measured[0].fields)
    labels = []
    for found in measured:
        stem = f"{found.case.wanted.short}-{found.case.label}"
        alone = len(found.fields) == 1 and not found.case.wanted.layers
        labels += [stem if alone else f"{stem}-{field.layer}" for field in found.fields]
    return files.file_names(labels)


def picture_name(count: int) -> str:
    """The file of the figure of so many cases, without its ending."""
    return "models" if count > 1 else "erf"


def places(cases: Sequence[Case]) -> dict[str, dict[str, tuple[int, str]]]:
    """Where the figure shows what: weights down, and in each row by its label the number of a case, and a layer.

    Networks stand across, and their layers where there are several.
    """
    several = len({case.wanted for case in cases}) > 1
    rows: dict[int, dict[str, tuple[int, str]]] = {}
    weights: dict[int, dict[str, None]] = {}
    for index, case in enumerate(cases):
        row = sum(other.wanted == case.wanted for other in cases[:index])
        weights.setdefault(row, {})[case.label] = None
        for layer in case.layers:
            shown = layer if len(case.layers) > 1 or case.wanted.layers or not several else ""
            label = " ".join(filter(None, [case.wanted.short if several else "", shown]))
            rows.setdefault(row, {})[label] = index, layer
    return {" / ".join(weights[row]): labelled for row, labelled in rows.items()}


def plot(measured: Sequence[Measured]) -> Figure:
    """The figure of all maps; layers without one, for they are dead, have no place."""
    fields = {(index, field.layer): field for index, found in enumerate(measured) for field in found.fields}
    rows = {
        row: {label: fields[place] for label, place in labelled.items() if place in fields}
        for row, labelled in places([found.case for found in measured]).items()
    }
    return visualization.plot_models({row: labelled for row, labelled in rows.items() if labelled})
