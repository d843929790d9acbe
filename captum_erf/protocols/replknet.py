"""Ding et al., "Scaling Up Your Kernels to 31x31", CVPR 2022, table 8: what share of the input a square must cover.

The tool sums squares of log10(A + 1) around ``(H // 2, W // 2)``, where A is the positive part of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from .. import summaries
from ..erfmap import ERFMap
from ..names import named
from ..summaries.arrays import FloatArray
from ..text import number
from .protocol import Protocol, ProtocolReport

SHARES = (0.2, 0.3, 0.5, 0.99)


@named("captum_erf.protocols.relu_sum")
def relu_sum(values: Tensor) -> Tensor:
    """Sum over channels of the rectified values of a unit ``(N, C)``."""
    return values.relu().sum(1)


def log_square(values: FloatArray, share: float) -> tuple[int, float] | tuple[None, None]:
    """Side of the square around ``(H // 2, W // 2)`` that holds more than a share of log10(A + 1), and its area."""
    return square_around_middle(np.log1p(values), share)


def square_around_middle(values: FloatArray, share: float) -> tuple[int, float] | tuple[None, None]:
    """Side of the square around ``(H // 2, W // 2)`` that holds more than a share of a map, and its area.

    It is the smallest square of side 3, 5, ...; the area is over that of the input. As in the tool, a square reaches
    less than ``H // 2`` pixels from its centre; None where none of these holds as much.
    """
    curve = summaries.stepped_radius_mass(values, [length // 2 for length in values.shape])
    for radius, mass in zip(curve.radii, curve.mass, strict=True):
        if 1 <= radius < min(values.shape) // 2 and mass > share:
            side = 2 * int(radius) + 1
            return side, side**values.ndim / values.size
    return None, None


@dataclass(frozen=True)
class SquareRow:
    r"""
    The smallest square that holds a share of the map.

    Attributes:
        share (float): The share t.
        side (int or None), area (float or None): Of the map log10(A + 1), around ``(H // 2, W // 2)``: side of the
            square in pixels, and its area over the input's. None where no square inside the input holds as much.
        scale_free_side (float), scale_free_area (float): Of the map itself, around the unit centre; continuous.
    """

    share: float
    side: int | None
    area: float | None
    scale_free_side: float
    scale_free_area: float
    scale_free_area_se: float | None


@dataclass(frozen=True, repr=False)
class RepLKNetReport(ProtocolReport):
    r"""
    Ding et al., CVPR 2022, table 8.

    Attributes:
        rows (tuple[SquareRow, ...]): One for each share, 0.2, 0.3, 0.5 and 0.99.
        area_of_larger_gradients (float or None): What the first row's area would be if all gradients were 1e4 times as
            large: log10(A + 1) is not scale-free.
    """

    protocol = "REPLKNET"
    source = "Ding et al., CVPR 2022"

    rows: tuple[SquareRow, ...]
    area_of_larger_gradients: float | None

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        return {
            "rows": tuple(_row(field, share) for share in SHARES),
            "area_of_larger_gradients": log_square(1e4 * field.values, SHARES[0])[1],
        }

    def _lines(self) -> list[str]:
        first = self.rows[0]
        return [
            "         log10(A + 1), input's middle     A itself, unit centre",
            "  t      side    share of input           side    share of input",
            *(
                f"  {row.share:<6g} {row.side or 'none':<7} {number(row.area, digits=4):<24} "
                f"{row.scale_free_side:<7.1f} {number(row.scale_free_area, row.scale_free_area_se, 4)}"
                for row in self.rows
            ),
            f"  Warning: log10(A + 1) is not scale-free. With gradients 1e4 times as large the share of input at t = "
            f"{first.share:g} is {number(self.area_of_larger_gradients, digits=4)},",
            f"  not {number(first.area, digits=4)}. To compare networks, use the columns on the right.",
        ]


def _row(field: ERFMap, share: float) -> SquareRow:
    def measure(field: ERFMap) -> dict[str, Any]:
        side, area = log_square(field.values, share)
        free_side, free_area = field.square_share(share)
        return {"side": side, "area": area, "scale_free_side": free_side, "scale_free_area": free_area}

    values, errors = field.estimate(measure)
    return SquareRow(share, **values, scale_free_area_se=errors["scale_free_area"])


REPLKNET = Protocol({"channel": relu_sum, "magnitude": "positive"}, RepLKNetReport, central=True)
