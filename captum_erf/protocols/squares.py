"""Squares around the middle of the input that hold a share of what a tool draws, as RepLKNet and VMamba count them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .. import summaries
from ..erfmap import ERFMap
from ..names import named
from ..summaries.arrays import FloatArray
from ..text import number

SHARES = (0.2, 0.3, 0.5, 0.99)


@named("captum_erf.protocols.relu_sum")
def relu_sum(values: Tensor) -> Tensor:
    """Sum over channels of the rectified values of a unit ``(N, C)``."""
    return values.relu().sum(1)


@dataclass(frozen=True)
class SquareRow:
    r"""
    The smallest square that holds a share.

    Attributes:
        share (float): The share t.
        side (int or None), area (float or None): Of what the tool draws, around ``(H // 2, W // 2)``: side of the
            square in pixels, and its area over the input's. None where no square inside the input holds as much.
        scale_free_side (float), scale_free_area (float): Of the map itself, around the unit centre; continuous.
    """

    share: float
    side: int | None
    area: float | None
    scale_free_side: float
    scale_free_area: float
    scale_free_area_se: float | None


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


def square_rows(field: ERFMap, drawn: Callable[[FloatArray], FloatArray]) -> tuple[SquareRow, ...]:
    """A row for each share, for a tool that draws a function of the map."""
    picture = drawn(field.values)
    squares = [square_around_middle(picture, share) for share in SHARES]
    free, errors = field.estimate(lambda field: np.array([field.square_share(share) for share in SHARES]))
    errors = [None] * len(SHARES) if errors is None else errors[:, 1].tolist()
    columns = (SHARES, *zip(*squares, strict=True), *free.T.tolist(), errors)
    return tuple(map(SquareRow, *columns))


def square_lines(drawn: str, rows: Sequence[SquareRow]) -> list[str]:
    """The rows as lines of a report, beneath what the tool draws."""
    return [
        f"         {drawn:<33}A itself, unit centre",
        "  t      side    share of input           side    share of input",
        *(
            f"  {row.share:<6g} {row.side or 'none':<7} {number(row.area, digits=4):<24} "
            f"{row.scale_free_side:<7.1f} {number(row.scale_free_area, row.scale_free_area_se, 4)}"
            for row in rows
        ),
    ]
