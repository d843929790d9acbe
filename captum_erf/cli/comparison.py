"""The files of a run and its figure: what each is called, and where the figure shows what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from matplotlib.figure import Figure

from .. import visualization
from . import files
from .measure import Measured
from .plan import Case, by_model


def folder_name(cases: Sequence[Case]) -> str:
    """The default folder's: the networks, and the weights that tell the run from others."""
    several = len(cases) > 1
    networks = ["-".join([w.short if several else w.name, *w.layers]) for w in (case.wanted for case in cases)]
    weights = [case.label for case in cases if several or case.weights is not None]
    return files.folder_name([*dict.fromkeys(networks), *dict.fromkeys(weights)])


def file_names(measured: Sequence[Measured]) -> list[str]:
    """``layer4``, or of several networks ``resnet18-random``, with the layer where there are several."""
    labels = []
    for found in measured:
        alone = len(found.fields) == 1 and not found.case.wanted.layers
        for field in found.fields:
            of_several = found.case.stem if alone else f"{found.case.stem}-{field.layer}"
            labels.append(field.layer if len(measured) == 1 else of_several)
    return files.file_names(labels)


def picture_name(count: int) -> str:
    """The file of the figure of so many cases, without its ending."""
    return "models" if count > 1 else "erf"


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
