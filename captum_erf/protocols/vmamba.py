"""VMamba's ``analyze/erf.py`` (Liu et al., "VMamba: Visual State Space Model", NeurIPS 2024).

The tool draws the fifth root of the map over its maximum. Its squares around ``(H // 2, W // 2)`` hold a share of what
is drawn, not of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..erfmap import ERFMap
from ..summaries.arrays import FloatArray, as_mass_map
from ..text import number
from .protocol import Protocol, ProtocolReport
from .replknet import SHARES, relu_sum, square_around_middle

EXPONENT = 0.2


def fifth_root(values: FloatArray) -> FloatArray:
    """
    What the tool draws of a map: its fifth root over the maximum of that.

    Examples::

        >>> fifth_root(np.array([0.0, 1.0, 32.0]))
        array([0. , 0.5, 1. ])

    Raises:
        UndefinedStatistic: The map is zero everywhere.
    """
    weights = as_mass_map(values)
    roots: FloatArray = np.power(weights / weights.max(), EXPONENT)
    return roots


@dataclass(frozen=True)
class DrawnSquare:
    r"""
    The smallest square that holds a share.

    Attributes:
        share (float): The share t.
        side (int or None), area (float or None): Of the fifth root, around ``(H // 2, W // 2)``: side of the square in
            pixels, and its area over the input's. None where no square inside the input holds as much.
        map_side (float), map_area (float): Of the map itself, around the unit centre; continuous.
    """

    share: float
    side: int | None
    area: float | None
    map_side: float
    map_area: float
    map_area_se: float | None


@dataclass(frozen=True, repr=False)
class VMambaReport(ProtocolReport):
    r"""
    The squares of VMamba's figure.

    Attributes:
        rows (tuple[DrawnSquare, ...]): One for each share, 0.2, 0.3, 0.5 and 0.99.
        half_drawn (float): Share of the map in pixels that the figure draws at half of its scale or more, which is
            1/32 of the maximum.
    """

    protocol = "VMAMBA"
    source = "VMamba's analyze/erf.py"

    rows: tuple[DrawnSquare, ...]
    half_drawn: float
    half_drawn_se: float | None

    @staticmethod
    def _measure(field: ERFMap) -> dict[str, Any]:
        values = field.values
        return {"half_drawn": float(values[fifth_root(values) >= 0.5].sum() / values.sum())}

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        return {"rows": tuple(_row(field, share) for share in SHARES)}

    def _lines(self) -> list[str]:
        return [
            "         (A / max A)^0.2, input's middle  A itself, unit centre",
            "  t      side    share of input           side    share of input",
            *(
                f"  {row.share:<6g} {row.side or 'none':<7} {number(row.area, digits=4):<24} "
                f"{row.map_side:<7.1f} {number(row.map_area, row.map_area_se, 4)}"
                for row in self.rows
            ),
            f"  Pixels at half of the figure's scale or more, 1/32 of the maximum, hold "
            f"{number(self.half_drawn, self.half_drawn_se, 3)} of A.",
        ]


def _row(field: ERFMap, share: float) -> DrawnSquare:
    def measure(field: ERFMap) -> dict[str, Any]:
        side, area = square_around_middle(fifth_root(field.values), share)
        map_side, map_area = field.square_share(share)
        return {"side": side, "area": area, "map_side": map_side, "map_area": map_area}

    values, errors = field.estimate(measure)
    return DrawnSquare(share, **values, map_area_se=errors["map_area"])


VMAMBA = Protocol({"channel": relu_sum, "magnitude": "positive"}, VMambaReport, central=True)
