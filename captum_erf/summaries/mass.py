"""How much of a map lies in a box of each side: sizes that every network has.

The map is a density, even over each pixel's square, so that every size is a continuous number. No centre is needed:
the box lies wherever it holds most. Positions are in pixels, one per axis; 0 is the middle of the first pixel.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, as_mass_map, as_position, margins
from .cubes import Cubes
from .growth import Boxes, Interval
from .pinned import Balls, PinnedCubes

METRICS = ("chebyshev", "euclidean")


class RadiusMass:
    """
    The largest share of a map's sum in a box of each side; :func:`radius_mass` makes it.

    Args:
        boxes (Boxes): The family of boxes, or balls, of which the best of each side counts.
        metric (str): ``"chebyshev"`` or ``"euclidean"``.

    Attributes:
        metric (str): ``"chebyshev"`` for boxes, ``"euclidean"`` for balls, whose sides are their diameters.
        sides (ndarray): Sides in pixels, ascending: whole ones for boxes anywhere, those at which a face meets a
            pixel's face for boxes around a point, every quarter pixel for balls.
        mass (ndarray): Largest share in a box of each of these sides.
        beyond (ndarray): Share outside that box, added up from the outside so that faint tails are not rounded off.

    Examples::

        >>> curve = radius_mass(np.ones((4, 4)))
        >>> round(curve.diameter(0.25), 6), round(curve.radius(0.25), 6), round(curve.mass_at(2), 6)
        (2.0, 1.0, 0.25)
        >>> round(curve.equivalent_width(), 6), round(curve.tail_ratio(), 3)
        (4.0, 1.342)
    """

    def __init__(self, boxes: Boxes, metric: str = "chebyshev"):
        self.metric = metric
        self._boxes = boxes
        self._reached: dict[float, tuple[int, float]] = {}

    @property
    def sides(self) -> FloatArray:
        return self._boxes.sides

    @cached_property
    def beyond(self) -> FloatArray:
        return self._boxes.curve()

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
        growth = self._boxes.growth(step, self._boxes.outside(step))
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
        return self._boxes.side(*self._reach(share))

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

            >>> radius_mass([0.0, 1.0, 2.0, 1.0, 0.0, 0.0]).box(0.5)
            [(1.5, 2.5)]
        """
        return self._boxes.place(*self._reach(share))

    def equivalent_width(self) -> float:
        """Side of the even cube with the same mean reach, see :func:`equivalent_width`."""
        integral = self.sides[0] + np.diff(self.sides) @ self._boxes.averages()
        return float((1 + 1 / self._boxes.num_dims) * integral)

    def tail_ratio(self) -> float:
        """How long the tails are against the core, see :func:`tail_ratio`."""
        return self.diameter(0.9) / self.diameter(0.5)

    def _reach(self, share: float) -> tuple[int, float]:
        if not 0 < share <= 1:
            raise ValueError(f"got share {share}; expected a share of the map's sum, above 0 and up to 1")
        if share not in self._reached:
            self._reached[share] = self._boxes.reach(share)
        return self._reached[share]

    def __repr__(self) -> str:
        widths = ", ".join(f"{share:.0%} within {self.diameter(share):.4g} px" for share in (0.5, 0.9, 0.95))
        return f"RadiusMass({self.metric}: {widths})"


def radius_mass(values: ArrayLike, center: Sequence[float] | None = None, metric: str = "chebyshev") -> RadiusMass:
    """
    Gives the largest share of a map's sum in a box of each side.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        center (sequence of float): Pixel position per axis around which all boxes lie; it may be outside the map. None
            for boxes wherever they hold most.
        metric (str): ``"chebyshev"`` for axis-parallel boxes, comparable with a theoretical receptive field, or
            ``"euclidean"`` for balls around a centre. A ball takes in each pixel evenly, from half a pixel before its
            middle to half a pixel after it: no jumps, and right to 1 % from a radius of 4 pixels on.

    Returns:
        *RadiusMass*. It works sizes out when they are asked for.

    Raises:
        ValueError: The map is zero everywhere, has negative or non-finite values, or does not suit the centre; or there
            is no centre for balls.

    Examples::

        >>> curve = radius_mass([[0, 1, 0], [1, 4, 1], [0, 1, 0]])
        >>> curve.sides, curve.mass
        (array([0., 1., 2., 3.]), array([0.  , 0.5 , 0.75, 1.  ]))
        >>> curve
        RadiusMass(chebyshev: 50% within 1 px, 90% within 2.6 px, 95% within 2.8 px)
    """
    if metric not in METRICS:
        raise ValueError(f"got metric {metric!r}; expected 'chebyshev' or 'euclidean'")
    weights = as_mass_map(values)
    weights = weights / weights.sum()
    if center is None and metric == "euclidean":
        raise ValueError("got metric 'euclidean' and no center; expected a center, around which distances are measured")
    if center is None:
        return RadiusMass(Cubes(weights))
    position = as_position(center, weights.ndim)
    return RadiusMass(Balls(weights, position) if metric == "euclidean" else PinnedCubes(weights, position), metric)


def equivalent_width(values: ArrayLike) -> float:
    """
    Gives the side of the even cube with the same mean reach: a size without a threshold or a fit.

    It is (D + 1) / D times the integral over s of 1 - mass(s), where mass(s) is the largest share in a box of side s.
    Between whole sides the share of a box is a polynomial of degree D, for which the quadrature (two points of Gauss
    and Legendre in each eighth) is exact. Where the best box changes place in between it is not: on networks' maps by
    up to 1e-6 of the width, on a few pixels of noise by up to 5e-5.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.

    Returns:
        *float*, in pixels; an even map k pixels wide has k.

    Raises:
        ValueError: The map is zero everywhere, or has negative or non-finite values.

    Examples::

        >>> round(equivalent_width([[1, 1, 1], [1, 1, 1], [1, 1, 1]]), 9)
        3.0
    """
    return radius_mass(values).equivalent_width()


def tail_ratio(values: ArrayLike) -> float:
    """
    Gives how long the tails of a map are against its core: diameter(0.9) / diameter(0.5).

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.

    Returns:
        *float*: 1.342 for an even square, 1.853 for a Gaussian with two axes, more for a narrow core on wide tails.

    Raises:
        ValueError: The map is zero everywhere, or has negative or non-finite values.

    Examples::

        >>> round(tail_ratio([[1, 1, 1], [1, 1, 1], [1, 1, 1]]), 3)
        1.342
    """
    return radius_mass(values).tail_ratio()


def extent(values: ArrayLike, share: float) -> list[Interval]:
    """
    Gives, for each axis, the shortest interval that holds a share of the map, whatever lies along the other axes.

    One of its ends lies on a pixel's face, and may jump to another face where the map changes a little; its length
    does not jump.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        share (float): Share of the map's sum, above 0 and up to 1.

    Returns:
        *list* of ``(lower, upper)`` in pixel coordinates, one for each axis.

    Raises:
        ValueError: The share is out of bounds, or the map is zero everywhere, or has negative or non-finite values.

    Examples::

        >>> extent([[1, 1, 1, 1], [0, 0, 0, 0]], 0.5)
        [(-0.25, 0.25), (0.5, 2.5)]
    """
    return [radius_mass(margin).box(share)[0] for margin in margins(as_mass_map(values))]
