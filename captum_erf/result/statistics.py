"""THE TABLE: every number that is printed of a result, once.

A row of ``STATISTICS`` makes a key of the summary, a line of the report, a column of the command's table and of its CSV
file, and the words in figures. To add a number, write its formula into :mod:`captum_erf.summaries` and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..summaries import UndefinedStatistic
from ..text import Number, number
from .mean_map import MeanMap

Row = dict[str, Any]


@dataclass(frozen=True)
class Statistic:
    """
    A number of a map.

    Attributes:
        key (str): Its name in the summary; its standard error is ``KEY_se``.
        label (str), unit (str): What stands before and behind it in the report; without a label it has no line there.
        digits (int): Digits behind the point.
        formula (Callable): From the map to the number, a list of numbers, or None where the map has none.
        heading (str): Its column in the command's table; without a heading it has none there.
        heading_error (bool): Whether the column shows the error.
        turn (float): What is added at a full turn of a direction, so that 89 and -89 degrees are 2 apart.
    """

    key: str
    label: str
    unit: str
    digits: int
    formula: Callable[[MeanMap], Number]
    heading: str = ""
    heading_error: bool = True
    turn: float = 0.0

    def of(self, field: MeanMap) -> Number:
        """The number; None where it is not defined."""
        try:
            return self.formula(field)
        except UndefinedStatistic:
            return None

    def near(self, value: Number, other: Number) -> Number:
        """The value, turned as near to the other one as it goes."""
        if not self.turn or value is None or other is None:
            return value
        assert not isinstance(value, Sequence) and not isinstance(other, Sequence)
        return other + (value - other + self.turn / 2) % self.turn - self.turn / 2

    def words(self, row: Row, *, error: bool = True) -> str:
        """The number in a row of the summary, with its error."""
        return number(row[self.key], row[f"{self.key}_se"] if error else None, self.digits)


def _diameter(share: float) -> Callable[[MeanMap], Number]:
    return lambda field: field.radius_mass().diameter(share)


def _sigmas(field: MeanMap) -> Number:
    return [float(sigma) for sigma in field.gaussian_fit().sigmas]


def _erf_to_trf(field: MeanMap) -> Number:
    trf = field.theoretical
    return field.radius_mass().diameter(0.95) / max(trf.size) if trf is not None and trf.is_known else None


SIGMA = Statistic("gaussian_sigma", "Gaussian sigma", " px", 1, _sigmas, "sigma")
ANGLE = Statistic("gaussian_angle", "", "°", 0, lambda field: field.gaussian_fit().angle, turn=180.0)
R2 = Statistic("gaussian_r2", "Gaussian R²", "", 3, lambda field: field.gaussian_fit().r2, "R²", False)
STATISTICS = (
    Statistic("diameter_50", "50 % of the mass", " px square", 1, _diameter(0.5), "ERF 50 %"),
    Statistic("diameter_90", "90 % of the mass", " px square", 1, _diameter(0.9), "90 %"),
    Statistic("diameter_95", "95 % of the mass", " px square", 1, _diameter(0.95), "95 %"),
    SIGMA,
    ANGLE,
    R2,
    Statistic(
        "threshold_size", "threshold size", " px (above 4.55 % of the centre)", 1, lambda field: field.threshold_size()
    ),
    Statistic("effective_pixels", "effective pixels", "", 0, lambda field: field.effective_pixels()),
    Statistic("erf_to_trf", "ERF / TRF", "", 2, _erf_to_trf, "ERF/TRF", False),
)


def summary(field: MeanMap) -> Row:
    """One row of a table, see :meth:`ERFMap.summary`."""
    trf = field.theoretical
    row: Row = {
        "layer": field.layer,
        "position": _plain(field.position),
        "grid": _plain(field.grid),
        "input_size": _plain(field.groups.size),
        "num_samples": field.num_samples,
        "num_dead": field.num_dead,
        "stride": None if trf is None else _plain(trf.stride),
        "trf_size": None if trf is None else _plain(trf.size),
        "outside": trf and trf.outside,
        "center": _plain(field.center),
        "center_source": field.center_source,
    }
    own = {statistic: statistic.of(field) for statistic in STATISTICS}
    _, errors = field.estimate(lambda other: {s: s.near(s.of(other), own[s]) for s in STATISTICS})
    for statistic, value in own.items():
        row |= {statistic.key: value, f"{statistic.key}_se": _plain(errors[statistic])}
    return row


def _plain(values: Any) -> Any:
    """Without NumPy's types, for JSON."""
    if isinstance(values, np.ndarray):
        return values.tolist()
    if isinstance(values, Sequence):
        return [value.item() if isinstance(value, np.generic) else value for value in values]
    return values
