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
from .squares import SquareRow, relu_sum, square_lines, square_rows

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
    roots: FloatArray = np.power(as_mass_map(values), EXPONENT)
    return roots


@dataclass(frozen=True, repr=False)
class VMambaReport(ProtocolReport):
    r"""
    The squares of VMamba's figure.

    Attributes:
        rows (tuple[SquareRow, ...]): One for each share, 0.2, 0.3, 0.5 and 0.99.
        half_drawn (float): Share of the map in pixels that the figure draws at half of its scale or more, which is
            1/32 of the maximum.
    """

    protocol = "VMAMBA"
    source = "VMamba's analyze/erf.py"

    rows: tuple[SquareRow, ...]
    half_drawn: float
    half_drawn_se: float | None

    @staticmethod
    def _measure(field: ERFMap) -> dict[str, Any]:
        values = field.values
        return {"half_drawn": float(values[fifth_root(values) >= 0.5].sum() / values.sum())}

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        return {"rows": square_rows(field, fifth_root)}

    def _lines(self) -> list[str]:
        return [
            *square_lines("(A / max A)^0.2, input's middle", self.rows),
            f"  Pixels at half of the figure's scale or more, 1/32 of the maximum, hold "
            f"{number(self.half_drawn, self.half_drawn_se, 3)} of A.",
        ]


VMAMBA = Protocol({"channel": relu_sum, "magnitude": "positive"}, VMambaReport, central=True)
