"""What a person reads of a result: a report of one map, a table of many, and notes on what misleads in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import summaries
from ..text import box_size, columns, counted, line, merged, number, place, times
from .mean_map import MeanMap
from .statistics import ANGLE, LEAST_R2, R2, RATIO, SIGMA, STATISTICS, Row, Statistic

MAGNITUDE_WORDS = {
    "abs": "mean |dy/dx|",
    "square": "mean (dy/dx)²",
    "positive": "mean of positive dy/dx",
    "signed": "mean dy/dx",
}
CENTER_WORDS = {
    "theoretical": "onto which the unit projects",
    "measured": "measured: the middle of the box that holds half of the map",
    "mixed": "measured where the theoretical field does not tell it",
    "input": "the middle of the input",
}
ONE_PHOTOGRAPH = "They say how the numbers vary between its crops, not between photographs."
BEYOND_GAUSSIAN = 8  # sigmas that the box of 90 % of a Gaussian is far from
EVEN = 0.9  # of an even map's box of 50 %, from which on the place of a box says little
LEAST_CELLS = 4  # strides in a theoretical field from which on one cell is little of it


def text(field: MeanMap, row: Row) -> str:
    """A readable report of a map with that summary."""
    lines = [_title(field), _samples(field), "", *_geometry(field), ""]
    for statistic in STATISTICS:
        if statistic.label:
            lines.append(line(statistic.label, _number(statistic, field, row)))
        if statistic is R2 and (shapes := _shapes(field)):
            lines.append(line("shape", shapes))
    return "\n".join([*lines, "", *(f"  {note}" for note in [error_words(field), *notes(field, row)])])


def _number(statistic: Statistic, field: MeanMap, row: Row) -> str:
    words = f"{statistic.words(row)}{statistic.unit}"
    if statistic is SIGMA and row[SIGMA.key] is None:
        return "none" if row[R2.key] is None else "none that fits"
    if statistic is SIGMA and row[ANGLE.key] is not None:
        sigmas = number(field.gaussian_fit().sigmas.tolist())
        return f"{words} ({sigmas} px at {ANGLE.words(row, error=False)}{ANGLE.unit})"
    if statistic is RATIO and (inside := _side_inside(field)) is not None:
        return f"{words}; {row['diameter_95'] / inside:.2f} of the {inside} px of the TRF that lie inside the input"
    return words


def _side_inside(field: MeanMap) -> int | None:
    """The longest side of the part of the theoretical field that lies inside the input, where that is not all of it."""
    trf = field.theoretical
    if trf is None or not trf.is_known or not trf.outside:
        return None
    axes = zip(trf.lower, trf.upper, field.groups.size, strict=True)
    inside = max(min(upper, length) - max(lower, 0) for lower, upper, length in axes)
    return inside if inside > 0 else None


def _shapes(field: MeanMap) -> str:
    try:
        return summaries.describe_shapes(field.compare_shapes())
    except summaries.UndefinedStatistic:
        return ""


def error_words(field: MeanMap) -> str:
    """Over what the standard errors run, and how wide an interval is."""
    groups = sum(field.groups.counts > 0)
    if groups < 2:
        return "No standard errors: all samples are in one group."
    from scipy.special import stdtrit

    over = independent_words(field.recipe, field.num_samples)
    words = (
        f"± one standard error over {over}, in {groups} groups; a 95 % interval is {stdtrit(groups - 1, 0.975):.2f} of "
        "them to both sides."
    )
    return f"{words} {ONE_PHOTOGRAPH}" if over.endswith(" of 1 photograph") else words


def independent_words(recipe: dict[str, Any], samples: int) -> str:
    """What is taken as independent: samples, or the images that ``get_groups`` has named."""
    images, over = recipe.get("num_images"), counted(samples, "sample")
    return str(recipe.get("error_over", over)) if images is None else f"{counted(images, 'image')} ({over})"


def notes(field: MeanMap, row: Row) -> list[str]:
    """What misleads in the numbers of this map."""
    trf, found = field.theoretical, []
    if row[SIGMA.key] is None and row[R2.key] is not None:
        reason = f"R² {R2.words(row)}" if row[R2.key] < LEAST_R2 else "its error exceeds it"
        found.append(f"No Gaussian describes this map ({reason}), so that it has no sigma.")
    if row["diameter_90"] is None:
        return found
    effective, groups = row["effective_samples"], sum(field.groups.counts > 0)
    if effective is not None and effective < min(field.num_samples / 2, 2 * groups):
        found.append(
            f"Few samples carry this mean: {field.num_samples} count as {effective:.0f} alike, and intervals hold the "
            "true value a little less often than they say. Take more, or normalize=True, by which all weigh the same."
        )
    even = max(field.groups.size) * 0.5 ** (1 / len(field.groups.size))
    if field.center_source != "theoretical" and row["diameter_50"] > EVEN * even:
        found.append("The map is nearly even over the whole input, so that its measured centre says little.")
    if trf is None:
        return found
    cell = max(trf.stride)
    if trf.is_known and row["diameter_90"] <= cell and max(trf.size) >= LEAST_CELLS * cell:
        found.append(
            f"90 % of the map lies in one cell of {cell:g} px, far within the theoretical field: that is the map of a "
            "shortcut. Blocks that add nothing to it, such as those whose last norm starts at zero, do not show."
        )
    sigma = row[SIGMA.key]
    if trf.is_global and sigma is not None and sigma < cell and row["diameter_90"] > BEYOND_GAUSSIAN * sigma:
        found.append(
            f"The Gaussian fits the unit's own patch of {cell:g} px; what the unit sees of the rest of the input is "
            "in its background."
        )
    return found


def _title(field: MeanMap) -> str:
    unit = "" if field.position is None else f", unit {field.position} of {times(field.grid or ())}"
    return f"Effective receptive field of layer {field.layer!r}{unit}"


def _samples(field: MeanMap) -> str:
    left_out = f", {field.num_nonfinite} not finite and left out" if field.num_nonfinite else ""
    return (
        f"  {magnitude_words(field.recipe)} over {counted(field.num_samples, 'sample')} of {times(field.groups.size)} "
        f"({field.num_dead} dead{left_out}); {channel_words(field.recipe)}"
    )


def magnitude_words(recipe: dict[str, Any]) -> str:
    """What the map is a mean of."""
    magnitude = recipe.get("magnitude", "abs")
    words = MAGNITUDE_WORDS.get(magnitude, f"magnitude {magnitude}")
    return f"{words}, each sample over its own sum," if recipe.get("normalize") else words


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
    source = CENTER_WORDS.get(field.center_source, "the middle of the unit's grid cell")
    center = line("unit centre", f"{place(field.center, '.4g')}, {source}")
    if trf is None:
        return [center]
    if trf.is_estimated:
        size = f"{box_size(trf)}{'' if trf.is_global else ' px'}, estimated from the gradients that were seen"
    elif trf.is_global:
        size = "global: every input position can influence the unit"
    elif trf.is_clipped:
        size = f"{box_size(trf)} px; it goes on beyond the input, where its end was not found"
    else:
        size = f"{box_size(trf)} px, {100 * (trf.outside or 0):.1f} % of it outside the input"
    return [line("theoretical field", size), line("stride", f"{times(trf.stride)} px"), center]


def table(
    fields: Sequence[MeanMap],
    rows: Sequence[Row],
    labels: Sequence[Sequence[str]] = (),
    further: Sequence[Sequence[str]] = (),
) -> str:
    """
    One line for each map, lengths in input pixels, with standard errors.

    Args:
        fields (sequence of MeanMap), rows (sequence of dict): The maps and their summaries.
        labels (sequence), further (sequence): Headings of further columns in front and at the end, and then for each
            map what stands in them.
    """
    before, after = (part or [[]] * (len(fields) + 1) for part in (labels, further))
    lines = zip(before, table_cells(fields, rows), after, strict=True)
    return columns([[*label, *cells, *end] for label, cells, end in lines], left=1 + len(before[0]))


def table_cells(fields: Sequence[MeanMap], rows: Sequence[Row]) -> list[list[str]]:
    """The headings of the table, and the cells of each of its lines."""
    shown = [statistic for statistic in STATISTICS if statistic.heading]
    lines = [["layer", "grid", "stride", "TRF", *[statistic.heading for statistic in shown], "outside"]]
    for field, row in zip(fields, rows, strict=True):
        numbers = [statistic.words(row, error=statistic.heading_error) for statistic in shown]
        cells = [*_place(field), *numbers, _outside(field)]
        lines.append([field.layer or "the network", *["-" if cell == "none" else cell for cell in cells]])
    return lines


def _place(field: MeanMap) -> list[str]:
    trf = field.theoretical
    return ["-"] * 3 if trf is None else [times(trf.grid), merged(trf.stride), box_size(trf, short=True)]


def _outside(field: MeanMap) -> str:
    trf = field.theoretical
    return "-" if trf is None or trf.outside is None or trf.is_global else f"{100 * trf.outside:.1f} %"
