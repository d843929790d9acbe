"""The figure of many maps: layers or units of a network side by side, and their mass curves beneath."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import FixedLocator

from ..result.mean_map import MeanMap
from .curves import Curve, has_errors, is_signed, name_mass
from .look import Look
from .marks import outline, shared_handles
from .one_map import BANDS, plot
from .panels import Panel, colour_bar
from .scales import sequence
from .sheet import Part, Sheet
from .windows import around_trf, longest_side, needs_inset
from .words import caption as made_caption
from .words import fitting, layer_names, title_of, trf_short

INSETS = "Insets: the box with 90 % of the map, enlarged."
HALF = "side of the box with 50 % of the map"
DETAILED = 12  # maps of a figure up to which each shows the whole input, its size and a curve with a name
COLUMNS = {(True, True): 3, (True, False): 6, (False, True): 5, (False, False): 8}  # detailed, narrow


def plot_layers(
    fields: Sequence[MeanMap],
    *,
    labels: Sequence[str] | None = None,
    scale: str | float = "power",
    cmap: Any = None,
    zoom: str | None = None,
    image: Any = None,
    title: str | None = None,
    caption: str | None = None,
    width: float | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    r"""
    Maps of several layers or units side by side, each over its own maximum, and the share of their mass below.

    Up to twelve maps show the whole input, with a small theoretical field enlarged in a corner. More become small
    ones, numbered, each around its own theoretical field, and a colour bar numbers their curves. A single map is drawn
    as by :func:`plot`.

    Args:
        fields (Sequence[ERFMap]): The maps, such as ``sweep`` returns. Of maps with three axes the slice through the
            unit centre along the last two is drawn.
        labels (Sequence[str], optional): A name for each map; None takes its layer's, with the unit where a layer
            occurs more than once. Names that are too long lose their middle.
        zoom (str, optional): ``"input"`` or ``"field"`` for all maps; None chooses by their number, as above.
        scale, cmap, image, title, caption, width, figure: As in :func:`plot`.

    Returns:
        *matplotlib.figure.Figure*

    Raises:
        ValueError: There is no map, not one label for each map, or an option is not one of those in :func:`plot`.

    Examples::

        >>> import torch
        >>> from captum_erf import EffectiveReceptiveField
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.Conv2d(8, 8, 5))
        >>> fields = EffectiveReceptiveField(model, ["0", "1"]).sweep([torch.randn(4, 3, 16, 16)])
        >>> [axes.get_title() for axes in plot_layers(fields, labels=["first", "second"]).axes[:2]]
        ['first', 'second']
    """
    fields = list(fields)
    if not fields:
        raise ValueError("There is no map to draw; pass the list that sweep returned.")
    if labels is not None and (isinstance(labels, str) or len(labels) != len(fields)):
        raise ValueError(f"labels must name each of the {len(fields)} maps, got {labels!r}.")
    detailed = len(fields) <= DETAILED
    zoom = zoom or ("input" if 1 < len(fields) <= DETAILED or image is not None else "field")
    if len(fields) == 1:
        title = title or (labels[0] if labels else None)
        return plot(
            fields[0], scale=scale, cmap=cmap, zoom=zoom, image=image, title=title, caption=caption, width=width,
            figure=figure,
        )  # fmt: skip
    look = Look.read(fields, scale, cmap, zoom, image)
    names = list(labels or layer_names(fields))
    title = title_of(fields) if title is None else title
    caption = _caption(fields, look, detailed) if caption is None else caption
    with Sheet(figure, width, title, caption) as sheet:
        above, beneath = sheet.split(2)
        _draw_maps(above, fields, names, look)
        _draw_masses(beneath, fields, names)
    return sheet.root


def _caption(fields: Sequence[MeanMap], look: Look, detailed: bool) -> str:
    planes = [field for field in fields if field.values.ndim > 1]
    scale = f", {look.scale.words}" if planes else ""
    small = detailed and any(needs_inset(field, look.window(field)) for field in fields)
    banded = not is_signed(fields) and any(map(has_errors, fields))
    return made_caption(
        fields,
        "Slices through the unit centre." if any(field.values.ndim == 3 for field in fields) else "",
        f"Each map over its own maximum{scale}.",
        "TRF: theoretical receptive field." if look.zoom == "input" else "Each around its theoretical field (TRF).",
        INSETS if small else "",
        BANDS if banded else "",
    )


def _draw_maps(part: Part, fields: Sequence[MeanMap], names: Sequence[str], look: Look) -> None:
    detailed, sheet = len(fields) <= DETAILED, part.sheet
    rows = math.ceil(len(fields) / COLUMNS[detailed, sheet.is_narrow])
    columns = math.ceil(len(fields) / rows)
    cells = part.cells(rows, columns)
    size = sheet.font if detailed else 0.72 * sheet.font
    titles = fitting(names, (sheet.width - 0.4) / columns - 0.04, size)
    panels = {axes: Panel(field, look, look.window(field)) for axes, field in zip(cells, fields, strict=False)}
    for number, ((axes, panel), name) in enumerate(zip(panels.items(), titles, strict=True), 1):
        panel.draw_small(axes, 1.0 if detailed else 0.7, inset=detailed)
        axes.set_title(name, fontsize=size)
        if not detailed:
            style: dict[str, Any] = {"color": "white", "fontsize": size, "path_effects": outline(1.0)}
            axes.text(0.04, 0.95, str(number), ha="left", va="top", transform=axes.transAxes, **style)
        trf = trf_short(panel.field).split(", ")
        axes.set_xlabel("\n".join(trf if detailed else trf[:1]), fontsize=0.85 * size)
    finish(part, cells, columns, panels)


def finish(part: Part, cells: Sequence[Axes], columns: int, panels: Mapping[Axes, Panel]) -> None:
    """A colour bar at the end of the first row, a legend of all marks, and nothing where there is no map."""
    for axes in cells:
        if axes not in panels:
            axes.set_axis_off()
    fields = [panel.field for panel in panels.values()]
    if any(panel.planes for panel in panels.values()):
        end = cells[columns - 1]
        colour_bar(end if end in panels else cells[0], next(iter(panels.values())).look.colours(fields))
    part.legend(shared_handles(fields, [panel.window for panel in panels.values()]))
    part.fit({axes: panel.shape for axes, panel in panels.items()})


def _draw_masses(part: Part, fields: Sequence[MeanMap], names: Sequence[str]) -> None:
    (axes,), palette = part.cells(), sequence(len(fields))
    detailed = len(fields) <= DETAILED
    short = fitting(names, 1.6, part.sheet.font)
    for field, name, colour in zip(fields, short, palette, strict=True):
        curve = Curve.of(field)
        if curve is not None:
            curve.draw(axes, colour, f"{name}: {curve.size(0.5)} px", 1.4 if detailed else 0.9)
    part.fit({axes: 0.5 if part.sheet.is_narrow else 0.27})
    name_mass(axes, fields, max(longest_side(around_trf(field)) for field in fields))
    if detailed:
        part.legend(axes.get_legend_handles_labels()[0], HALF)
    else:
        _number_curves(axes, palette)


def _number_curves(axes: Axes, palette: Sequence[Any]) -> None:
    place = axes.inset_axes((1.02, 0, 0.02, 1))
    last = len(palette)
    colours = ScalarMappable(Normalize(0.5, last + 0.5), ListedColormap(list(palette)))
    bar = axes.figure.colorbar(colours, cax=place, label="number of the map")
    if bar.solids is not None:
        bar.solids.set(edgecolor="face", rasterized=False)
    bar.outline.set_linewidth(0.4)
    place.yaxis.set_major_locator(FixedLocator(np.linspace(1, last, 6).round().tolist()))
