"""How a map's mass grows with the side of a box, and the sides that hold given shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from ..erfmap import ERFMap
from ..result.jackknife import delete_a_group
from ..result.report import number
from ..summaries import RadiusMass

Array = NDArray[np.float64]

SHARES = (0.5, 0.9)
INK = "#3b528b"
SIDE = "side of the box around the unit centre [px]"


def _mass(field: ERFMap) -> RadiusMass | None:
    """None where the map has no shares of its mass, for it has negative values or none at all."""
    try:
        return field.radius_mass()
    except ValueError:
        return None


def _course(mass: RadiusMass) -> tuple[Array, Array]:
    """Sides of the box, and the share inside each."""
    return 2 * mass.radii + 1, mass.mass


def mass_box(field: ERFMap, share: float) -> tuple[tuple[float, float], ...] | None:
    """Per axis the edges of the box that holds a share of the map; None where the map has no shares."""
    mass = _mass(field)
    if mass is None:
        return None
    half = mass.diameter(share) / 2
    return tuple((middle - half, middle + half) for middle in field.center)


@dataclass(frozen=True)
class Curve:
    """Share of the mass in a box of each side in pixels, with standard errors where there are any."""

    sides: Array
    mass: Array
    error: Array | None
    diameters: dict[float, tuple[float, float | None]]

    @classmethod
    def of(cls, field: ERFMap) -> Curve | None:
        """None where the map has no shares of its mass."""
        whole = _mass(field)
        if whole is None:
            return None
        rest = [_mass(other) for other in field.leave_one_out()]
        without = [one for one in rest if one is not None] if None not in rest else []
        diameters = {
            share: (whole.diameter(share), delete_a_group([one.diameter(share) for one in without])) for share in SHARES
        }
        sides, mass = _course(whole)
        errors = standard_errors([np.interp(sides, *_course(one)) for one in without])
        return cls(sides, mass, errors, diameters)

    def size(self, share: float) -> str:
        """The side that holds the share, with its error: ``107.0 ± 0.8``."""
        return number(*self.diameters[share])

    def words(self, share: float) -> str:
        return f"{100 * share:.0f} % of the map in {self.size(share)} px"

    def mass_at(self, side: float) -> float:
        return float(np.interp(side, self.sides, self.mass))

    def draw(self, axes: Axes, colour: Any, label: str | None = None, line: float = 1.4) -> None:
        axes.plot(self.sides, self.mass, color=colour, lw=line, label=label)
        if self.error is not None:
            low, high = self.mass - self.error, self.mass + self.error
            axes.fill_between(self.sides, low, high, color=colour, alpha=0.35, lw=0)


def name_mass(axes: Axes, fields: Sequence[ERFMap], shown: float) -> None:
    """Names the axes of mass curves, which end where the input ends, or with what is shown where that is small."""
    end = float(max(max(field.values.shape) for field in fields))
    axes.set(xlabel=SIDE, ylabel="share of the map inside", xlim=(0, shown if 2 * shown < end else end), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(alpha=0.25, lw=0.5)


def standard_errors(estimates: Sequence[Array]) -> Array | None:
    """Standard errors of several numbers at once, from their values without each group."""
    if len(estimates) < 2:
        return None
    return np.array([delete_a_group(column) for column in np.array(estimates).T], dtype=np.float64)


def half_side(field: ERFMap) -> float:
    """The side that holds half of the map, interpolated between those that occur."""
    sides, mass = _course(field.radius_mass())
    return float(np.interp(0.5, mass, sides))
