"""What a person reads of a result: a report of one map, and a table of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import summaries
from ..text import box_size, columns, line, merged, place, times
from .mean_map import MeanMap
from .statistics import ANGLE, SIGMA, STATISTICS, Row, Statistic

MAGNITUDE_WORDS = {
    "abs": "mean |dy/dx|",
    "square": "mean (dy/dx)²",
    "positive": "mean of positive dy/dx",
    "signed": "mean dy/dx",
}


def text(field: MeanMap, row: Row) -> str:
    """A readable report of a map with that summary."""
    numbers = [_number(statistic, row) for statistic in STATISTICS if statistic.label]
    numbers.insert(3, numbers.pop())  # ERF / TRF stands with the boxes
    shapes = [line("shape", words)] if (words := _shapes(field)) else []
    return "\n".join([_title(field), _samples(field), "", *_geometry(field), "", *numbers[:6], *shapes, *numbers[6:]])


def _number(statistic: Statistic, row: Row) -> str:
    angle = row[ANGLE.key] if statistic is SIGMA else None
    turned = "" if angle is None else f" at {ANGLE.words(row, error=False)}{ANGLE.unit}"
    return line(statistic.label, f"{statistic.words(row)}{statistic.unit}{turned}")


def _shapes(field: MeanMap) -> str:
    try:
        return summaries.describe_shapes(field.compare_shapes())
    except summaries.UndefinedStatistic:
        return ""


def _title(field: MeanMap) -> str:
    unit = "" if field.position is None else f", unit {field.position} of {times(field.grid or ())}"
    return f"Effective receptive field of layer {field.layer!r}{unit}"


def _samples(field: MeanMap) -> str:
    left_out = f", {field.num_nonfinite} not finite and left out" if field.num_nonfinite else ""
    samples = f"{field.num_samples} sample" + "s" * (field.num_samples != 1)
    return (
        f"  {magnitude_words(field.recipe)} over {samples} of {times(field.groups.size)} ({field.num_dead} dead"
        f"{left_out}); {channel_words(field.recipe)}"
    )


def magnitude_words(recipe: dict[str, Any]) -> str:
    """What the map is a mean of."""
    magnitude = recipe.get("magnitude", "abs")
    return MAGNITUDE_WORDS.get(magnitude, f"magnitude {magnitude}")


def channel_words(recipe: dict[str, Any]) -> str:
    """What the unit's scalar is."""
    if recipe.get("neuron_selector") is not None:
        return f"neuron_selector {recipe['neuron_selector']}"
    channel = recipe.get("channel")
    if channel is None:
        return "sum over all channels, so that channels of opposite sign cancel"
    return "all channels with random signs" if channel == "random" else f"channel {channel}"


def _geometry(field: MeanMap) -> list[str]:
    trf = field.theoretical
    source = {"theoretical": "theoretical field", "input": "input"}.get(field.center_source, "unit's grid cell")
    center = line("unit centre", f"{place(field.center)}, the middle of the {source}")
    if trf is None:
        return [center]
    if trf.is_estimated:
        size = f"{box_size(trf)}{'' if trf.is_global else ' px'}, estimated from the gradients that were seen"
    elif trf.is_global:
        size = "global: every input position can influence the unit"
    elif trf.is_clipped:
        size = f"{box_size(trf)} px; the network takes no other input size"
    else:
        size = f"{box_size(trf)} px, {100 * (trf.outside or 0):.1f} % of it outside the input"
    return [line("theoretical field", size), line("stride", f"{times(trf.stride)} px"), center]


def table(fields: Sequence[MeanMap], rows: Sequence[Row]) -> str:
    """One line for each map and its summary, lengths in input pixels, with standard errors."""
    shown = [statistic for statistic in STATISTICS if statistic.heading]
    lines = [["layer", "grid", "stride", "TRF", *[statistic.heading for statistic in shown], "outside"]]
    for field, row in zip(fields, rows, strict=True):
        numbers = [statistic.words(row, error=statistic.heading_error) for statistic in shown]
        cells = [*_place(field), *numbers, _outside(field)]
        lines.append([field.layer or "the network", *["-" if cell == "none" else cell for cell in cells]])
    return columns(lines)


def _place(field: MeanMap) -> list[str]:
    trf = field.theoretical
    return ["-"] * 3 if trf is None else [times(trf.grid), merged(trf.stride), box_size(trf, short=True)]


def _outside(field: MeanMap) -> str:
    trf = field.theoretical
    return "-" if trf is None or trf.outside is None or trf.is_global else f"{100 * trf.outside:.1f} %"
