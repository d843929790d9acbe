"""What figures are made of: colour scales, a slice of a map with its marks, a line, and a curve of the mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colors, patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..result.mean_map import MeanMap as ERFMap
from ..result.sums import standard_error
from ..summaries import GaussianFit
from ..text import number, times

Array = NDArray[np.float64]
Plane = tuple[int, int]

SCALES = {
    "power": "power scale (exponent 0.5)",
    "log": "log scale (from 0.0001 on)",
    "linear": "linear scale",
}
LOG_FLOOR = 1e-4
SHARES = (0.5, 0.9, 0.95)
PLANES: dict[int, tuple[Plane, ...]] = {2: ((0, 1),), 3: ((1, 2), (0, 2), (0, 1))}
INK, BOX, GAUSSIAN, CENTER = "#3b528b", "#4cc9ff", "#7dff9b", "white"
DARK = {"facecolor": "0.25", "edgecolor": "none", "labelcolor": "white", "framealpha": 1.0}
OUTLINE = [patheffects.withStroke(linewidth=2.6, foreground="black", alpha=0.7)]


def check_scale(scale: str) -> None:
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(map(repr, SCALES))}, got {scale!r}.")


def is_signed(fields: Sequence[ERFMap]) -> bool:
    """Whether a map has negative values, so that colours must have a middle."""
    return any(float(field.values.min()) < 0 for field in fields)


def colours(signed: bool, scale: str) -> tuple[colors.Normalize, str]:
    """The scale from a share of the maximum to a colour, and the name of the colour map."""
    low, palette = (-1.0, "RdBu_r") if signed else (0.0, "magma")
    if scale == "linear":
        return colors.Normalize(low, 1, clip=True), palette
    if scale == "log":
        steps = colors.SymLogNorm(LOG_FLOOR, vmin=low, vmax=1, clip=True) if signed else None
        return steps or colors.LogNorm(LOG_FLOOR, 1, clip=True), palette
    return colors.FuncNorm((_root, _squared), low, 1, clip=True), palette


def _root(values: Any) -> Any:
    return np.sign(values) * np.sqrt(np.abs(values))


def _squared(values: Any) -> Any:
    return np.sign(values) * np.square(values)


def shares(field: ERFMap) -> Array:
    """The map over its largest absolute value."""
    return field.values / (np.abs(field.values).max() or 1.0)


def fitted(field: ERFMap) -> GaussianFit | None:
    """The Gaussian fit; None where the map has none."""
    try:
        return field.gaussian_fit()
    except ValueError:
        return None


@dataclass(frozen=True)
class Curve:
    """Share of the mass in a box of each side in pixels, with standard errors where there are any."""

    sides: Array
    mass: Array
    error: Array | None
    diameters: dict[float, tuple[float, float | None]]

    @classmethod
    def of(cls, field: ERFMap) -> Curve | None:
        """None where the map has no shares of its mass, for it has negative values."""
        try:
            whole = field.radius_mass()
        except ValueError:
            return None
        try:
            without = [other.radius_mass() for other in field.leave_one_out()]
        except ValueError:
            without = []
        diameters = {
            share: (value, standard_error(value, [one.diameter(share) for one in without]))
            for share in SHARES
            for value in [whole.diameter(share)]
        }
        return cls(2 * whole.radii + 1, whole.mass, standard_errors([one.mass for one in without]), diameters)

    def words(self, share: float) -> str:
        """The side that holds the share."""
        return f"{100 * share:.0f} % in {number(*self.diameters[share])} px"

    @property
    def end(self) -> float:
        """The side from which on nearly all of the mass is inside."""
        return float(self.sides[np.searchsorted(self.mass, 0.999)])

    def mass_at(self, side: float) -> float:
        return float(self.mass[np.searchsorted(self.sides, side - 1e-6)])

    def draw(self, axes: Axes, colour: Any, label: str | None = None) -> None:
        axes.plot(self.sides, self.mass, color=colour, lw=1.8, label=label)
        if self.error is not None:
            low, high = self.mass - self.error, self.mass + self.error
            axes.fill_between(self.sides, low, high, color=colour, alpha=0.25, lw=0)


def standard_errors(estimates: Sequence[Array]) -> Array | None:
    """Standard errors of several numbers at once, from their values without each group."""
    errors: Array | None = standard_error(estimates[0], estimates) if estimates else None
    return errors


def draw_plane(
    axes: Axes, field: ERFMap, plane: Plane, fit: GaussianFit | None, scale: str, width: float = 1.6
) -> None:
    """A slice of the map along two of its axes through the unit centre, with all marks."""
    slices = tuple(slice(None) if axis in plane else nearest(field, axis) for axis in range(field.values.ndim))
    norm, palette = colours(is_signed([field]), scale)
    axes.imshow(shares(field)[slices], cmap=palette, norm=norm, interpolation="nearest")
    axes.autoscale(False)
    outline = OUTLINE if width > 1 else None
    style: dict[str, Any] = {"fill": False, "lw": width, "path_effects": outline}
    row, column = plane
    trf = field.theoretical
    if trf is not None and not (trf.global_axes[row] and trf.global_axes[column]):
        corner = (trf.lower[column] - 0.5, trf.lower[row] - 0.5)
        axes.add_patch(Rectangle(corner, trf.size[column], trf.size[row], edgecolor=BOX, **style))
    for level in (1, 2):
        cut = None if fit is None else _section(fit, field.center, plane, level)
        if cut is not None:
            axes.add_patch(Ellipse(**cut, edgecolor=GAUSSIAN, ls="--", **style))
    y, x = field.center[row], field.center[column]
    axes.plot(x, y, "+", color=CENTER, ms=5 * width, mew=width, path_effects=outline)


def zoom(axes: Axes, field: ERFMap, plane: Plane) -> None:
    """Shows three times the theoretical field where it is a small part of the input."""
    trf = field.theoretical
    if trf is None or any(trf.global_axes) or any(trf.size[axis] > field.values.shape[axis] / 5 for axis in plane):
        return
    (top, bottom), (left, right) = (
        (max(trf.lower[axis] - trf.size[axis], 0), min(trf.upper[axis] + trf.size[axis], field.values.shape[axis]))
        for axis in plane
    )
    axes.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", integer=True))


def nearest(field: ERFMap, axis: int) -> int:
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


def draw_line(axes: Axes, field: ERFMap, fit: GaussianFit | None, scale: str) -> None:
    """A map with one axis, its standard error, and all marks; linear unless the scale is ``"log"``."""
    peak = np.abs(field.values).max() or 1.0
    places = np.arange(len(field.values))
    line = field.values / peak
    axes.plot(places, line, color=INK, lw=1.2)
    error = standard_errors([other.values / peak for other in field.leave_one_out()])
    if error is not None:
        axes.fill_between(places, line - error, line + error, color=INK, alpha=0.25, lw=0)
    trf = field.theoretical
    if trf is not None and not trf.is_global:
        axes.axvspan(trf.lower[0] - 0.5, trf.upper[0] - 0.5, color=BOX, alpha=0.2, lw=0, label=trf_words(field))
    axes.axvline(field.center[0], color="0.3", lw=0.9, ls=":", label=center_words(field))
    if fit is not None:
        bell = np.exp(-0.5 * (places - fit.mean[0]) ** 2 / fit.covariance[0, 0])
        shape = (fit.background + fit.amplitude * bell) / peak
        axes.plot(places, shape, color="#2a9d5c", ls="--", lw=1.2, label=fit_words(fit))
    axes.set_xlim(-0.5, len(places) - 0.5)
    if scale == "log" and not is_signed([field]):
        axes.set(yscale="log", ylim=(LOG_FLOOR, 1.5))


def marks(trf: str, center: str, fit: str | None) -> list[Artist]:
    """Legend handles of a slice's marks."""
    found: list[Artist] = [
        Line2D([], [], color=BOX, lw=1.8, label=trf),
        Line2D([], [], color=CENTER, marker="+", ls="none", ms=8, mew=1.6, label=center),
    ]
    if fit is not None:
        found.append(Line2D([], [], color=GAUSSIAN, lw=1.8, ls="--", label=fit))
    return found


def trf_words(field: ERFMap) -> str:
    """The theoretical field, and how much of it lies outside the picture."""
    trf = field.theoretical
    if trf is None:
        return "no theoretical field"
    if trf.is_global:
        return "theoretical field: global"
    sides = ["global" if all_of_it else str(side) for side, all_of_it in zip(trf.size, trf.global_axes, strict=True)]
    size = " x ".join(sides if len(set(sides)) > 1 else sides[:1])
    bound = "at least " if trf.is_clipped else ""
    outside = f", {100 * trf.outside:.0f} % of it outside the input" if trf.outside else ""
    return f"theoretical field {bound}{size} px{outside}"


def center_words(field: ERFMap) -> str:
    return f"unit centre ({', '.join(f'{value:g}' for value in field.center)})"


def fit_words(fit: GaussianFit) -> str:
    return f"Gaussian fit ({', '.join(f'{sigma:.1f}' for sigma in fit.sigmas)} px, R² {fit.r2:.3f})"


def sequence(count: int) -> list[Any]:
    """Colours from first to last."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.88, count)))


def sizes(fields: Sequence[ERFMap]) -> str:
    """Input sizes of the fields, each once."""
    return " and ".join(dict.fromkeys(times(field.values.shape) for field in fields))
