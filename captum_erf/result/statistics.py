"""THE TABLE: every number that is printed of a result, once.

A row of ``STATISTICS`` makes a key of the summary, a line of the report, and a column of the command's table, of its
CSV file and of the page. To add a number, write its formula into :mod:`captum_erf.summaries` and a row here.

A row names where its formula stands: a file of :mod:`captum_erf.summaries`, or the class of what several rows share and
what is made once for each map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from ..summaries import UndefinedStatistic, sizes
from ..summaries.fits import GaussianFit
from ..summaries.mass import Interval, RadiusMass
from ..text import number
from .mean_map import MeanMap
from .sums import corrected, standard_error

Row = dict[str, Any]
Formula = Callable[[MeanMap], Any]

ABOVE = f" px (above {100 * sizes.LUO_LEVEL:.2f} % of the centre)"
LEAST_R2 = 0.5  # of a Gaussian whose width is a number


@dataclass(frozen=True)
class Statistic:
    """
    A number of a map.

    Attributes:
        key (str): Its name in the summary; its standard error is ``KEY_se``.
        label (str), unit (str): What stands before and behind it in the report; without a label it has no line there.
        digits (int): Digits behind the point where no error says how many there are.
        formula (Callable): From the map to the number, a list of numbers or of intervals, or None where the map has
            none.
        heading (str): Its column in the command's table; without a heading it has none there.
        heading_error (bool): Whether the column shows the error.
        steady (Callable): What of the number has an error.
        turn (float): What is added at a full turn of a direction, so that 89 and -89 degrees are 2 apart.
        most (float or None): For a number that noise moves one way, which the jackknife corrects: how large it can be.
    """

    key: str
    label: str
    unit: str
    digits: int
    formula: Formula
    heading: str = ""
    heading_error: bool = True
    steady: Callable[[Any], Any] = lambda value: value
    turn: float = 0.0
    most: float | None = None

    def of(self, field: MeanMap) -> Any:
        """The number; None where it is not defined."""
        try:
            return self.formula(field)
        except UndefinedStatistic:
            return None

    def near(self, value: Any, other: Any) -> Any:
        """The value, turned as near to the other one as it goes."""
        if not self.turn or value is None or other is None:
            return value
        return other + (value - other + self.turn / 2) % self.turn - self.turn / 2

    def words(self, row: Row, *, error: bool = True) -> str:
        """The number in a row of the summary, with its error."""
        return number(row[self.key], row[f"{self.key}_se"] if error else None, self.digits)


def _of_mass(formula: Callable[[RadiusMass], Any]) -> Formula:
    """A number of the map's box mass."""
    return lambda field: formula(field.radius_mass())


def _of_fit(formula: Callable[[GaussianFit], Any]) -> Formula:
    """A number of the Gaussian that :func:`captum_erf.summaries.shapes.gaussian_fit` fits to the map."""
    return lambda field: formula(field.gaussian_fit())


def _diameter(share: float) -> Formula:
    return _of_mass(lambda mass: mass.diameter(share))


def _extent(share: float) -> Formula:
    return lambda field: sizes.extent(field.values, share, field.cell_center)


def _lengths(intervals: list[Interval] | None) -> list[float] | None:
    """Of intervals: their ends lie on pixels' faces and jump from one to another, which no jackknife sees."""
    return None if intervals is None else [upper - lower for lower, upper in intervals]


def _erf_to_trf(field: MeanMap) -> float | None:
    trf = field.theoretical
    return field.radius_mass().diameter(0.95) / max(trf.size) if trf is not None and trf.is_known else None


DIAMETERS = {
    0.5: Statistic("diameter_50", "50 % of the mass", " px square", 1, _diameter(0.5), "ERF 50 %"),
    0.9: Statistic("diameter_90", "90 % of the mass", " px square", 1, _diameter(0.9), "90 %"),
    0.95: Statistic("diameter_95", "95 % of the mass", " px square", 1, _diameter(0.95), "95 %"),
}
SIGMA = Statistic("gaussian_sigma", "Gaussian sigma", " px", 1, _of_fit(lambda fit: fit.sigma), "sigma")
ANGLE = Statistic("gaussian_angle", "", "°", 0, _of_fit(lambda fit: fit.angle), turn=180.0)
R2 = Statistic("gaussian_r2", "Gaussian R²", "", 3, _of_fit(lambda fit: fit.r2), "R²", False, most=1.0)
RATIO = Statistic("erf_to_trf", "ERF / TRF", "", 2, _erf_to_trf, "ERF/TRF", False)
STATISTICS = (
    Statistic("displacement", "displacement", " px", 1, lambda f: f.displacement),
    *DIAMETERS.values(),
    Statistic("equivalent_width", "equivalent width", " px", 1, _of_mass(RadiusMass.equivalent_width)),
    Statistic("tail_ratio", "90 % over 50 %", "", 2, _of_mass(RadiusMass.tail_ratio)),
    Statistic("extent_50", "50 % per axis", " px from the unit's cell", 1, _extent(0.5), steady=_lengths),
    Statistic("extent_90", "90 % per axis", " px from the unit's cell", 1, _extent(0.9), steady=_lengths),
    SIGMA,
    ANGLE,
    R2,
    Statistic("threshold_size", "threshold size", ABOVE, 1, lambda f: sizes.threshold_size(f.values, f.center)),
    Statistic("effective_pixels", "effective pixels", "", 0, lambda f: sizes.effective_pixels(f.values), most=inf),
    Statistic("effective_samples", "effective samples", "", 1, lambda f: f.groups.effective_samples()),
    RATIO,
)


def summary(field: MeanMap) -> Row:
    """One row of a table, see :meth:`ERFMap.summary`."""
    trf = field.theoretical
    row: Row = {
        "layer": field.layer,
        "position": field.position,
        "grid": field.grid,
        "input_size": field.groups.size,
        "num_samples": field.num_samples,
        "num_dead": field.num_dead,
        "stride": trf and trf.stride,
        "trf_size": trf and trf.size,
        "outside": trf and trf.outside,
        "center": field.center,
        "center_source": field.center_source,
    }
    own = {statistic: statistic.of(field) for statistic in STATISTICS}
    _, without = field.replicates(lambda other: {s: s.near(s.of(other), own[s]) for s in STATISTICS})
    errors = standard_error(_steady(own), [_steady(other) for other in without])
    for statistic, value in own.items():
        estimates = [other[statistic] for other in without]
        row[statistic.key] = value if statistic.most is None else corrected(value, estimates, statistic.most)
        row[f"{statistic.key}_se"] = errors[statistic]
    if not _is_gaussian(row):
        row |= {f"{statistic.key}{end}": None for statistic in (SIGMA, ANGLE) for end in ("", "_se")}
    return {key: _plain(value) for key, value in row.items()}


def _steady(values: dict[Statistic, Any]) -> dict[Statistic, Any]:
    return {statistic: statistic.steady(value) for statistic, value in values.items()}


def _is_gaussian(row: Row) -> bool:
    """Whether the fit is good enough for its width to be a number."""
    r2, sigma, error = row[R2.key], row[SIGMA.key], row[f"{SIGMA.key}_se"]
    return r2 is not None and r2 >= LEAST_R2 and (error is None or error <= sigma)


def _plain(values: Any) -> Any:
    """Without tuples and NumPy's types, as JSON has it."""
    if isinstance(values, (np.ndarray, np.generic)):
        return values.tolist()
    return [_plain(value) for value in values] if isinstance(values, (tuple, list)) else values
