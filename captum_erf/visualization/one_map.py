"""Figures of one map: with its marks beside the share of its mass in a growing box, and over a photograph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from ..result.mean_map import MeanMap
from .curves import INK, SHARES, Curve, has_errors, is_signed, name_mass
from .look import Look
from .marks import MASS_LINES, TRF, fitted, outline
from .panels import LINE_SHAPE, Panel, colour_bar
from .sheet import Sheet, check_axes, root_of
from .windows import longest_side, shape_of, shows_trf
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
    panel = Panel(field, look, look.window(field), fit=fitted(field))
    if ax is not None:
        return _draw_alone(ax, panel, title, width, figure)
    return _draw(panel, Curve.of(field), title, _caption(panel) if caption is None else caption, width, figure)


def overlay(
    field: MeanMap,
    image: Any,
    *,
    scale: str | float = "power",
    cmap: Any = None,
    zoom: str = "input",
    title: str | None = None,
    caption: str | None = None,
    width: float | None = None,
    figure: FigureBase | None = None,
    ax: Axes | None = None,
) -> Figure:
    r"""
    A photograph in grey with the map over it: clear where the unit responds to nothing, opaque at the map's maximum.

    Args:
        field (ERFMap): A map with two axes.
        image (array or Tensor): The photograph, ``(H, W)``, ``(H, W, 3)`` or ``(3, H, W)``, from 0 to 1 or from 0 to
            255; other values, such as those of a normalised input, are stretched. It must have the proportions of the
            network's input.
        scale, cmap, zoom, title, caption, width, figure, ax: As in :func:`plot`; with ``ax``, only the map is drawn.

    Returns:
        *matplotlib.figure.Figure*

    Raises:
        ValueError: The image does not fit the map, or an option is not one of those in :func:`plot`.

    Examples::

        >>> import torch
        >>> from captum_erf import EffectiveReceptiveField
        >>> images = torch.rand(4, 3, 16, 16)
        >>> field = EffectiveReceptiveField(torch.nn.Conv2d(3, 8, 5), layer="").aggregate([images])
        >>> figure = overlay(field, images[0])
        >>> len(figure.axes[0].images)
        2
    """
    look = Look.read([field], scale, cmap, zoom, image)
    panel = Panel(field, look, look.window(field), fit=None if ax is None else fitted(field))
    if ax is not None:
        return _draw_alone(ax, panel, title, width, figure)
    caption = f"{_caption(panel)} Beneath: a photograph in grey." if caption is None else caption
    return _draw(panel, None, title, caption, width, figure)


def _draw(
    panel: Panel, curve: Curve | None, title: str | None, caption: str, width: float | None, figure: FigureBase | None
) -> Figure:
    """The map, or its slices, and the curve of its mass if there is one: beside it, or beneath."""
    title = f"Effective receptive field of {unit_words(panel.field)}" if title is None else title
    if curve is None and width is None and figure is None:
        width = ALONE
    with Sheet(figure, width, title, caption) as sheet:
        slices = max(1, len(panel.planes))
        columns = max(2, slices) - sheet.is_narrow
        beside = curve is not None and slices % columns > 0
        first, *below = sheet.split(2 if curve is not None and not beside else 1)
        count = slices + beside
        cells = first.cells(math.ceil(count / columns), min(columns, count))
        _draw_map(cells, panel)
        first.legend(panel.handles(curve or Curve.of(panel.field)))
        for axes in cells[count:]:
            axes.set_axis_off()
        shapes = [shape_of(panel.window, plane) for plane in panel.planes] or [0.8 if beside else LINE_SHAPE]
        first.fit(dict(zip(cells, shapes, strict=False)))
        if curve is not None and beside:
            _draw_mass(cells[slices], panel, curve)
        elif curve is not None:
            (axes,) = below[0].cells()
            _draw_mass(axes, panel, curve)
            below[0].fit({axes: 0.5 if sheet.is_narrow else 0.3})
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


def _draw_alone(ax: Axes, panel: Panel, title: str | None, width: float | None, figure: FigureBase | None) -> Figure:
    """The map with its marks and its colour bar in axes of the user's."""
    check_axes(ax, width, figure)
    panel.draw(ax)
    panel.name_axes(ax, *panel.planes[:1])
    for entry in panel.handles(Curve.of(panel.field)):
        ax.add_artist(entry)
    if panel.planes:
        colour_bar(ax, panel.look.colours([panel.field]))
    ax.set_title(unit_words(panel.field) if title is None else title)
    return root_of(ax.figure)


def _caption(panel: Panel) -> str:
    """What was measured, and how it is drawn."""
    field = panel.field
    return made_caption(
        [field],
        "Slices through the unit centre." if field.values.ndim == 3 else "",
        f"Colours: the map over its maximum, {panel.look.scale.words}." if panel.planes else "",
        "" if shows_trf(field, panel.window) else f"{trf_words(field)}.".capitalize(),
        "Shares of its mass are not defined, for it has negative values." if is_signed([field]) else "",
        BANDS if not is_signed([field]) and has_errors(field) else "",
    )


def _draw_mass(axes: Axes, panel: Panel, curve: Curve) -> None:
    curve.draw(axes, INK)
    for share in SHARES:
        side, _ = curve.diameters[share]
        axes.plot([0, side, side], [share, share, 0], color="0.25", lw=0.8, ls=MASS_LINES[share])
        axes.plot(side, share, "o", color=INK, ms=3.5)
    name_mass(axes, [panel.field], longest_side(panel.window))
    trf = panel.field.theoretical
    if trf is not None and trf.is_known and max(trf.size) <= axes.get_xlim()[1]:
        axes.axvline(max(trf.size), color=TRF, lw=1.4, path_effects=outline(1.4))
