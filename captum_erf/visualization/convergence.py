"""The course of a size and its error against the number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from ..result.mean_map import MeanMap
from ..text import number
from .curves import half_side
from .scales import sequence
from .sheet import Sheet, is_narrow
from .words import caption as made_caption
from .words import layer_names, shortened, text_width, unit_words

SAMPLE_SCALES = ("linear", "log")


def convergence(
    fields: Sequence[MeanMap],
    *,
    scale: str | None = None,
    title: str | None = None,
    caption: str | None = None,
    width: float | None = None,
    figure: FigureBase | None = None,
) -> Figure:
    r"""
    Side of the box that holds half of the mass against the number of samples: are 50 images enough?

    Args:
        fields (Sequence[ERFMap]): Maps of one or more units after growing numbers of samples.
        scale (str, optional): Axis of the samples, ``"linear"`` or ``"log"``; None is ``"log"`` beyond a factor of 10.
        title, caption, width, figure: As in :func:`plot`.

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
    if title is None:
        title = "Effective receptive field against the number of samples"
    if caption is None:
        last = [snapshots[-1] for snapshots in units.values()]
        caption = made_caption(last, "Bars and bands: one standard error, by jackknife over groups of samples.")
    names = layer_names([snapshots[-1] for snapshots in units.values()])
    courses = list(zip(names, units.values(), strict=True))
    counts = [field.num_samples for field in fields]
    with Sheet(figure, width, title, caption, (1.6 * len(units),)) as sheet:
        cells = sheet.parts[0].subplots(len(units), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, snapshots), colour in zip(cells, courses, sequence(len(units)), strict=True):
            _draw_course(axes, snapshots, label, colour, sheet)
        cells[-1].set_xscale(scale or ("log" if max(counts) > 10 * min(counts) else "linear"))
        cells[-1].set_xlabel("number of samples")
        sheet.parts[0].supylabel("side of the box with half of the map [px]", fontsize=sheet.font)
        sheet.fit(0, len(units), {axes: 0.4 if is_narrow(sheet.width) else 0.25 for axes in cells})
    return sheet.root


def _draw_course(axes: Axes, snapshots: Sequence[MeanMap], label: str, colour: Any, sheet: Sheet) -> None:
    estimates = [field.estimate(half_side) for field in snapshots]
    counts = [field.num_samples for field in snapshots]
    values, errors = np.array(estimates, dtype=np.float64).T
    last, error = estimates[-1]
    assert last is not None
    share = f" ({100 * error / last:.1f} %)" if error is not None and last else ""
    words = f": {number(last, error, 2)} px{share}"
    axes.set_title(shortened(label, sheet.width - 0.6 - text_width(words, sheet.font), sheet.font) + words)
    axes.errorbar(counts, values, errors, marker="o", ms=3, lw=1.0, capsize=2, color=colour)
    axes.grid(alpha=0.25, lw=0.5)
    if error is not None:
        axes.axhspan(last - error, last + error, color=colour, alpha=0.25, lw=0)
