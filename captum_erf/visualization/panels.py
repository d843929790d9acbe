"""What figures are made of: a slice of a map with its marks, a map with one axis, an inset and a colour bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from ..result.mean_map import MeanMap
from ..summaries import GaussianFit, UndefinedStatistic
from ..text import number, times
from .curves import INK, Curve, mass_box
from .scales import LOG_FLOOR, Log, Scale, on_white, read_cmap, read_scale, ticks, transparent
from .words import center_words, trf_words

Array = NDArray[np.float64]
Plane = tuple[int, int]
Window = tuple[tuple[float, float], ...]
Colours = tuple[Colormap, Normalize]

ZOOMS = ("field", "input")
PLANES: dict[int, tuple[Plane, ...]] = {2: ((0, 1),), 3: ((1, 2), (0, 2), (0, 1))}
TRF, GAUSSIAN, MASS = "#4cc9ff", "#7dff9b", "white"
MASS_LINES = {0.5: "-", 0.9: (0, (4, 2))}
MARGIN = 0.25  # of a zoomed theoretical field to each side, as a share of its size
SMALL = 0.16  # share of what is shown below which the box with 90 % of a map gets an inset
INSET = 0.36  # side of an inset, as a share of the map's


@dataclass(frozen=True)
class Look:
    """How maps are coloured, what lies beneath them and which part is shown."""

    scale: Scale
    cmap: Any
    zoom: str
    image: Array | None

    @classmethod
    def read(cls, fields: Sequence[MeanMap], scale: str | float, cmap: Any, zoom: str, image: Any) -> Look:
        if zoom not in ZOOMS:
            raise ValueError(f"zoom must be one of {', '.join(map(repr, ZOOMS))}, got {zoom!r}.")
        read_cmap(cmap, False)
        return cls(read_scale(scale), cmap, zoom, None if image is None else read_image(image, fields))

    def colours(self, fields: Sequence[MeanMap]) -> Colours:
        """The colours, and how a share of the maximum becomes one."""
        signed = is_signed(fields)
        cmap = read_cmap(self.cmap, signed)
        return cmap if self.image is None else transparent(cmap, signed), self.scale.norm(signed)

    def window(self, field: MeanMap) -> Window:
        return whole(field) if self.zoom == "input" else around_trf(field)


def read_image(image: ArrayLike, fields: Sequence[MeanMap]) -> Array:
    """A photograph as grey values from 0 to 1, of the inputs' proportions."""
    detached = image.detach().cpu() if hasattr(image, "detach") else image
    pixels = np.asarray(detached, dtype=np.float64)
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4)):
        raise ValueError(f"image must be of shape (H, W), (H, W, 3) or (3, H, W), got {pixels.shape}.")
    if not pixels.size or not np.isfinite(pixels).all():
        raise ValueError("image must hold finite numbers.")
    for field in fields:
        size = field.values.shape
        if len(size) != 2:
            raise ValueError(f"image lies beneath maps with two axes, and this one has {len(size)}; leave image out.")
        if abs(np.log(pixels.shape[0] * size[1] / (pixels.shape[1] * size[0]))) > 0.02:
            raise ValueError(
                f"image is {times(pixels.shape[:2])} and the map lies over inputs of {times(size)}; pass the crop that "
                "the network saw."
            )
    grey = pixels if pixels.ndim == 2 else pixels[..., :3] @ GREY if pixels.shape[-1] > 1 else pixels[..., 0]
    low, high = float(grey.min()), float(grey.max())
    if low < 0 or high > 255:
        return (grey - low) / (high - low)
    return grey / 255 if high > 1 else grey


GREY = np.array([0.299, 0.587, 0.114])


def is_signed(fields: Sequence[MeanMap]) -> bool:
    """Whether a map has negative values, so that colours must have a middle."""
    return any(float(field.values.min()) < 0 for field in fields)


def fitted(field: MeanMap) -> GaussianFit | None:
    """The Gaussian fit; None where the map has none, or negative values, of which it says nothing."""
    try:
        return None if is_signed([field]) else field.gaussian_fit()
    except UndefinedStatistic:
        return None


def whole(field: MeanMap) -> Window:
    """The edges of the input along every axis."""
    return tuple((-0.5, length - 0.5) for length in field.values.shape)


def around_trf(field: MeanMap) -> Window:
    """The theoretical field with a margin, as far as it lies inside the input; all of it where that is most."""
    trf, edges = field.theoretical, whole(field)
    if trf is None or any(trf.global_axes):
        return edges
    sides = [_widened(lower - 0.5, upper - 0.5) for lower, upper in zip(trf.lower, trf.upper, strict=True)]
    near = tuple((max(a, low), min(b, high)) for (a, b), (low, high) in zip(sides, edges, strict=True))
    empty = any(stop - start < 1 for start, stop in near)
    full = all(stop - start > 0.8 * (high - low) for (start, stop), (low, high) in zip(near, edges, strict=True))
    return edges if empty or full else near


def joined(windows: Sequence[Window]) -> Window:
    """The smallest window that shows all of them."""
    axes = zip(*windows, strict=True)
    return tuple((min(low for low, _ in axis), max(high for _, high in axis)) for axis in axes)


def longest_side(window: Window) -> float:
    """The longest side of a window in pixels."""
    return max(stop - start for start, stop in window)


def shape_of(window: Window, plane: Plane) -> float:
    """Height over width of a slice."""
    (top, bottom), (left, right) = window[plane[0]], window[plane[1]]
    return (bottom - top) / (right - left)


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
    for mark in _marks(field, plane, fit, line):
        mark.set_in_layout(False)
        axes.add_artist(mark)


def _marks(field: MeanMap, plane: Plane, fit: GaussianFit | None, line: float) -> list[Artist]:
    row, column = plane
    found: list[Artist] = []
    trf = field.theoretical
    if trf is not None and not (trf.global_axes[row] and trf.global_axes[column]):
        sides = [(lower - 0.5, upper - 0.5) for lower, upper in zip(trf.lower, trf.upper, strict=True)]
        found.append(_rectangle(sides[row], sides[column], TRF, "-", 1.2 * line))
    for level in (1, 2):
        cut = None if fit is None else _section(fit, field.center, plane, level)
        if cut is not None:
            found.append(Ellipse(**cut, edgecolor=GAUSSIAN, ls=":", **_style(line)))
    for share, dashes in MASS_LINES.items():
        box = mass_box(field, share)
        if box is not None:
            found.append(_rectangle(box[row], box[column], MASS, dashes, line))
    cross: dict[str, Any] = {"marker": "+", "ls": "none", "color": "white", "ms": 5 * line, "mew": line}
    found.append(Line2D([field.center[column]], [field.center[row]], path_effects=outline(line), **cross))
    return found


def _rectangle(rows: tuple[float, float], columns: tuple[float, float], colour: str, ls: Any, line: float) -> Rectangle:
    corner = (columns[0], rows[0])
    return Rectangle(corner, columns[1] - columns[0], rows[1] - rows[0], edgecolor=colour, ls=ls, **_style(line))


def _style(line: float) -> dict[str, Any]:
    return {"fill": False, "lw": line, "path_effects": outline(line)}


def outline(line: float) -> list[Any]:
    """A dark edge around a light mark, so that it is seen on light ground as well."""
    return [patheffects.withStroke(linewidth=line + 1.0, foreground="black", alpha=0.75)]


def nearest(field: MeanMap, axis: int) -> int:
    """The pixel nearest to the unit centre along an axis."""
    return int(np.clip(round(field.center[axis]), 0, field.values.shape[axis] - 1))


def _section(fit: GaussianFit, center: Sequence[float], plane: Plane, level: float) -> dict[str, Any] | None:
    """The ellipse in which a plane through the unit centre cuts the ellipsoid at ``level`` sigma; None if it misses."""
    inside = list(plane)
    across = [axis for axis in range(len(center)) if axis not in plane]
    precision = np.linalg.inv(fit.covariance)
    covariance = np.linalg.inv(precision[np.ix_(inside, inside)])
    distance = np.array(center)[across] - fit.mean[across]
    pull = precision[np.ix_(inside, across)] @ distance
    spent = distance @ precision[np.ix_(across, across)] @ distance - pull @ covariance @ pull
    if spent >= level**2:
        return None
    variances, directions = np.linalg.eigh(covariance * (level**2 - spent))
    down, right = directions[:, 1]
    short, long = 2 * np.sqrt(variances)
    y, x = fit.mean[inside] - covariance @ pull
    return {"xy": (x, y), "width": long, "height": short, "angle": float(np.degrees(np.arctan2(down, right)))}


def needs_inset(field: MeanMap, window: Window) -> bool:
    """Whether the core of a map is a small part of a window."""
    sides = zip(_core(field), window, strict=True)
    return all(stop - start <= SMALL * (1 + 2 * MARGIN) * (high - low) for (start, stop), (low, high) in sides)


def draw_inset(
    axes: Axes, field: MeanMap, plane: Plane, look: Look, window: Window, *, top: float | None = None, line: float = 1.0
) -> None:
    """The core of a map that is a small part of what is shown, enlarged in the corner farthest from it."""
    if not needs_inset(field, window):
        return
    down, across = ((field.center[axis] - window[axis][0]) / (window[axis][1] - window[axis][0]) for axis in plane)
    left, bottom = (0.97 - INSET if across <= 0.5 else 0.03), (0.97 - INSET if down > 0.5 else 0.03)
    inset = axes.inset_axes((left, bottom, INSET, INSET))
    draw_plane(inset, field, plane, look, _core(field), top=top, line=line)
    inset.set(xticks=[], yticks=[])
    inset.spines[:].set_color("white")


def _core(field: MeanMap) -> Window:
    """The box with 90 % of the map and a margin, or the theoretical field where that is smaller."""
    near, box = around_trf(field), mass_box(field, 0.9)
    if box is None:
        return near
    core = tuple(_widened(low, high) for low, high in box)
    return tuple(min(pair, key=lambda side: side[1] - side[0]) for pair in zip(near, core, strict=True))


def _widened(low: float, high: float) -> tuple[float, float]:
    return low - MARGIN * (high - low), high + MARGIN * (high - low)


def shows_trf(field: MeanMap, window: Window) -> bool:
    """Whether an edge of the theoretical field lies within a window."""
    trf = field.theoretical
    if trf is None:
        return False
    sides = zip(trf.lower, trf.upper, trf.global_axes, window, strict=True)
    return any(not every and (low < a - 0.5 < high or low < b - 0.5 < high) for a, b, every, (low, high) in sides)


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
        bar.solids.set_edgecolor("face")
    bar.outline.set_linewidth(0.4)
    place.yaxis.set_major_locator(FixedLocator(ticks(norm, 0.22)))
    place.yaxis.set_minor_locator(NullLocator())
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return place


def handles(field: MeanMap, window: Window, fit: GaussianFit | None, curve: Curve | None) -> list[Artist]:
    """Legend entries of a slice's marks, with their sizes."""
    sizes = {} if curve is None else {share: curve.words(share) for share in MASS_LINES}
    gaussian = None if fit is None else f"1 and 2 sigma of the {fit_words(fit)}"
    return _entries(trf_words(field) if shows_trf(field, window) else None, sizes, gaussian, center_words(field))


def shared_handles(fields: Sequence[MeanMap], windows: Sequence[Window]) -> list[Artist]:
    """Legend entries for several maps: of the marks that are to be seen on one of them."""
    sizes = {} if is_signed(fields) else {share: f"box with {100 * share:.0f} % of the map" for share in MASS_LINES}
    seen = any(shows_trf(field, window) for field, window in zip(fields, windows, strict=True))
    return _entries("theoretical field (TRF)" if seen else None, sizes, None, "unit centre")


def _entries(trf: str | None, sizes: Mapping[float, str], gaussian: str | None, center: str) -> list[Artist]:
    found: list[Artist] = [] if trf is None else [_entry(TRF, "-", trf)]
    found += [_entry(MASS, MASS_LINES[share], words) for share, words in sizes.items()]
    found += [] if gaussian is None else [_entry(GAUSSIAN, ":", gaussian)]
    cross: dict[str, Any] = {"color": "white", "marker": "+", "ls": "none", "ms": 6, "mew": 1.2}
    return [*found, Line2D([], [], label=center, path_effects=outline(1.2), **cross)]


def _entry(colour: str, dashes: Any, label: str) -> Line2D:
    return Line2D([], [], color=colour, lw=1.4, ls=dashes, label=label, path_effects=outline(1.4))


def fit_words(fit: GaussianFit) -> str:
    return f"Gaussian fit ({number(list(fit.sigmas))} px, R² {number(fit.r2, digits=3)})"
