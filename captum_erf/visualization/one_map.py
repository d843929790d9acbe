"""The figure of one map: the map with its marks beside the share of its mass in a growing box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from ..result.mean_map import MeanMap
from .curves import INK, SHARES, Curve, has_errors, is_signed, name_mass
from .look import Look
from .marks import MASS_LINES, TRF, fitted, handles, outline
from .panels import LINE_SHAPE, Panel, colour_bar
from .sheet import Sheet, check_axes, is_narrow, legend, root_of, width_of
from .windows import Window, longest_side, shape_of, shows_trf
from .words import caption as made_caption
from .words import trf_words, unit_words

BANDS = "Bands: one standard error over samples."
ALONE = 4.2  # inches of a figure of a map without a curve


def plot(
    field: MeanMap,
    *,
    scale: str | float = "power",
    cmap: Any = None,
    zoom: str = "field",
    image: Any = None,
    title: str | None = None,
    caption: str | None = None,
    width: float | None = None,
    figure: FigureBase | None = None,
    ax: Axes | None = None,
) -> Figure:
    r"""
    One map with its theoretical field, the boxes that hold half and 90 % of it, its unit centre and fitted Gaussian,
    beside the share of its mass in a growing box.

    A map with one axis is drawn as a line, one with three axes as the three slices through the unit centre. Bands are
    one standard error over samples to both sides.

    Axes are in the unit of ``field.recipe["spacing"]`` where there is one, such as ``"0.5mm"`` or ``"3,0.7,0.7mm"``,
    which the command's ``--spacing`` sets; sizes are in pixels.

    A figure shows itself at the end of a notebook cell. In a script ``figure.savefig("erf.pdf")`` writes it, and
    ``plot(field, figure=plt.figure()); plt.show()`` opens a window.

    Args:
        field (ERFMap): The map.
        scale (str or float): Colour scale: ``"power"`` (square root), ``"log"`` (down to 1e-4 of the maximum),
            ``"linear"``, or a number: the exponent of a power scale, such as 0.2.
        cmap (str or Colormap, optional): Colours; None takes Matplotlib's perceptually uniform ``"magma"``, and
            ``"berlin"`` for maps with negative values.
        zoom (str): ``"field"`` shows the theoretical field with a margin, ``"input"`` the whole input.
        image (array or Tensor, optional): A photograph beneath the map, see :func:`overlay`.
        title, caption (str, optional): What stands above and beneath; None says what was measured, ``""`` is nothing.
        width (float, optional): Width of the figure in inches; None is 7, a page. Below 5 the panels stand under each
            other.
        figure (Figure or SubFigure, optional): Where to draw, in the size that it has.
        ax (Axes, optional): Where to draw the map alone; ``ax.legend()`` explains its marks.

    Returns:
        *matplotlib.figure.Figure*

    Raises:
        ValueError: There is no such scale, colour map or zoom, the image does not fit the map, or more than one of
            ``width``, ``figure`` and ``ax`` is given.

    Examples::

        >>> import torch
        >>> from captum_erf import EffectiveReceptiveField
        >>> erf = EffectiveReceptiveField(torch.nn.Conv2d(3, 8, 5), layer="")
        >>> figure = plot(erf.aggregate([torch.randn(4, 3, 16, 16)]))
        >>> figure.axes[1].get_ylabel()
        'share of the map'
    """
    look = Look.read([field], scale, cmap, zoom, image)
    if ax is not None:
        return draw_alone(ax, field, look, title, width, figure)
    if title is None:
        title = f"Effective receptive field of {unit_words(field)}"
    if caption is None:
        caption = one_caption(field, look)
    panel, curve = Panel(field, look, look.window(field), fit=fitted(field)), Curve.of(field)
    if curve is None and width is None and figure is None:
        width = ALONE
    room, slices = width_of(figure, width), max(1, len(panel.planes))
    columns = 1 if is_narrow(room) else 2
    if slices > 1:
        columns = 2 if is_narrow(room) else slices
    beside = curve is not None and slices % columns > 0
    with Sheet(figure, width, title, caption, 2 if curve is not None and not beside else 1) as sheet:
        rows = math.ceil((slices + beside) / columns)
        cells = list(sheet.parts[0].subplots(rows, min(columns, slices + beside), squeeze=False).flat)
        _draw_map(cells, panel)
        legend(sheet.parts[0], handles(field, panel.window, panel.fit, curve), sheet.width, 0.85 * sheet.font)
        for axes in cells[slices + beside :]:
            axes.set_axis_off()
        shapes = [shape_of(panel.window, plane) for plane in panel.planes] or [0.8 if beside else LINE_SHAPE]
        sheet.fit(0, rows, dict(zip(cells, shapes, strict=False)))
        if curve is not None:
            axes = cells[slices] if beside else sheet.parts[1].subplots()
            _draw_mass(axes, field, curve, panel.window)
            if not beside:
                sheet.fit(1, 1, {axes: 0.5 if is_narrow(room) else 0.3})
    return sheet.root


def _draw_map(cells: Sequence[Axes], panel: Panel) -> None:
    """The map, or its slices, with named axes."""
    if not panel.planes:
        panel.draw(cells[0])
        panel.name_axes(cells[0])
        return
    for axes, plane in zip(cells, panel.planes, strict=False):
        panel.draw_plane(axes, plane)
        panel.name_axes(axes, plane)
    alone = len(panel.planes) == 1
    bar = cells[0 if alone else 1 if len(cells) == 4 else 2]
    colour_bar(bar, panel.look.colours([panel.field]), "share of the maximum" if alone else "")


def draw_alone(
    ax: Axes, field: MeanMap, look: Look, title: str | None, width: float | None, figure: FigureBase | None
) -> Figure:
    """The map with its marks and its colour bar in axes of the user's."""
    check_axes(ax, width, figure)
    panel = Panel(field, look, look.window(field), fit=fitted(field))
    panel.draw(ax)
    panel.name_axes(ax, *panel.planes[:1])
    for entry in handles(field, panel.window, panel.fit, Curve.of(field)):
        ax.add_artist(entry)
    if panel.planes:
        colour_bar(ax, look.colours([field]))
    ax.set_title(unit_words(field) if title is None else title)
    return root_of(ax.figure)


def one_caption(field: MeanMap, look: Look) -> str:
    """What was measured, and how it is drawn."""
    plane = field.values.ndim > 1
    return made_caption(
        [field],
        "Slices through the unit centre." if field.values.ndim == 3 else "",
        f"Colours: the map over its maximum, {look.scale.words}." if plane else "",
        "" if shows_trf(field, look.window(field)) else f"{trf_words(field)}.".capitalize(),
        "Shares of its mass are not defined, for it has negative values." if is_signed([field]) else "",
        BANDS if not is_signed([field]) and has_errors(field) else "",
    )


def _draw_mass(axes: Axes, field: MeanMap, curve: Curve, window: Window) -> None:
    curve.draw(axes, INK)
    for share in SHARES:
        side, _ = curve.diameters[share]
        axes.plot([0, side, side], [share, share, 0], color="0.25", lw=0.8, ls=MASS_LINES[share])
        axes.plot(side, share, "o", color=INK, ms=3.5)
    name_mass(axes, [field], longest_side(window))
    trf = field.theoretical
    if trf is not None and trf.is_known and max(trf.size) <= axes.get_xlim()[1]:
        axes.axvline(max(trf.size), color=TRF, lw=1.4, path_effects=outline(1.4))
