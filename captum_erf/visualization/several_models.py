"""The figure that papers print: networks across, weights down, their sizes with errors beneath."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from ..result.mean_map import MeanMap
from .curves import SHARES, Curve, has_errors, is_signed
from .look import Look
from .many_maps import INSETS, finish
from .panels import Panel
from .sheet import PAGE, Part, Sheet
from .windows import Window, joined, needs_inset
from .words import caption as made_caption
from .words import fitting, layer_name, model_name, shortened, title_of, weights_name

SMALLEST = 0.6  # inches of a map, below which its row goes on in a further one
Rows = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class Table:
    """Rows of labelled maps; ``columns`` are the labels above, where all rows have the same."""

    labels: list[str]
    cells: list[list[tuple[str, MeanMap]]]

    @classmethod
    def read(cls, rows: Rows) -> Table:
        """From a dict of rows or a list of them, each a dict of labelled maps or a list of maps."""
        named = isinstance(rows, Mapping)
        if isinstance(rows, (str, MeanMap)) or not isinstance(rows, (Mapping, Sequence)):
            raise TypeError(f"rows must be a dict or list of rows of maps, got {type(rows).__name__}.")
        parts = list(rows.values()) if isinstance(rows, Mapping) else list(rows)
        if parts and all(isinstance(part, MeanMap) for part in parts):
            parts, named = [rows], False
        if not parts or not all(len(part) for part in parts):
            raise ValueError("There is no map to draw; pass a dict or list of rows, each with a map or more.")
        cells = [_row(part) for part in parts]
        return cls([str(label) for label in rows] if named else _weights(cells), cells)

    @property
    def fields(self) -> list[MeanMap]:
        return [field for row in self.cells for _, field in row]

    @property
    def width(self) -> int:
        return max(map(len, self.cells))

    @property
    def is_regular(self) -> bool:
        """Whether the same label stands above each other in all rows."""
        return len({tuple(label for label, _ in row) for row in self.cells}) == 1


def _row(part: Any) -> list[tuple[str, MeanMap]]:
    if isinstance(part, (str, MeanMap)) or not isinstance(part, (Mapping, Sequence)):
        raise TypeError(f"a row must be a dict of labelled maps or a list of maps, got {type(part).__name__}.")
    row = [(str(label), field) for label, field in part.items()] if isinstance(part, Mapping) else _named(part)
    wrong = [type(field).__name__ for _, field in row if not isinstance(field, MeanMap)]
    if wrong:
        raise TypeError(
            f"rows must hold maps (ERFMap), got {wrong[0]}; a list of layers' maps is what plot_layers draws."
        )
    return row


def _named(part: Sequence[Any]) -> list[tuple[str, Any]]:
    names = [model_name(field) if isinstance(field, MeanMap) else "" for field in part]
    if len(set(names)) < len(names):
        names = [f"{name} {layer_name(field)}" if name else "" for name, field in zip(names, part, strict=True)]
    return list(zip(names, part, strict=True))


def _weights(cells: Sequence[Sequence[tuple[str, MeanMap]]]) -> list[str]:
    """What the weights of a row are, where the recipes tell and all agree."""
    found = [{weights_name(field) for _, field in row} for row in cells]
    return [next(iter(names)) or "" if len(names) == 1 else "" for names in found]


def plot_models(
    rows: Rows,
    *,
    shared: bool = False,
    scale: str | float = "power",
    cmap: Any = None,
    zoom: str = "input",
    image: Any = None,
    title: str | None = None,
    caption: str | None = None,
    width: float | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    r"""
    Maps of several networks: networks across and, say, before and after training down, as in Ding et al. (RepLKNet,
    CVPR 2022) and Liu et al. (VMamba, NeurIPS 2024).

    Each map has its theoretical field, the boxes that hold half and 90 % of it, and beneath it their sides with
    standard errors. Rows that are too long for the width go on further down.

    Args:
        rows (dict or Sequence): Rows of maps. A dict names its rows, and a row that is a dict names its maps:
            ``{"random": {"ResNet-50": field, "ViT-B/16": field}, "trained": {...}}``. In lists, the recipes' models and
            weights are the names.
        shared (bool): False draws each map over its own maximum. True takes each as shares of its own sum, over the
            largest of all maps, so that equal colours are equal densities.
        zoom (str): ``"input"`` shows the whole input, ``"field"`` the theoretical fields, in one window for all maps
            over inputs of one size.
        scale, cmap, image, title, caption, width, figure: As in :func:`plot`.

    Returns:
        *matplotlib.figure.Figure*

    Raises:
        ValueError: There is no map, or an option is not one of those in :func:`plot`.
        TypeError: ``rows`` holds something else than maps.

    Examples::

        >>> import torch
        >>> from captum_erf import EffectiveReceptiveField
        >>> images = [torch.randn(4, 3, 16, 16)]
        >>> fields = {k: EffectiveReceptiveField(torch.nn.Conv2d(3, 8, k), "").aggregate(images) for k in (3, 7)}
        >>> figure = plot_models({"random": {"3 x 3": fields[3], "7 x 7": fields[7]}})
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['3 x 3', '7 x 7']
    """
    table = Table.read(rows)
    fields = table.fields
    look = Look.read(fields, scale, cmap, zoom, image)
    title = title_of(fields) if title is None else title
    caption = _caption(fields, look, shared) if caption is None else caption
    if width is None and figure is None:
        width = min(PAGE, max(3.3, 0.8 + 2.2 * table.width))
    with Sheet(figure, width, title, caption) as sheet:
        (part,) = sheet.split(1)
        _draw(part, table, look, _tops(fields, shared))
    return sheet.root


def _caption(fields: Sequence[MeanMap], look: Look, shared: bool) -> str:
    each = "Maps as shares of their own sums, over the largest of all" if shared else "Each map over its own maximum"
    beneath = "Beneath: sides in px of the boxes that hold 50 % and 90 % of the map"
    error = any(map(has_errors, fields))
    small = any(needs_inset(field, window) for field, window in zip(fields, _windows(fields, look), strict=True))
    return made_caption(
        fields,
        f"{each}, {look.scale.words}.",
        INSETS if small else "",
        "" if is_signed(fields) else f"{beneath}{', ± one standard error over samples' if error else ''}.",
    )


def _draw(part: Part, table: Table, look: Look, tops: Sequence[float | None]) -> None:
    """Rows that are too long for the width go on further down, in as many blocks as that takes."""
    fields, sheet = table.fields, part.sheet
    blocks = math.ceil(table.width / max(1, int((sheet.width - 0.6) / SMALLEST)))
    columns = math.ceil(table.width / blocks)
    cells = part.cells(blocks * len(table.cells), columns)
    room = (sheet.width - 0.6) / columns - 0.06
    short = _short([label for row in table.cells for label, _ in row], room, sheet.font)
    drawn = map(Panel, fields, [look] * len(fields), _windows(fields, look), tops)
    panels: dict[Axes, Panel] = {}
    for number, row in enumerate(table.cells):
        for column, (label, field) in enumerate(row):
            block, within = divmod(column, columns)
            axes, panel = cells[(block * len(table.cells) + number) * columns + within], next(drawn)
            panel.draw_small(axes, 0.9)
            panels[axes] = panel
            if number == 0 or not table.is_regular:
                axes.set_title(short[label])
            if within == 0:
                axes.set_ylabel(shortened(table.labels[number], max(room * panel.shape, 0.5), sheet.font))
            axes.set_xlabel(_sizes(field, room), fontsize=sheet.small, linespacing=1.15)
    finish(part, cells, columns, panels)


def _short(labels: Sequence[str], width: float, size: float) -> dict[str, str]:
    distinct = list(dict.fromkeys(labels))
    return dict(zip(distinct, fitting(distinct, width, size), strict=True))


def _tops(fields: Sequence[MeanMap], shared: bool) -> list[float | None]:
    """What is the end of the colour scale in each map's own values; None is its maximum."""
    if not shared:
        return [None] * len(fields)
    sums = [float(np.abs(field.values).sum()) or 1.0 for field in fields]
    largest = max(float(np.abs(field.values).max()) / whole for field, whole in zip(fields, sums, strict=True))
    return [largest * whole for whole in sums]


def _windows(fields: Sequence[MeanMap], look: Look) -> list[Window]:
    windows = [look.window(field) for field in fields]
    alike = len({field.values.shape for field in fields}) == 1
    return [joined(windows)] * len(windows) if alike else windows


def _sizes(field: MeanMap, room: float) -> str:
    curve = Curve.of(field)
    if curve is None:
        return ""
    if room >= 1.2:
        return "\n".join(f"{100 * share:.0f} %: {curve.size(share)} px" for share in SHARES)
    return "\n".join(map(curve.size, SHARES))
