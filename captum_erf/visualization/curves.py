"""How a map's mass grows with the side of a box, and the sides that hold given shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from ..result.mean_map import MeanMap
from ..result.statistics import DIAMETERS
from ..summaries import UndefinedStatistic
from ..text import number

Array = NDArray[np.float64]

SHARES = (0.5, 0.9)  # that figures tell the boxes of
INK = "#3b528b"
SIDE = "side of the box [px]"


def _course(field: MeanMap) -> tuple[Array, Array]:
    """Sides of the box, and the share of the map inside each."""
    mass = field.radius_mass()
    return mass.sides, mass.mass


def mass_box(field: MeanMap, share: float) -> tuple[tuple[float, float], ...] | None:
    """Per axis the edges of the smallest box that holds a share of the map; None where the map has no shares."""
    try:
        return tuple(field.radius_mass().box(share))
    except UndefinedStatistic:
        return None


@dataclass(frozen=True)
class Curve:
    """Share of the mass in a box of each side in pixels, with standard errors where there are any."""

    sides: Array
    mass: Array
    error: Array | None
    diameters: dict[float, tuple[float, float | None]]

    @classmethod
    def of(cls, field: MeanMap) -> Curve | None:
        """None where the map has no shares of its mass, for it has negative values or none at all."""
        try:
            sides, _ = _course(field)
        except UndefinedStatistic:
            return None

        def course(field: MeanMap) -> dict[Any, Any]:
            held = {share: DIAMETERS[share].formula(field) for share in SHARES}
            return {"mass": np.interp(sides, *_course(field)), **held}

        values, errors = field.estimate(course)
        return cls(sides, values["mass"], errors["mass"], {share: (values[share], errors[share]) for share in SHARES})

    def size(self, share: float) -> str:
        """The side that holds the share, with its error: ``107.0 ± 0.8``."""
        return number(*self.diameters[share], DIAMETERS[share].digits)

    def words(self, share: float) -> str:
        return f"{100 * share:.0f} % of the map in {self.size(share)} px"

    def draw(self, axes: Axes, colour: Any, label: str | None = None, line: float = 1.4) -> None:
        axes.plot(self.sides, self.mass, color=colour, lw=line, label=label)
        if self.error is not None:
            low, high = self.mass - self.error, self.mass + self.error
            axes.fill_between(self.sides, low, high, color=colour, alpha=0.35, lw=0)


def is_signed(fields: Sequence[MeanMap]) -> bool:
    """Whether a map has negative values, so that colours must have a middle."""
    return any(float(field.values.min()) < 0 for field in fields)


def has_errors(field: MeanMap) -> bool:
    """Whether there are groups of samples to tell the errors from."""
    return any(True for _ in field.leave_one_out())


def name_mass(axes: Axes, fields: Sequence[MeanMap], shown: float) -> None:
    """Names the axes of mass curves, which end where the input ends, or with what is shown where that is small."""
    end = float(max(max(field.values.shape) for field in fields))
    axes.set(xlabel=SIDE, ylabel="share of the map", xlim=(0, shown if 2 * shown < end else end), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(alpha=0.25, lw=0.5)
