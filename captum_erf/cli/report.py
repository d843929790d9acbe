"""What the command prints of a run: the table, lengths in the unit of ``--spacing``, and notes on both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..erfmap import ERFMap
from ..measurement.loop import relative_error
from ..result import report
from ..result.statistics import STATISTICS, Row, Statistic
from ..spacing import Spacing
from ..text import columns, interval, number
from .layers import is_even
from .measure import Measured
from .plan import Settings
from .terminal import fitted, in_options, wrapped

COMPARED = [statistic for statistic in STATISTICS if statistic.key in ("diameter_50", "diameter_90")]
SHARES = (50, 90)  # percent of the map, of which lengths are given
AXES = ("z", "y", "x")
TABLE_WORDS = (
    "TRF: theoretical receptive field, outside: its share outside the input; ERF: side of the smallest box that holds "
    "this share of the map; sigma, R²: Gaussian fit. Lengths in pixels"
)


def tables(settings: Settings, measured: Sequence[Measured], rows: Sequence[Row]) -> Iterator[str]:
    """The tables, and beneath them the notes; ``rows`` are the summaries of all maps."""
    fields = [field for found in measured for field in found.fields]
    labels = _labels(measured)
    yield fitted(report.table(fields, rows, labels, _differences(measured)))
    if settings.options.spacing:
        yield fitted(_lengths(rows, labels, settings.options.spacing))
    paragraphs = dict.fromkeys(_notes(settings, measured, rows))
    yield "\n".join(wrapped(in_options(paragraph)) for paragraph in paragraphs)


def _labels(measured: Sequence[Measured]) -> list[list[str]]:
    """The first columns of the table, of several networks."""
    cases = [found.case for found in measured for _ in found.fields]
    columns = [["model", *(case.wanted.short for case in cases)], ["weights", *(case.label for case in cases)]]
    return [list(row) for row in zip(*(column for column in columns if len(set(column[1:])) > 1), strict=True)]


def _differences(measured: Sequence[Measured]) -> list[list[str]]:
    """The last columns of the table: paired differences to the first row, or to the layer with the first weights."""
    if len(measured) == 1:
        return []
    lines = [[f"Δ {statistic.key.removeprefix('diameter_')} %" for statistic in COMPARED]]
    for found in measured:
        first = next(other for other in measured if other.case.wanted == found.case.wanted)
        for field in found.fields:
            same = [other for other in first.fields if other.layer == field.layer and first is not found]
            other = same[0] if same else measured[0].fields[0]
            lines.append([_difference(field, other, statistic) for statistic in COMPARED])
    return lines


def _difference(field: ERFMap, other: ERFMap, statistic: Statistic) -> str:
    try:
        return "-" if field is other else number(*field.difference(other, statistic.formula))
    except ValueError:
        return "-"


def _lengths(rows: Sequence[Row], labels: Sequence[Sequence[str]], spacing: Spacing) -> str:
    """
    A table of extents, a line for each map: how far a unit sees along every axis, before and behind its own cell; where
    pixels are as long along every axis, of the sides of boxes as well.
    """
    before = labels or [[]] * (len(rows) + 1)
    names = AXES[-max(len(row["input_size"]) for row in rows) :]
    even, unit = len(set(spacing.lengths)) == 1, spacing.unit or 1
    sides = [f"ERF {share} % [{unit}]" for share in SHARES if even]
    lines = [[*before[0], "layer", *sides, *(f"{share} % {name} [{unit}]" for share in SHARES for name in names)]]
    for label, row in zip(before[1:], rows, strict=True):
        lengths = spacing.along(len(row["input_size"]))
        cells = [_side(row, f"diameter_{share}", lengths[0]) for share in SHARES if even]
        cells += [cell for share in SHARES for cell in _extents(row, f"extent_{share}", lengths)]
        lines.append([*label, row["layer"] or "the network", *cells])
    return columns(lines, left=1 + len(before[0]))


def _side(row: Row, key: str, length: float) -> str:
    value, error = row[key], row[f"{key}_se"]
    return "-" if value is None else number(value * length, None if error is None else error * length, 3)


def _extents(row: Row, key: str, lengths: Sequence[float]) -> list[str]:
    extents, errors = row[key], row[f"{key}_se"]
    if extents is None:
        return ["-"] * len(lengths)
    return [
        interval([end * length for end in ends], None if error is None else error * length, digits=3)
        for ends, error, length in zip(extents, errors or [None] * len(lengths), lengths, strict=True)
    ]


def _notes(settings: Settings, measured: Sequence[Measured], rows: Sequence[Row]) -> Iterator[str]:
    """What the tables do not say by themselves."""
    options = settings.options
    fields = [field for found in measured for field in found.fields]
    unit = fields[0].position if len(fields) == 1 else settings.keywords["positions"][0]
    yield TABLE_WORDS + (f" of {options.spacing}." if options.spacing else ".")
    random = any(found.case.weights is None for found in measured)
    draws = " What another draw of random weights would change is not in them." if random else ""
    yield report.error_words(fields[0]) + draws
    yield f"Unit: {unit}, {report.channel_words(fields[0].recipe)}."
    if options.spacing:
        yield "z, y, x: ends of the shortest interval with that share of the map, from the unit's own cell."
    if len(measured) > 1:
        yield "Δ: difference from the first row, or the same layer's first row, image by image."
        if len({field.num_samples for field in fields}) > 1:
            yield (
                "Δ is left out where a network stopped after another number of samples (--target-error); --min-samples "
                "at the largest of these gives all the same."
            )
    left = iter(rows)
    for found in measured:
        whose = f"{found.case.wanted.short}: " if len(measured) > 1 else ""
        of_layers = [f"{field.layer}: {note}" for field in found.fields for note in report.notes(field, next(left))]
        yield from (f"{whose}{note}" for note in [*_notes_of(settings, found), *of_layers])


def _notes_of(settings: Settings, found: Measured) -> Iterator[str]:
    """What is to be said of one network."""
    case, fields, target = found.case, found.fields, settings.options.target_error
    if case.reading.words:
        yield f"Layout: {case.reading.words}; --layout sets it."
    for field in fields:
        if field.num_dead:
            yield f"{field.layer}: {field.num_dead} of {field.num_samples} samples have no gradient at all."
    even = [name for name in case.layers if is_even(case.outputs, case.reading.layout, name)]
    if even and settings.keywords["channel"] is None:
        yield (
            f"{', '.join(even)}: a layer norm makes the sum over channels nearly constant, so that this map is "
            "mostly noise; take the layer before it, or --channel random."
        )
    if target is not None:
        error = max(relative_error(field) for field in fields)
        verdict = "reached" if error <= target else "not reached"
        samples = f"{fields[0].num_samples} of {len(found.samples)} samples"
        yield f"Target error {target:g} {verdict}: {error:.2g} after {samples}."
