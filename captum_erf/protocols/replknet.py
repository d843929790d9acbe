"""Ding et al., "Scaling Up Your Kernels to 31x31", CVPR 2022, table 8: what share of the input a square must cover.

The tool sums squares of log10(A + 1) around ``(H // 2, W // 2)``, where A is the positive part of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..erfmap import ERFMap
from ..text import number
from .protocol import Protocol, ProtocolReport
from .squares import SHARES, SquareRow, relu_sum, square_around_middle, square_lines, square_rows

GRADIENTS = 1e4  # how many times as large they are taken to be, for the warning


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
            "rows": square_rows(field, np.log1p),
            "area_of_larger_gradients": square_around_middle(np.log1p(GRADIENTS * field.values), SHARES[0])[1],
        }

    def _lines(self) -> list[str]:
        first = self.rows[0]
        return [
            *square_lines("log10(A + 1), input's middle", self.rows),
            f"  Warning: log10(A + 1) is not scale-free. With gradients 1e4 times as large the share of input at t = "
            f"{first.share:g} is {number(self.area_of_larger_gradients, digits=4)},",
            f"  not {number(first.area, digits=4)}. To compare networks, use the columns on the right.",
        ]


REPLKNET = Protocol({"channel": relu_sum, "magnitude": "positive"}, RepLKNetReport, central=True)
