"""What the table does not say by itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..measurement.loop import relative_error
from ..result import report
from ..result.statistics import Row
from .layers import is_even
from .measure import Measured
from .plan import Settings
from .terminal import in_options, wrapped

TABLE_WORDS = (
    "TRF: theoretical receptive field, outside: its share outside the input; ERF: side of the smallest box that holds "
    "this share of the map; sigma, R²: Gaussian fit. Lengths in pixels"
)


def notes(
    options: argparse.Namespace, settings: Settings, measured: Sequence[Measured], summaries: Sequence[Row]
) -> str:
    """What the table does not say by itself."""
    fields = [field for found in measured for field in found.fields]
    unit = fields[0].position if len(fields) == 1 else settings.keywords["positions"][0]
    pixels = f" of {options.spacing}" if options.spacing else ""
    paragraphs = [
        f"{TABLE_WORDS}{pixels}.",
        _error_words(measured),
        f"Unit: {unit}, {report.channel_words(fields[0].recipe)}.",
    ]
    if options.spacing:
        paragraphs.append(
            "z, y, x: ends of the shortest interval with that share of the map, from the unit's own cell."
        )
    if len(measured) > 1:
        paragraphs.append("Δ: difference from the first row, or the same layer's first row, image by image.")
        if len({field.num_samples for field in fields}) > 1:
            paragraphs.append(
                "Δ is left out where a network stopped after another number of samples (--target-error); --min-samples "
                "at the largest of these gives all the same."
            )
    several = len(measured) > 1
    left = iter(summaries)
    for found in measured:
        whose = f"{found.case.wanted.short}: " if several else ""
        layers = {field.layer: report.notes(field, next(left)) for field in found.fields}
        lines = [*_notes_of(options, settings, found), *(f"{name}: {note}" for name in layers for note in layers[name])]
        paragraphs += [f"{whose}{line}" for line in lines]
    return "\n".join(wrapped(in_options(paragraph)) for paragraph in dict.fromkeys(paragraphs))


def _error_words(measured: Sequence[Measured]) -> str:
    words = [report.error_words(measured[0].fields[0])]
    if any(found.case.weights is None for found in measured):
        words.append("What another draw of random weights would change is not in them.")
    return " ".join(words)


def _notes_of(options: argparse.Namespace, settings: Settings, found: Measured) -> list[str]:
    case, fields = found.case, found.fields
    lines = [f"Layout: {case.reading.words}; --layout sets it."] if case.reading.words else []
    lines += [
        f"{field.layer}: {field.num_dead} of {field.num_samples} samples have no gradient at all."
        for field in fields
        if field.num_dead
    ]
    even = [name for name in case.layers if is_even(case.found.model, case.outputs, case.reading.layout, name)]
    if even and settings.keywords["channel"] is None:
        lines.append(
            f"{', '.join(even)}: a layer norm makes the sum over channels nearly constant, so that this map is "
            "mostly noise; take the layer before it, or --channel random."
        )
    if options.target_error is not None:
        error = max(relative_error(field) for field in fields)
        verdict = "reached" if error <= options.target_error else "not reached"
        samples = f"{fields[0].num_samples} of {len(found.samples)} samples"
        lines.append(f"Target error {options.target_error:g} {verdict}: {error:.2g} after {samples}.")
    return lines
