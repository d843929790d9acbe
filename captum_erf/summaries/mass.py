"""How much of a map lies in a box of each side: sizes that every network has.

The map is a density, even over each pixel's square, so that every size is a continuous number. No centre is needed:
the box lies wherever it holds most. Positions are in pixels, one per axis; 0 is the middle of the first pixel.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from functools import cached_property

import numpy as np

from .arrays import FloatArray
from .growth import Growth

ROUNDING = 1e-12  # a box that holds a share but for this much of it holds it

PANELS = 8
NODES = np.ravel(np.arange(PANELS)[:, None] + 0.5 + np.array([-1, 1]) * 12**-0.5) / PANELS  # of Gauss and Legendre

Interval = tuple[float, float]


class RadiusMass(ABC):
    """
    The largest share of a map's sum in a box of each side; :func:`radius_mass` makes it.

    Attributes:
        metric (str): ``"chebyshev"`` for boxes, ``"euclidean"`` for balls, whose sides are their diameters.
        num_dims (int): Axes of the map.
        sides (ndarray): Sides in pixels, ascending: whole ones for boxes anywhere, those at which a face meets a
            pixel's face for boxes around a point, every quarter pixel for balls. In between, boxes grow evenly.
        mass (ndarray): Largest share in a box of each of these sides.
        beyond (ndarray): Share outside that box, added up from the outside so that faint tails are not rounded off.

    Examples::

        >>> from captum_erf.summaries import radius_mass
        >>> curve = radius_mass(np.ones((4, 4)))
        >>> round(curve.diameter(0.25), 6), round(curve.radius(0.25), 6), round(curve.mass_at(2), 6)
        (2.0, 1.0, 0.25)
        >>> round(curve.equivalent_width(), 6), round(curve.tail_ratio(), 3)
        (4.0, 1.342)
    """

    metric = "chebyshev"
    num_dims: int
    sides: FloatArray
    beyond: FloatArray

    @abstractmethod
    def _growth(self, step: int, most: float) -> Growth:
        """The boxes from one side to the next; those that leave more than a share outside at its end may be missing."""

    @abstractmethod
    def _place(self, step: int, grown: float) -> list[Interval]:
        """The best box with a part of a step grown, for each axis as an interval in pixel coordinates."""

    def _outside(self, step: int) -> float:
        """The share outside the best box of one side; where that is faster, without the others."""
        return float(self.beyond[step])

    @cached_property
    def _reached(self) -> dict[float, tuple[int, float]]:
        return {}

    @property
    def mass(self) -> FloatArray:
        mass: FloatArray = 1 - self.beyond
        return mass

    def mass_at(self, side: float) -> float:
        """
        The largest share in a box of one side.

        Args:
            side (float): In pixels, from 0; any number, not only a whole one.

        Returns:
            *float*, from 0 to 1.

        Raises:
            ValueError: The side is below 0 or no number.

        Examples::

            >>> from captum_erf.summaries import radius_mass
            >>> round(radius_mass(np.ones((4, 4))).mass_at(2.5), 6)
            0.390625
        """
        if not side >= 0:
            raise ValueError(f"got side {side}; expected a length in pixels, from 0")
        step = int(np.searchsorted(self.sides, side, side="right")) - 1
        if step < 0:
            return 0.0
        if step == len(self.sides) - 1:
            return 1.0
        start, end = self.sides[step : step + 2]
        growth = self._growth(step, self._outside(step))
        return 1 - float(growth.outside((side - start) / (end - start)).min())

    def diameter(self, share: float) -> float:
        """
        The smallest side of a box that holds a share of the sum: exact, and continuous.

        Args:
            share (float): Above 0 and up to 1. A box that holds it but for 1e-12, the rounding of sums, holds it.

        Returns:
            *float*, in pixels: ``k * share ** (1 / D)`` for an even map k pixels wide.

        Raises:
            ValueError: The share is out of bounds.
        """
        return self._side(*self._reach(share))

    def radius(self, share: float) -> float:
        """
        Half of :meth:`diameter`.

        Args:
            share (float): Above 0 and up to 1.

        Returns:
            *float*, in pixels.
        """
        return self.diameter(share) / 2

    def box(self, share: float) -> list[Interval]:
        """
        The box of :meth:`diameter`: of several that are alike, the one in their middle where that is as good.

        The best box has a face on a pixel's face along every axis. So its place moves by whole pixels where its side
        moves smoothly, and a jackknife over places says little.

        Args:
            share (float): Above 0 and up to 1.

        Returns:
            *list* of ``(lower, upper)`` in pixel coordinates, one for each axis; around the ball for balls. Along an
            axis on which the map is shorter, the box lies evenly around the map.

        Raises:
            ValueError: The share is out of bounds.

        Examples::

            >>> from captum_erf.summaries import radius_mass
            >>> radius_mass([0.0, 1.0, 2.0, 1.0, 0.0, 0.0]).box(0.5)
            [(1.5, 2.5)]
        """
        return self._place(*self._reach(share))

    def equivalent_width(self) -> float:
        """Side of the even cube with the same mean reach: (D + 1) / D times the integral over s of 1 - mass(s)."""
        integral = self.sides[0] + np.diff(self.sides) @ self._averages()
        return float((1 + 1 / self.num_dims) * integral)

    def tail_ratio(self) -> float:
        """How long the tails are against the core: diameter(0.9) / diameter(0.5)."""
        return self.diameter(0.9) / self.diameter(0.5)

    def _reach(self, share: float) -> tuple[int, float]:
        """The step, and the part of it grown, at which a box first holds a share."""
        if not 0 < share <= 1:
            raise ValueError(f"got share {share}; expected a share of the map's sum, above 0 and up to 1")
        if share not in self._reached:
            most = 1 - share
            nearly = most + ROUNDING * min(share, most)
            holds = bisect_left(range(len(self.sides)), True, key=lambda step: self._outside(step) <= nearly)
            self._reached[share] = holds - 1, self._growth(holds - 1, nearly).least(most)
        return self._reached[share]

    def _side(self, step: int, grown: float) -> float:
        """The side with a part of a step grown."""
        start, end = self.sides[step : step + 2]
        return float(start + grown * (end - start))

    def _averages(self) -> FloatArray:
        """The smallest share outside, averaged over each step."""
        starts = self.beyond[:-1]
        growths = (self._growth(step, float(start)) for step, start in enumerate(starts) if start > 0)
        averages = np.zeros(len(starts))
        averages[starts > 0] = [growth.outside(NODES).min(-1).mean() for growth in growths]
        return averages

    def __repr__(self) -> str:
        widths = ", ".join(f"{share:.0%} within {self.diameter(share):.4g} px" for share in (0.5, 0.9, 0.95))
        return f"RadiusMass({self.metric}: {widths})"
