"""The course of a size and its error against the number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from ..result.mean_map import MeanMap
from ..result.statistics import DIAMETERS
from ..text import number
from .scales import sequence
from .sheet import Sheet, check_axes, root_of
from .words import caption as made_caption
from .words import layer_names, shortened, text_width, unit_words

SAMPLE_SCALES = ("linear", "log")
SAMPLES, SIZE = "number of samples", "side of the box with half of the map [px]"


def convergence(
    fields: Sequence[MeanMap],
    *,
    scale: str | None = None,
    cmap: Any = None,
    title: str | None = None,
    caption: str | None = None,
    width: float | None = None,
    figure: FigureBase | None = None,
    ax: Axes | None = None,
) -> Figure:
    r"""
    Side of the box that holds half of the mass against the number of samples: are 50 images enough?

    Args:
        fields (Sequence[ERFMap]): Maps of one or more units after growing numbers of samples.
        scale (str, optional): Axis of the samples, ``"linear"`` or ``"log"``; None is ``"log"`` beyond a factor of 10.
        cmap (str or Colormap, optional): Colours of the units, from first to last; None is ``"viridis"``.
        title, caption, width, figure: As in :func:`plot`.
        ax (Axes, optional): Where to draw all units together; ``ax.legend()`` tells them apart.

    Returns:
        *matplotlib.figure.Figure*: a panel for each unit with one standard error to both sides, and a band of one
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
    fields = sorted(fields, key=lambda field: field.num_samples)
    if not fields:
        raise ValueError("There is no map to draw; pass the maps that compute() gave after some of the batches.")
    if scale not in (None, *SAMPLE_SCALES):
        raise ValueError(f"scale must be one of {', '.join(map(repr, SAMPLE_SCALES))}, or None, got {scale!r}.")
    units: dict[str, list[MeanMap]] = {}
    for field in fields:
        units.setdefault(unit_words(field), []).append(field)
    title = "Effective receptive field against the number of samples" if title is None else title
    if caption is None:
        last = [snapshots[-1] for snapshots in units.values()]
        caption = made_caption(last, "Bars and bands: one standard error, by jackknife over groups of samples.")
    names = layer_names([snapshots[-1] for snapshots in units.values()])
    courses = list(zip(names, units.values(), sequence(len(units), cmap), strict=True))
    counts = [field.num_samples for field in fields]
    scale = scale or ("log" if max(counts) > 10 * min(counts) else "linear")
    if ax is not None:
        check_axes(ax, width, figure)
        for name, snapshots, colour in courses:
            _draw_course(ax, snapshots, name, colour)
        ax.set(xscale=scale, xlabel=SAMPLES, ylabel=SIZE, title=title)
        return root_of(ax.figure)
    with Sheet(figure, width, title, caption) as sheet:
        (part,) = sheet.split(1)
        cells = part.cells(len(units), sharex=True)
        for axes, (name, snapshots, colour) in zip(cells, courses, strict=True):
            words = _draw_course(axes, snapshots, name, colour)
            room = sheet.width - 0.6 - text_width(words, sheet.font)
            axes.set_title(shortened(name, room, sheet.font) + words)
        cells[-1].set(xscale=scale, xlabel=SAMPLES)
        part.figure.supylabel(SIZE, fontsize=sheet.font)
        part.fit(dict.fromkeys(cells, 0.4 if sheet.is_narrow else 0.25))
    return sheet.root


def _draw_course(axes: Axes, snapshots: Sequence[MeanMap], name: str, colour: Any) -> str:
    """A unit's course, and its last value in words."""
    estimates = [field.estimate(DIAMETERS[0.5].formula) for field in snapshots]
    counts = [field.num_samples for field in snapshots]
    values, errors = np.array(estimates, dtype=np.float64).T
    last, error = estimates[-1]
    share = f" ({100 * error / last:.1f} %)" if error is not None and last else ""
    words = f": {number(last, error, 2)} px{share}"
    axes.errorbar(counts, values, errors, marker="o", ms=3, lw=1.0, capsize=2, color=colour, label=name + words)
    axes.grid(alpha=0.25, lw=0.5)
    if error is not None:
        axes.axhspan(last - error, last + error, color=colour, alpha=0.25, lw=0)
    return words
