"""Figures: a map with its theoretical field, all layers of a network side by side, and the course of an error.

Figures are made through matplotlib's objects, so that nothing stays behind in pyplot's state: name one at the end of a
notebook cell to see it, or save it with ``figure.savefig("erf.png")``. Captum's ``visualize_image_attr`` draws what
``attribute`` gives; it cuts off the highest values, so that maps, whose peak is the point, do without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import PercentFormatter

from ..result.mean_map import MeanMap as ERFMap
from ..result.report import channel_words, magnitude_words
from ..text import number as with_error
from ..text import times
from .panels import (
    DARK,
    INK,
    PLANES,
    SCALES,
    SHARES,
    Curve,
    Plane,
    center_words,
    check_scale,
    colours,
    draw_line,
    draw_plane,
    fit_words,
    fitted,
    is_signed,
    marks,
    nearest,
    sequence,
    sizes,
    trf_words,
    zoom,
)

DETAILED = 12  # maps of a figure up to which each gets its marks
SIDE = "side of the box around the unit centre [px]"
NOTE: dict[str, Any] = {"fontsize": "small", "color": "0.35"}


def plot(field: ERFMap, *, scale: str = "power") -> Figure:
    r"""
    One map with its theoretical field, unit centre and fitted Gaussian, beside the share of its mass in a growing box.

    A map with one axis is drawn as a line, one with three axes as the three slices through the unit centre. The band
    around a line is one standard error over samples to both sides.

    Args:
        field (ERFMap): The map.
        scale (str): Colour scale: ``"power"`` (square root), ``"log"`` (down to 1e-4 of the maximum) or ``"linear"``.

    Returns:
        *matplotlib.figure.Figure*

    Raises:
        ValueError: There is no such scale.

    Examples::

        >>> import torch
        >>> from captum_erf import EffectiveReceptiveField
        >>> erf = EffectiveReceptiveField(torch.nn.Conv2d(3, 8, 5), layer="")
        >>> figure = plot(erf.aggregate([torch.randn(4, 3, 16, 16)]))
        >>> figure.axes[1].get_xlabel()
        'side of the box around the unit centre [px]'
    """
    check_scale(scale)
    fit = fitted(field)
    planes = PLANES.get(field.values.ndim, ())
    solid = len(planes) == 3
    figure = Figure(figsize=(11, 9.5 if solid else 5.8), dpi=150, layout="constrained")
    figure.suptitle(f"Effective receptive field of {_label(field)}", fontsize="x-large")
    figure.supxlabel(_caption([field]), **NOTE)
    inner: Any = figure.subfigures(1, 1)
    *cells, last = inner.subplots(2 if solid else 1, 2).flat
    if planes:
        for axes, plane in zip(cells, planes, strict=True):
            draw_plane(axes, field, plane, fit, scale)
            zoom(axes, field, plane)
            _name_axes(axes, field, plane)
        _add_colour_bar(inner, cells, [field], scale)
        words = None if fit is None else f"1 and 2 sigma of the {fit_words(fit)}"
        handles = marks(trf_words(field), center_words(field), words)
        inner.legend(handles=handles, ncols=3, loc="outside lower center", fontsize="small", **DARK)
    else:
        draw_line(cells[0], field, fit, scale)
        cells[0].set(xlabel="position in the input [px]", ylabel=f"{_quantity([field])} over its maximum")
        inner.legend(
            handles=cells[0].get_legend_handles_labels()[0], ncols=3, loc="outside lower center", fontsize="small"
        )
    _draw_mass(last, field)
    return figure


def plot_layers(fields: Sequence[ERFMap], *, scale: str = "power") -> Figure:
    r"""
    Maps of several layers or units side by side over one shared colour scale, and the share of their mass below.

    Every map is drawn over its own maximum. More than twelve become small ones without axes.

    Args:
        fields (Sequence[ERFMap]): The maps, such as ``sweep`` returns. Of maps with three axes the slice through the
            unit centre along the last two is drawn.
        scale (str): Colour scale, as in :func:`plot`.

    Returns:
        *matplotlib.figure.Figure*

    Raises:
        ValueError: There is no such scale, or no map.

    Examples::

        >>> import torch
        >>> from captum_erf import EffectiveReceptiveField
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.Conv2d(8, 8, 5))
        >>> fields = EffectiveReceptiveField(model, ["0", "1"]).sweep([torch.randn(4, 3, 16, 16)])
        >>> [axes.get_title() for axes in plot_layers(fields).axes[:2]]
        ['0', '1']
    """
    check_scale(scale)
    if not fields:
        raise ValueError("There is no map to draw; pass the list that sweep returned.")
    columns = min(len(fields), 6 if len(fields) <= DETAILED else 10)
    rows = math.ceil(len(fields) / columns)
    width = min(3.4, 12.5 / columns)
    height = max(field.values.shape[-2] / field.values.shape[-1] if field.values.ndim > 1 else 1 for field in fields)
    above = max(3.0, rows * (width * height + (0.6 if len(fields) <= DETAILED else 0.2)) + 0.5)
    figure = Figure(figsize=(max(10, columns * width + 1.5), above + 4.8), dpi=150, layout="constrained")
    figure.suptitle("Effective receptive fields", fontsize="x-large")
    figure.supxlabel(_caption(fields), **NOTE)
    parts: Any = figure.subfigures(2, 1, height_ratios=(above, 4.0))
    _draw_maps(parts[0], fields, rows, columns, scale)
    _draw_masses(parts[1].subplots(), fields)
    return figure


def convergence(fields: Sequence[ERFMap]) -> Figure:
    r"""
    Radius that holds half of the mass against the number of samples: are 50 images enough?

    The radius is interpolated between the distances that occur, so that the course is not in steps of a pixel.

    Args:
        fields (Sequence[ERFMap]): Maps of one or more units after growing numbers of samples.

    Returns:
        *matplotlib.figure.Figure*: a line for each unit with one standard error to both sides, and a band of one
        standard error around the last value.

    Raises:
        ValueError: There is no map, or one with negative values.

    Examples::

        >>> import torch
        >>> from captum_erf import EffectiveReceptiveField
        >>> accumulator = EffectiveReceptiveField(torch.nn.Conv2d(3, 8, 9), layer="").accumulator()
        >>> snapshots = []
        >>> for batch in torch.randn(4, 16, 3, 24, 24):
        ...     accumulator.update(batch)
        ...     snapshots += accumulator.compute()
        >>> convergence(snapshots).axes[0].get_xlabel()
        'number of samples'
    """
    fields = list(fields)
    if not fields:
        raise ValueError("There is no map to draw; pass the maps that compute() gave after some of the batches.")
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    units: dict[str, list[ERFMap]] = {}
    for field in sorted(fields, key=lambda field: field.num_samples):
        units.setdefault(_label(field), []).append(field)
    for (label, snapshots), colour in zip(units.items(), sequence(len(units)), strict=True):
        _draw_course(axes, snapshots, label, colour)
    counts = [field.num_samples for field in fields]
    if max(counts) > 10 * min(counts):
        axes.set_xscale("log")
    axes.set(xlabel="number of samples", ylabel="radius that holds half of the mass [px]")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.25)
    figure.suptitle("Effective receptive field against the number of samples", fontsize="x-large")
    figure.supxlabel("Bars and bands: one standard error, by jackknife over groups of samples.", **NOTE)
    return figure


def _draw_course(axes: Axes, snapshots: Sequence[ERFMap], label: str, colour: Any) -> None:
    estimates = [field.estimate(_half_radius) for field in snapshots]
    counts = [field.num_samples for field in snapshots]
    values, errors = np.array(estimates, dtype=np.float64).T
    last, error = estimates[-1]
    assert last is not None
    share = f" ({100 * error / last:.1f} %)" if error is not None and last else ""
    words = f"{label}: {with_error(last, error, 2)} px{share}"
    style: dict[str, Any] = {"marker": "o", "ms": 4, "capsize": 3, "color": colour, "label": words}
    axes.errorbar(counts, values, errors, **style)
    if error is not None:
        axes.axhspan(last - error, last + error, color=colour, alpha=0.15, lw=0)


def _half_radius(field: ERFMap) -> float:
    mass = field.radius_mass()
    return float(np.interp(0.5, mass.mass, mass.radii))


def _draw_maps(figure: SubFigure, fields: Sequence[ERFMap], rows: int, columns: int, scale: str) -> None:
    detailed = len(fields) <= DETAILED
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    alike = len({field.values.shape for field in fields}) == 1
    for number, (axes, field, label) in enumerate(zip(cells, fields, _short_labels(fields), strict=False)):
        planes = PLANES.get(field.values.ndim)
        if planes is None:
            draw_line(axes, field, fitted(field), scale)
        else:
            draw_plane(axes, field, planes[0], fitted(field), scale, 1.4 if detailed else 0.8)
        axes.set_title(_shortened(label, 24 if detailed else 20), fontsize="medium" if detailed else 7)
        axes.tick_params(labelsize="small", labelleft=not alike or number % columns == 0)
        if detailed:
            axes.set_xlabel(
                trf_words(field).replace("theoretical field", "TRF").replace(" of it", "").replace(" the input", ""),
                fontsize=8,
            )
        else:
            axes.set(xticks=[], yticks=[])
    for axes in cells[len(fields) :]:
        axes.set_axis_off()
    if any(field.values.ndim > 1 for field in fields):
        _add_colour_bar(figure, cells, fields, scale)
        handles = marks(
            "theoretical field, where it ends inside the input", "unit centre", "1 and 2 sigma of the Gaussian fit"
        )
        figure.legend(handles=handles, ncols=3, loc="outside lower center", fontsize="small", **DARK)


def _draw_masses(axes: Axes, fields: Sequence[ERFMap]) -> None:
    labels, palette = _labels(fields), sequence(len(fields))
    end = 1.0
    for field, label, colour in zip(fields, labels, palette, strict=True):
        curve = Curve.of(field)
        if curve is not None:
            curve.draw(axes, colour, f"{label}: {curve.words(0.5)}")
            end = max(end, curve.end)
    _name_mass(axes, end)
    if len(fields) <= DETAILED:
        if axes.lines:
            axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return
    short = _short_labels(fields)
    bar = ScalarMappable(Normalize(0.5, len(fields) + 0.5), ListedColormap(palette))
    shown = axes.figure.colorbar(bar, ax=axes, ticks=[1, len(fields)], label="maps in the order above")
    shown.ax.set_yticklabels([_shortened(label, 24) for label in (short[0], short[-1])])


def _draw_mass(axes: Axes, field: ERFMap) -> None:
    curve = Curve.of(field)
    if curve is None:
        axes.set(xticks=[], yticks=[], xlabel=" ")
        axes.spines[:].set_visible(False)
        axes.text(0.5, 0.5, "A map with negative values\nhas no shares of its mass.", ha="center", va="center")
        return
    curve.draw(axes, INK)
    for share, marker in zip(SHARES, "osD", strict=True):
        side, _ = curve.diameters[share]
        axes.plot([0, side, side], [share, share, 0], color="0.55", lw=0.8, ls=":")
        axes.plot(side, curve.mass_at(side), marker, color=INK, label=curve.words(share))
    end = curve.end
    trf = field.theoretical
    if trf is not None and trf.is_known and max(trf.size) <= curve.sides[-1]:
        axes.axvline(max(trf.size), color="#d1495b", ls="--", label=f"theoretical field, {max(trf.size)} px")
        end = max(end, max(trf.size))
    _name_mass(axes, end)
    axes.legend(loc="lower right", fontsize="small")


def _name_mass(axes: Axes, end: float) -> None:
    axes.set(xlabel=SIDE, ylabel="share of the map's sum inside", xlim=(0, 1.1 * end), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.25)


def _name_axes(axes: Axes, field: ERFMap, plane: Plane) -> None:
    names = "zyx"[-field.values.ndim :]
    across = [axis for axis in range(len(names)) if axis not in plane]
    axes.set(xlabel=f"{names[plane[1]]} [px]", ylabel=f"{names[plane[0]]} [px]")
    if across:
        axes.set_title(f"slice at {names[across[0]]} = {nearest(field, across[0])}", fontsize="medium")


def _add_colour_bar(figure: Figure | SubFigure, cells: list[Axes], fields: Sequence[ERFMap], scale: str) -> None:
    norm, palette = colours(is_signed(fields), scale)
    label = f"share of the map's maximum,\n{SCALES[scale]}"
    bar = figure.colorbar(ScalarMappable(norm, palette), ax=cells, shrink=0.9, fraction=0.05, pad=0.02)
    bar.set_label(label, fontsize="small")
    bar.ax.tick_params(labelsize="small")


def _quantity(fields: Sequence[ERFMap]) -> str:
    return magnitude_words(fields[0].recipe)


def _caption(fields: Sequence[ERFMap]) -> str:
    samples = " and ".join(dict.fromkeys(str(field.num_samples) for field in fields))
    what = f"{_quantity(fields)} over {samples} samples of {sizes(fields)}; {channel_words(fields[0].recipe)}."
    banded = not is_signed(fields) and any(len(field.groups.counts) > 1 for field in fields)
    error = " Bands: one standard error over samples." if banded else ""
    slices = " Slices through the unit centre." if any(field.values.ndim == 3 for field in fields) else ""
    return f"{what[0].upper()}{what[1:]}{slices}{error}"


def _label(field: ERFMap) -> str:
    layer = field.layer or "the network"
    return layer if field.position is None else f"{layer}, unit {field.position} of {times(field.grid or ())}"


def _labels(fields: Sequence[ERFMap]) -> list[str]:
    """Names of the layers, with the unit where a layer occurs more than once."""
    layers = [field.layer for field in fields]
    return [f"{f.layer} {f.position}" if layers.count(f.layer) > 1 else f.layer or "the network" for f in fields]


def _short_labels(fields: Sequence[ERFMap]) -> list[str]:
    """The labels without the pieces at their ends that all have in common."""
    pieces = [label.split(".") for label in _labels(fields)]
    while min(map(len, pieces)) > 1 and len(pieces) > 1 and len({label[-1] for label in pieces}) == 1:
        pieces = [label[:-1] for label in pieces]
    return [".".join(label) for label in pieces]


def _shortened(label: str, length: int) -> str:
    return label if len(label) <= length else f"…{label[1 - length :]}"
