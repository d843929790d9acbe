"""The figure of one map: the map with its marks beside the share of its mass in a growing box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D

from ..result.mean_map import MeanMap
from .curves import INK, SHARES, Curve, has_errors, is_signed, name_mass
from .look import Look
from .marks import MASS_LINES, TRF, fitted, handles, outline
from .panels import PLANES, colour_bar, draw_line, draw_plane, nearest
from .sheet import Sheet, check_axes, is_narrow, legend, root_of, width_of
from .windows import Window, longest_side, shape_of, shows_trf
from .words import caption as made_caption
from .words import trf_words, unit_words

BANDS = "Bands: one standard error over samples."
LINE_SHAPE = 0.62  # height over width of a map with one axis
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
    planes, curve, window = PLANES.get(field.values.ndim, ()), Curve.of(field), look.window(field)
    if curve is None and width is None and figure is None:
        width = ALONE
    narrow = is_narrow(width_of(figure, width))
    stacked = narrow or len(planes) == 3
    with Sheet(figure, width, title, caption, 2 if stacked and curve is not None else 1) as sheet:
        beside = curve is not None and not stacked
        cells = sheet.parts[0].subplots(1, max(1, len(planes)) + beside, squeeze=False)[0]
        legend(sheet.parts[0], _draw_map(cells, field, look, window, curve), sheet.width, 0.85 * sheet.font)
        shapes = [shape_of(window, plane) for plane in planes] or [0.8 if beside else LINE_SHAPE]
        sheet.fit(0, 1, dict(zip(cells, shapes, strict=False)))
        if curve is not None:
            axes = cells[-1] if beside else sheet.parts[1].subplots()
            _draw_mass(axes, field, curve, window)
            if stacked:
                sheet.fit(1, 1, {axes: 0.5 if narrow else 0.3})
    return sheet.root


def _draw_map(cells: Sequence[Axes], field: MeanMap, look: Look, window: Window, curve: Curve | None) -> list[Artist]:
    """The map, or its slices, and the entries of their legend."""
    planes, fit = PLANES.get(field.values.ndim, ()), fitted(field)
    if not planes:
        axes = cells[0]
        draw_line(axes, field, look, window, fit)
        axes.set(xlabel="position in the input [px]", ylabel="share of the maximum")
        edges = {} if curve is None else {curve.words(share): dashes for share, dashes in MASS_LINES.items()}
        return axes.get_legend_handles_labels()[0] + [
            Line2D([], [], color="0.25", lw=0.8, ls=dashes, label=words) for words, dashes in edges.items()
        ]
    for axes, plane in zip(cells, planes, strict=False):
        draw_plane(axes, field, plane, look, window, fit=fit)
        _name_axes(axes, field, plane)
    colour_bar(cells[len(planes) - 1], look.colours([field]), "share of the maximum" if len(planes) == 1 else "")
    return handles(field, window, fit, curve)


def draw_alone(
    ax: Axes, field: MeanMap, look: Look, title: str | None, width: float | None, figure: FigureBase | None
) -> Figure:
    """The map with its marks and its colour bar in axes of the user's."""
    check_axes(ax, width, figure)
    fit, curve, planes = fitted(field), Curve.of(field), PLANES.get(field.values.ndim)
    if planes is None:
        draw_line(ax, field, look, look.window(field), fit)
    else:
        draw_plane(ax, field, planes[0], look, look.window(field), fit=fit)
        for entry in handles(field, look.window(field), fit, curve):
            ax.add_artist(entry)
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


def _name_axes(axes: Axes, field: MeanMap, plane: tuple[int, int]) -> None:
    names = "zyx"[-field.values.ndim :]
    across = [axis for axis in range(len(names)) if axis not in plane]
    axes.set(xlabel=f"{names[plane[1]]} [px]", ylabel=f"{names[plane[0]]} [px]")
    if across:
        axes.set_title(f"{names[across[0]]} = {nearest(field, across[0])}")
