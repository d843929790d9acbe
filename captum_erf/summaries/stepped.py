"""The share of a map within each distance of a centre, as other tools count it: by whole pixels.

A pixel counts from where its middle is reached. Sizes so counted jump; :mod:`.mass` has continuous ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, as_center, as_mass_map, offsets

METRICS = {"chebyshev": 1, "euclidean": 2}  # the power of the distance that is whole on half pixels


@dataclass(frozen=True, eq=False)
class SteppedRadiusMass:
    """
    The share of a map's sum within each distance of a centre.

    Attributes:
        radii (ndarray): Every distance that occurs between the centre and a pixel's middle, ascending, in pixels.
        mass (ndarray): Share of the sum within each of these distances; the last is 1.
        beyond (ndarray): Share outside each, added up from the outside so that faint tails are not rounded off.
    """

    radii: FloatArray
    mass: FloatArray
    beyond: FloatArray

    def radius(self, share: float) -> float:
        """
        The smallest distance that occurs and holds at least a share of the sum.

        Args:
            share (float): Above 0 and up to 1. Shares are compared to a billionth, for the rounding of sums.

        Returns:
            *float*, in pixels.

        Raises:
            ValueError: The share is out of bounds.

        Examples::

            >>> stepped_radius_mass([0, 1, 4, 1, 0], (2,)).radius(0.9)
            1.0
        """
        if not 0 < share <= 1:
            raise ValueError(f"got share {share}; expected a share of the map's sum, above 0 and up to 1")
        return float(self.radii[np.argmax(self.beyond <= (1 - share) * (1 + 1e-9))])

    def diameter(self, share: float) -> float:
        """
        The side of the box (Euclidean: the width of the disc) of :meth:`radius`: 2 radius + 1.

        Args:
            share (float): Above 0 and up to 1.

        Returns:
            *float*, in pixels.

        Examples::

            >>> stepped_radius_mass([0, 1, 4, 1, 0], (2,)).diameter(0.9)
            3.0
        """
        return 2 * self.radius(share) + 1


def stepped_radius_mass(values: ArrayLike, center: Sequence[float], metric: str = "chebyshev") -> SteppedRadiusMass:
    """
    Gives the share of a map's sum within each distance of a centre, by whole pixels.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        center (sequence of float): Pixel position per axis; it may lie outside the map.
        metric (str): ``"chebyshev"`` (half the side of a box) or ``"euclidean"``.

    Returns:
        *SteppedRadiusMass* with the distances and shares.

    Raises:
        ValueError: The map is zero everywhere, has negative or non-finite values, or does not suit the centre.

    Examples::

        >>> curve = stepped_radius_mass([[0, 1, 0], [1, 4, 1], [0, 1, 0]], (1, 1))
        >>> curve.radii, curve.mass
        (array([0., 1.]), array([0.5, 1. ]))
        >>> curve.diameter(0.9)
        3.0
    """
    if metric not in METRICS:
        raise ValueError(f"got metric {metric!r}; expected 'chebyshev' or 'euclidean'")
    weights = as_mass_map(values)
    radii, sums = _shells(weights, as_center(center, weights.ndim), metric)
    outward, inward = np.cumsum(sums), np.cumsum(sums[::-1])[::-1]
    mass = np.append(outward[:-1] / outward[-1], 1.0)
    return SteppedRadiusMass(radii, mass, np.append(inward[1:], 0.0) / inward[0])


def _shells(weights: FloatArray, center: FloatArray, metric: str) -> tuple[FloatArray, FloatArray]:
    """The distances that occur, ascending, and the sum at each."""
    power = METRICS[metric]
    steps = [np.abs(2 * distance) ** power for distance in offsets(weights.shape, center, [1] * weights.ndim)]
    keys = reduce(np.add if metric == "euclidean" else np.maximum, steps)
    distinct, index = np.unique(keys.round(9), return_inverse=True)
    sums = np.bincount(index.ravel(), weights.ravel())
    return distinct ** (1 / power) / 2, np.asarray(sums, dtype=np.float64)
