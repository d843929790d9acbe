"""The marks of a map: theoretical field, boxes of its mass, Gaussian ellipses, unit centre; and their legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle

from ..result.mean_map import MeanMap
from ..summaries import GaussianFit, UndefinedStatistic
from ..text import number
from .curves import SHARES, Curve, is_signed, mass_box
from .windows import Plane, Window, shows_trf
from .words import center_words, trf_words

Mark = str | float  # "trf", "gaussian", "center", or the share of a box

TRF = "#4cc9ff"
MASS_LINES: dict[Mark, Any] = {0.5: "-", 0.9: (0, (4, 2))}
OVER: dict[Mark, dict[str, Any]] = {  # over a map in colour
    "trf": {"color": TRF},
    "gaussian": {"color": "#7dff9b", "ls": ":"},
    "center": {"color": "white", "marker": "+", "ls": "none", "ms": 6, "mew": 1.2},
    **{share: {"color": "white", "ls": dashes} for share, dashes in MASS_LINES.items()},
}
FLAT: dict[Mark, dict[str, Any]] = {  # over a line on white
    "trf": {"color": TRF, "alpha": 0.22, "lw": 0},
    "gaussian": {"color": "#2a9d5c", "ls": "--", "lw": 1.0},
    "center": {"color": "0.5", "lw": 0.8, "ls": ":"},
    **{share: {"color": "0.25", "lw": 0.8, "ls": dashes} for share, dashes in MASS_LINES.items()},
}


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
        found.append(_rectangle(sides[row], sides[column], "trf", 1.2 * line))
    for level in (1, 2):
        cut = None if fit is None else _section(fit, field.center, plane, level)
        if cut is not None:
            found.append(Ellipse(**cut, **_style("gaussian", line)))
    for share in SHARES:
        box = mass_box(field, share)
        if box is not None:
            found.append(_rectangle(box[row], box[column], share, line))
    cross = OVER["center"] | {"ms": 5 * line, "mew": line}
    found.append(Line2D([field.center[column]], [field.center[row]], path_effects=outline(line), **cross))
    return found


def _rectangle(rows: tuple[float, float], columns: tuple[float, float], mark: Mark, line: float) -> Rectangle:
    corner = (columns[0], rows[0])
    return Rectangle(corner, columns[1] - columns[0], rows[1] - rows[0], **_style(mark, line))


def _style(mark: Mark, line: float) -> dict[str, Any]:
    return {"fill": False, "lw": line, "path_effects": outline(line)} | OVER[mark]


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


def handles(field: MeanMap, window: Window, fit: GaussianFit | None = None, curve: Curve | None = None) -> list[Artist]:
    """Legend entries of a map's marks, with their sizes."""
    words: dict[Mark, str] = {"trf": trf_words(field)} if shows_trf(field, window) else {}
    words |= {} if curve is None else {share: curve.words(share) for share in SHARES}
    flat = field.values.ndim == 1
    words |= {} if fit is None else {"gaussian": fit_words(fit) if flat else f"1 and 2 sigma of the {fit_words(fit)}"}
    return _entries(words | {"center": center_words(field)}, flat)


def shared_handles(fields: Sequence[MeanMap], windows: Sequence[Window]) -> list[Artist]:
    """Legend entries for several maps: of the marks that are to be seen on one of them."""
    seen = any(shows_trf(field, window) for field, window in zip(fields, windows, strict=True))
    words: dict[Mark, str] = {"trf": "theoretical field (TRF)"} if seen else {}
    words |= {} if is_signed(fields) else {share: f"box with {100 * share:.0f} % of the map" for share in SHARES}
    return _entries(words | {"center": "unit centre"}, all(field.values.ndim == 1 for field in fields))


def _entries(words: Mapping[Mark, str], flat: bool) -> list[Artist]:
    if not flat:
        style: dict[str, Any] = {"lw": 1.4, "path_effects": outline(1.4)}
        return [Line2D([], [], label=label, **style | OVER[mark]) for mark, label in words.items()]
    band, line = partial(Rectangle, (0, 0), 0, 0), partial(Line2D, [], [])
    return [(band if mark == "trf" else line)(label=label, **FLAT[mark]) for mark, label in words.items()]


def fit_words(fit: GaussianFit) -> str:
    return f"Gaussian fit ({number(list(fit.sigmas))} px, R² {number(fit.r2, digits=3)})"
