"""What figures are made of: a slice of a map with its marks, a map with one axis, an inset and a colour bar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ..result.mean_map import MeanMap
from ..summaries import GaussianFit
from .curves import INK, is_signed, mass_box
from .look import Colours, Look
from .marks import MASS_LINES, TRF, fit_words, marks
from .scales import LOG_FLOOR, Log, on_white, ticks
from .windows import Plane, Window, core, needs_inset, whole
from .words import center_words, trf_words

PLANES: dict[int, tuple[Plane, ...]] = {2: ((0, 1),), 3: ((1, 2), (0, 2), (0, 1))}
INSET = 0.32  # side of an inset, as a share of the map's


def draw_plane(
    axes: Axes,
    field: MeanMap,
    plane: Plane,
    look: Look,
    window: Window,
    *,
    fit: GaussianFit | None = None,
    top: float | None = None,
    line: float = 1.2,
) -> None:
    """A slice of the map along two of its axes through the unit centre, with all marks; shares are of ``top``."""
    row, column = plane
    slices = tuple(slice(None) if axis in plane else nearest(field, axis) for axis in range(field.values.ndim))
    edges = whole(field)
    extent = (edges[column][0], edges[column][1], edges[row][1], edges[row][0])
    if look.image is not None:
        axes.imshow(look.image, cmap="gray", vmin=-0.4, vmax=1.1, extent=extent)
    cmap, norm = look.colours([field])
    shares = field.values[slices] / (top or np.abs(field.values).max() or 1.0)
    axes.imshow(shares, cmap=cmap, norm=norm, interpolation="nearest", extent=extent)
    (first, last), (left, right) = window[row], window[column]
    axes.set(xlim=(left, right), ylim=(last, first), facecolor="0.92")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True, min_n_ticks=2))
    for mark in marks(field, plane, fit, line):
        mark.set_in_layout(False)
        axes.add_artist(mark)


def nearest(field: MeanMap, axis: int) -> int:
    """The pixel nearest to the unit centre along an axis."""
    return int(np.clip(round(field.center[axis]), 0, field.values.shape[axis] - 1))


def draw_inset(
    axes: Axes, field: MeanMap, plane: Plane, look: Look, window: Window, *, top: float | None = None, line: float = 1.0
) -> None:
    """The core of a map that is a small part of what is shown, enlarged in the corner farthest from it."""
    if not needs_inset(field, window):
        return
    down, across = ((field.center[axis] - window[axis][0]) / (window[axis][1] - window[axis][0]) for axis in plane)
    left, bottom = (0.97 - INSET if across <= 0.5 else 0.03), (0.97 - INSET if down > 0.5 else 0.03)
    inset = axes.inset_axes((left, bottom, INSET, INSET))
    draw_plane(inset, field, plane, look, core(field), top=top, line=line)
    inset.set(xticks=[], yticks=[])
    inset.spines[:].set_color("white")


def draw_line(axes: Axes, field: MeanMap, look: Look, window: Window, fit: GaussianFit | None = None) -> None:
    """A map with one axis, its standard error, and all marks; linear unless the scale is logarithmic."""
    peak = np.abs(field.values).max() or 1.0
    places = np.arange(len(field.values))
    line = field.values / peak
    axes.plot(places, line, color=INK, lw=1.0)
    _, error = field.estimate(lambda field: field.values / peak)
    if error is not None:
        axes.fill_between(places, line - error, line + error, color=INK, alpha=0.3, lw=0)
    trf = field.theoretical
    if trf is not None and not trf.is_global:
        axes.axvspan(trf.lower[0] - 0.5, trf.upper[0] - 0.5, color=TRF, alpha=0.22, lw=0, label=trf_words(field))
    for share, dashes in MASS_LINES.items():
        box = mass_box(field, share)
        for edge in box[0] if box is not None else ():
            axes.axvline(edge, color="0.25", lw=0.8, ls=dashes)
    axes.axvline(field.center[0], color="0.5", lw=0.8, ls=":", label=center_words(field))
    if fit is not None:
        bell = np.exp(-0.5 * (places - fit.mean[0]) ** 2 / fit.covariance[0, 0])
        shape = (fit.background + fit.amplitude * bell) / peak
        axes.plot(places, shape, color="#2a9d5c", ls="--", lw=1.0, label=fit_words(fit))
    axes.set_xlim(*window[0])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if isinstance(look.scale, Log) and not is_signed([field]):
        axes.set(yscale="log", ylim=(LOG_FLOOR, 1.5))


def colour_bar(axes: Axes, colours: Colours, label: str = "") -> Axes:
    """A colour bar beside a map and of its height."""
    place = axes.inset_axes((1.03, 0, 0.045, 1))
    cmap, norm = colours
    bar = axes.figure.colorbar(ScalarMappable(norm, on_white(cmap)), cax=place, label=label)
    if bar.solids is not None:
        bar.solids.set(edgecolor="face", rasterized=False)
    bar.outline.set_linewidth(0.4)
    place.yaxis.set_major_locator(FixedLocator(ticks(norm, 0.22)))
    place.yaxis.set_minor_locator(NullLocator())
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return place
