"""The figure of a run, and where it shows what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from matplotlib.figure import Figure

from .. import visualization
from .measure import Measured
from .plan import Case, by_model


def places(cases: Sequence[Case]) -> dict[str, dict[str, tuple[Case, str]]]:
    """Where the figure shows what: weights down, and in each row by its label a case and its layer.

    Networks stand across, and their layers where there are several.
    """
    models = by_model(cases)
    several = len(models) > 1
    rows = {}
    for row in zip_longest(*models):
        labelled = {}
        for case in filter(None, row):
            for layer in case.layers:
                shown = layer if len(case.layers) > 1 or case.wanted.layers or not several else ""
                labelled[" ".join(filter(None, [case.wanted.short if several else "", shown]))] = case, layer
        rows[" / ".join(dict.fromkeys(case.label for case in filter(None, row)))] = labelled
    return rows


def plot(measured: Sequence[Measured]) -> Figure:
    """The figure of all maps; layers without one, for they are dead, have no place."""
    if len(measured) == 1:
        return visualization.plot_layers(measured[0].fields)
    fields = {(found.case, field.layer): field for found in measured for field in found.fields}
    rows = {
        row: {label: fields[case, layer] for label, (case, layer) in its.items() if (case, layer) in fields}
        for row, its in places([found.case for found in measured]).items()
    }
    return visualization.plot_models({row: labelled for row, labelled in rows.items() if labelled})
