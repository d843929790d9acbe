"""Sizes of a map, as pure functions on an array and a centre.

Box mass, moments, and the sizes that other papers report: the threshold size of Luo et al. (NeurIPS 2016) and the
square share of Ding et al. (RepLKNet, CVPR 2022). Positions are in
pixels, one per axis of the array; 0 is the middle of the first pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from ..text import listed
from .arrays import Ellipse, FloatArray, as_mass_map, as_position, offsets

METRICS = {"chebyshev": 1, "euclidean": 2}  # the power of the distance that is whole on half pixels


@dataclass(frozen=True, eq=False, repr=False)
class RadiusMass:
    """
    The share of a map's sum within each distance of a centre.

    Attributes:
        radii (ndarray): Every distance that occurs between the centre and a pixel, ascending, in pixels.
        mass (ndarray): Share of the sum within each of these distances; the last is 1.
        beyond (ndarray): Share outside each, added up from the outside so that faint tails are not rounded off.
        metric (str): ``"chebyshev"`` (half the side of a box) or ``"euclidean"``.
    """

    radii: FloatArray
    mass: FloatArray
    beyond: FloatArray
    metric: str

    def radius(self, share: float) -> float:
        """
        The smallest distance that occurs and holds at least a share of the sum.

        Args:
            share (float): Above 0 and up to 1. Shares are compared to a billionth, for the rounding of sums.

        Returns:
            *float*, in pixels.

        Raises:
            ValueError: The share is out of bounds.
        """
        if not 0 < share <= 1:
            raise ValueError(f"got share {share}; expected a share of the map's sum, above 0 and up to 1")
        return float(self.radii[np.argmax(self.beyond <= (1 - share) * (1 + 1e-9))])

    def diameter(self, share: float) -> float:
        """The side in pixels of the box (Euclidean: the width of the disc) of :meth:`radius`: 2 radius + 1."""
        return 2 * self.radius(share) + 1

    def __repr__(self) -> str:
        widths = ", ".join(f"{share:.0%} within {self.diameter(share):.4g} px" for share in (0.5, 0.9, 0.95))
        return f"RadiusMass({self.metric}: {widths})"


def radius_mass(values: ArrayLike, center: Sequence[float], metric: str = "chebyshev") -> RadiusMass:
    """
    Gives the share of a map's sum within each distance of a centre.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        center (sequence of float): Pixel position per axis; it may lie outside the map.
        metric (str): ``"chebyshev"``, comparable with the box of a theoretical receptive field, or ``"euclidean"``.

    Returns:
        *RadiusMass* with the distances and shares.

    Raises:
        ValueError: The map is zero everywhere, has negative or non-finite values, or does not suit the centre.

    Examples::

        >>> curve = radius_mass([[0, 1, 0], [1, 4, 1], [0, 1, 0]], (1, 1))
        >>> curve.radii, curve.mass
        (array([0., 1.]), array([0.5, 1. ]))
        >>> curve
        RadiusMass(chebyshev: 50% within 1 px, 90% within 3 px, 95% within 3 px)
    """
    if metric not in METRICS:
        raise ValueError(f"got metric {metric!r}; expected 'chebyshev' or 'euclidean'")
    weights = as_mass_map(values)
    radii, sums = _shells(weights, as_position(center, weights.ndim), metric)
    outward, inward = np.cumsum(sums), np.cumsum(sums[::-1])[::-1]
    mass = np.append(outward[:-1] / outward[-1], 1.0)
    return RadiusMass(radii, mass, np.append(inward[1:], 0.0) / inward[0], metric)


def _shells(weights: FloatArray, center: FloatArray, metric: str) -> tuple[FloatArray, FloatArray]:
    """The distances that occur, ascending, and the sum at each; on half pixels they are counted, not sorted."""
    power = METRICS[metric]
    steps = [np.abs(2 * distance) ** power for distance in offsets(weights.shape, center, [1] * weights.ndim)]
    keys = reduce(np.add if metric == "euclidean" else np.maximum, steps)
    lowest = keys.min()
    if (2 * center % 1 == 0).all() and np.ptp(keys) < 8 * keys.size:
        index = (keys - lowest).astype(np.int64)
        distinct = np.flatnonzero(np.bincount(index.ravel())) + lowest
        sums = np.bincount(index.ravel(), weights.ravel())[(distinct - lowest).astype(np.int64)]
    else:
        distinct, index = np.unique(keys.round(9), return_inverse=True)
        sums = np.bincount(index.ravel(), weights.ravel())
    return distinct ** (1 / power) / 2, np.asarray(sums, dtype=np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Moments(Ellipse):
    """
    First and second moments of a map taken as a distribution over pixels.

    Attributes:
        centroid (ndarray): Mean position per axis, in pixels.
        covariance (ndarray): Of shape ``(D, D)``, in squared pixels.
        sigmas (ndarray): Square roots of the covariance's eigenvalues in pixels, largest first.
        angle (float or None): Direction of the longest axis in degrees, as in :class:`ShapeFit`.
    """

    centroid: FloatArray
    covariance: FloatArray

    def __repr__(self) -> str:
        return f"Moments(centroid {listed(self.centroid)} px; {self._axes()})"


def moments(values: ArrayLike) -> Moments:
    """
    Gives the centroid and covariance of a map.

    A faint background widens them strongly; :func:`gaussian_fit` separates it.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.

    Returns:
        *Moments*, in pixels.

    Raises:
        ValueError: The map is zero everywhere, or has negative or non-finite values.

    Examples::

        >>> moments([[0, 0, 0, 0], [1, 1, 1, 1]])
        Moments(centroid 1, 1.5 px; sigmas 1.118, 0 px; angle 0 degrees)
    """
    weights = as_mass_map(values)
    weights = weights / weights.sum()
    axes = range(weights.ndim)
    places = offsets(weights.shape, [0] * weights.ndim, [1] * weights.ndim)
    centroid = np.array([(weights * place).sum() for place in places])
    distances = offsets(weights.shape, centroid, [1] * weights.ndim)
    covariance = np.array([[(weights * distances[i] * distances[j]).sum() for j in axes] for i in axes])
    return Moments(centroid, covariance)


def margins(values: FloatArray) -> list[FloatArray]:
    """Sums of a map along all axes but one, axis by axis."""
    axes = range(values.ndim)
    return [values.sum(tuple(other for other in axes if other != axis)) for axis in axes]


def second_moments(values: FloatArray, center: Sequence[float]) -> FloatArray:
    """Mean squared distance from a centre along each axis."""
    lines = zip(margins(values), center, strict=True)
    sums = [(line * np.square(np.arange(len(line)) - middle)).sum() for line, middle in lines]
    return np.asarray(np.array(sums) / values.sum())


def threshold_size(values: ArrayLike, center: Sequence[float], level: float = 1 - 0.9545) -> float:
    """
    Gives the side of a box of as many pixels as exceed a level of the centre's value (Luo et al., 2016, section 3).

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        center (sequence of float): Pixel position per axis. Its value is that of the nearest pixel of the map,
            the largest where several are equally near.
        level (float): Share of the centre's value that a pixel must exceed, from 0 to below 1.

    Returns:
        *float*, the D-th root of the number of pixels. Where the centre's value is 0, all pixels above 0 count.

    Raises:
        ValueError: The level is out of bounds, or the map is zero everywhere, has negative or non-finite values, or
            does not suit the centre.

    Examples::

        >>> threshold_size([[0.1, 0.1, 0.1], [0.1, 2.0, 0.1], [0.1, 0.1, 0.1]], (1, 1))
        3.0
    """
    if not 0 <= level < 1:
        raise ValueError(f"got level {level}; expected a share of the centre's value, from 0 to below 1")
    weights = as_mass_map(values)
    nearest = [
        {int(np.clip(pixel, 0, length - 1)) for pixel in (np.ceil(middle - 0.5), np.floor(middle + 0.5))}
        for middle, length in zip(as_position(center, weights.ndim), weights.shape, strict=True)
    ]
    reference = max(weights[pixel] for pixel in product(*nearest))
    return float(np.count_nonzero(weights > level * reference) ** (1 / weights.ndim))


def square_share(values: ArrayLike, center: Sequence[float], share: float) -> tuple[float, float]:
    """
    Gives the smallest square around a centre that holds at least a share of a map (Ding et al., 2022).

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        center (sequence of float): Pixel position per axis.
        share (float): Share of the map's sum; Ding et al. report 0.2, 0.3, 0.5 and 0.99.

    Returns:
        *tuple* ``(side, share of the input)``: the side in pixels, :meth:`RadiusMass.diameter`, and the pixels of the
        input within the square over all its pixels. While the square lies inside the input that is side^D over
        the number of pixels; it is never above 1.

    Raises:
        ValueError: The share is out of bounds, or the map is zero everywhere, has negative or non-finite values,
            or does not suit the centre.

    Examples::

        >>> square_share([[0, 1, 0, 0], [1, 4, 1, 0], [0, 1, 0, 0]], (1, 1), 0.99)
        (3.0, 0.75)
    """
    weights = as_mass_map(values)
    radius = radius_mass(weights, center).radius(share)
    distances = offsets(weights.shape, as_position(center, weights.ndim), [1] * weights.ndim)
    inside = [np.count_nonzero(np.abs(distance) <= radius + 1e-9) for distance in distances]
    return 2 * radius + 1, float(np.prod(inside) / weights.size)


def effective_pixels(values: ArrayLike) -> float:
    """
    Gives (sum M)^2 / sum M^2 of a map M: the number of equal pixels that are as spread out.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.

    Returns:
        *float*, from 1 (all in one pixel) to the number of pixels (all equal).

    Raises:
        ValueError: The map is zero everywhere, or has negative or non-finite values.

    Examples::

        >>> effective_pixels([0.0, 3.0, 3.0, 3.0])
        3.0
    """
    weights = as_mass_map(values)
    return float(weights.sum() ** 2 / np.square(weights).sum())
