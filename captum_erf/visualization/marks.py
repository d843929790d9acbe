"""The marks of a map: theoretical field, boxes of its mass, Gaussian ellipses, unit centre; and their legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle

from ..result.mean_map import MeanMap
from ..summaries import GaussianFit, UndefinedStatistic
from ..text import number
from .curves import Curve, is_signed, mass_box
from .windows import Plane, Window, shows_trf
from .words import center_words, trf_words

TRF, GAUSSIAN, MASS = "#4cc9ff", "#7dff9b", "white"
MASS_LINES: dict[float, Any] = {0.5: "-", 0.9: (0, (4, 2))}


def fitted(field: MeanMap) -> GaussianFit | None:
    """The Gaussian fit; None where the map has none, or negative values, of which it says nothing."""
    try:
        return None if is_signed([field]) else field.gaussian_fit()
    except UndefinedStatistic:
        return None


def marks(field: MeanMap, plane: Plane, fit: GaussianFit | None, line: float) -> list[Artist]:
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
