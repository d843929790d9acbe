"""A map over the photograph that the network saw."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from ..result.mean_map import MeanMap
from .curves import Curve
from .look import Look
from .marks import handles
from .one_map import ALONE, draw_alone, one_caption
from .panels import Panel, colour_bar
from .sheet import Sheet, legend
from .words import unit_words


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
    if ax is not None:
        return draw_alone(ax, field, look, title, width, figure)
    if title is None:
        title = f"Effective receptive field of {unit_words(field)}"
    if caption is None:
        caption = one_caption(field, look) + " Beneath: a photograph in grey."
    with Sheet(figure, width or (ALONE if figure is None else None), title, caption) as sheet:
        axes, panel = sheet.parts[0].subplots(), Panel(field, look, look.window(field))
        panel.draw(axes)
        panel.name_axes(axes, (0, 1))
        colour_bar(axes, look.colours([field]), "share of the maximum")
        legend(sheet.parts[0], handles(field, panel.window, None, Curve.of(field)), sheet.width, 0.85 * sheet.font)
        sheet.fit(0, 1, {axes: panel.shape})
    return sheet.root
