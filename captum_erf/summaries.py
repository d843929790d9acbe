"""Numbers that summarise a map, as pure functions on an array and a centre.

Box mass, moments, the fits of :mod:`captum_erf.fits`, and the sizes that other papers report: the threshold
size of Luo et al. (NeurIPS 2016) and the square share of Ding et al. (RepLKNet, CVPR 2022). Positions are in
pixels, 0 being the middle of the first pixel of an axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .fits import GaussianFit, ShapeFit, compare_shapes, describe_shapes, gaussian_fit
from .maps import Ellipse, FloatArray, as_mass_map, as_position, listed, offsets

__all__ = [
    "GaussianFit",
    "Moments",
    "RadiusMass",
    "ShapeFit",
    "compare_shapes",
    "describe_shapes",
    "effective_pixels",
    "gaussian_fit",
    "moments",
    "radius_mass",
    "square_share",
    "threshold_size",
]

Metric = Literal["chebyshev", "euclidean"]


@dataclass(frozen=True, eq=False, repr=False)
class RadiusMass:
    """The share of a map's sum within each distance of a centre.

    Attributes:
        radii: every distance that occurs between the centre and a pixel, ascending, in pixels.
        mass: share of the sum within each of these distances; the last is 1.
        beyond: share outside each distance, added up from the outside so that faint tails are not lost.
        metric: ``"chebyshev"`` (half the side of a box) or ``"euclidean"``.
    """

    radii: FloatArray
    mass: FloatArray
    beyond: FloatArray
    metric: Metric

    def radius(self, share: float) -> float:
        """The smallest distance that holds at least the share (above 0, up to 1), in pixels."""
        if not 0 < share <= 1:
            raise ValueError(f"got share {share}; expected a share of the map's sum above 0 and up to 1")
        return float(self.radii[np.argmax(self.beyond <= (1 - share) * (1 + 1e-9))])

    def diameter(self, share: float) -> float:
        """The side of the box (for the Euclidean metric, the width of the disc) of that radius: 2 * radius + 1."""
        return 2 * self.radius(share) + 1

    def __repr__(self) -> str:
        diameters = ", ".join(f"{self.diameter(share):g} px hold {share:.0%}" for share in (0.5, 0.9, 0.95))
        return f"RadiusMass({self.metric}: {diameters})"


def radius_mass(values: ArrayLike, center: Sequence[float], metric: Metric = "chebyshev") -> RadiusMass:
    """Gives the share of a map's sum within each distance of a centre.

    Args:
        values: map with 1, 2 or 3 axes, no value below 0.
        center: a pixel position per axis; it may lie outside the map.
        metric: ``"chebyshev"``, comparable with the box of a theoretical receptive field, or ``"euclidean"``.

    Returns:
        The distances and shares.

    Raises:
        ValueError: if the map is zero everywhere, has negative or non-finite values, or does not suit the centre.

    Examples::

        >>> curve = radius_mass([[0, 1, 0], [1, 4, 1], [0, 1, 0]], (1, 1))
        >>> curve.radii, curve.mass
        (array([0., 1.]), array([0.5, 1. ]))
        >>> curve
        RadiusMass(chebyshev: 1 px hold 50%, 3 px hold 90%, 3 px hold 95%)
    """
    weights = as_mass_map(values)
    radii, sums = _shells(weights, as_position(center, weights.ndim), metric)
    outward = np.cumsum(sums)
    inward = np.cumsum(sums[::-1])[::-1]
    return RadiusMass(
        radii=radii,
        mass=np.append(outward[:-1] / outward[-1], 1.0).clip(max=1.0),
        beyond=np.append(inward[1:], 0.0) / inward[0],
        metric=metric,
    )


def _shells(weights: FloatArray, center: FloatArray, metric: Metric) -> tuple[FloatArray, FloatArray]:
    """The distances that occur, ascending, and the sum of the pixels at each."""
    if metric not in ("chebyshev", "euclidean"):
        raise ValueError(f"got metric {metric!r}; expected 'chebyshev' or 'euclidean'")
    steps = [np.abs(2 * distance) for distance in offsets(weights.shape, center, [1] * weights.ndim)]
    if metric == "chebyshev":
        keys = reduce(np.maximum, steps)
    else:
        keys = reduce(np.add, [np.square(step) for step in steps])
    keys, sums = _grouped(keys, weights, whole=bool(np.all(2 * center % 1 == 0)))
    return (keys if metric == "chebyshev" else np.sqrt(keys)) / 2, sums


def _grouped(keys: FloatArray, weights: FloatArray, whole: bool) -> tuple[FloatArray, FloatArray]:
    """The distinct keys, ascending, and the sum of the weights at each; whole keys need no sorting."""
    lowest, span = keys.min(), np.ptp(keys)
    if whole and span < 8 * keys.size + 1000:
        index = (keys - lowest).astype(np.int64).ravel()
        distinct = np.flatnonzero(np.bincount(index))
        return distinct + lowest, np.bincount(index, weights.ravel())[distinct]
    distinct, index = np.unique(keys.round(9), return_inverse=True)
    return distinct, np.bincount(index.ravel(), weights.ravel())


@dataclass(frozen=True, eq=False, repr=False)
class Moments(Ellipse):
    """First and second moments of a map taken as a distribution over pixels.

    Attributes:
        centroid: mean position per axis, in pixels.
        covariance: of shape ``(D, D)``, in squared pixels.
        sigmas: square roots of the covariance's eigenvalues, in pixels, largest first.
        angle: direction of the longest axis, as in :class:`ShapeFit`.
    """

    centroid: FloatArray
    covariance: FloatArray

    def __repr__(self) -> str:
        return f"Moments(centroid {listed(self.centroid)} px; {self._report()})"


def moments(values: ArrayLike) -> Moments:
    """Gives the centroid and covariance of a map.

    A faint background widens them strongly; :func:`gaussian_fit` separates it.

    Args:
        values: map with 1, 2 or 3 axes, no value below 0.

    Returns:
        The moments, in pixels.

    Raises:
        ValueError: if the map is zero everywhere, or has negative or non-finite values.

    Examples::

        >>> moments([[0, 0, 0, 0], [1, 1, 1, 1]])
        Moments(centroid 1, 1.5 px; sigmas 1.118, 0 px; angle 0 degrees)
    """
    weights = as_mass_map(values)
    weights /= weights.sum()
    axes = range(weights.ndim)
    origin = offsets(weights.shape, [0] * weights.ndim, [1] * weights.ndim)
    centroid = np.array([(weights * positions).sum() for positions in origin])
    distances = offsets(weights.shape, centroid, [1] * weights.ndim)
    covariance = np.array([[(weights * distances[i] * distances[j]).sum() for j in axes] for i in axes])
    return Moments(centroid, covariance)


def threshold_size(values: ArrayLike, center: Sequence[float], level: float = 1 - 0.9545) -> float:
    """Gives the side of a box with as many pixels as exceed a level of the centre's value (Luo et al., 2016, section 3).

    Args:
        values: map with 1, 2 or 3 axes, no value below 0.
        center: a pixel position per axis. Its value is that of the nearest pixel of the map, the largest of these
            where several are equally near.
        level: share of the centre's value that a pixel must exceed.

    Returns:
        The D-th root of the number of pixels. Where the centre's value is 0, all pixels above 0 count.

    Raises:
        ValueError: if the level is not a share, the map is zero everywhere, has negative or non-finite values, or
            does not suit the centre.

    Examples::

        >>> threshold_size([[0.1, 0.1, 0.1], [0.1, 2.0, 0.1], [0.0, 0.0, 0.0]], (1, 1))
        2.449489742783178
    """
    if not 0 <= level < 1:
        raise ValueError(f"got level {level}; expected a share of the centre's value from 0 up to below 1")
    weights = as_mass_map(values)
    position = as_position(center, weights.ndim)
    nearest = [
        {int(np.clip(pixel, 0, length - 1)) for pixel in (np.ceil(middle - 0.5), np.floor(middle + 0.5))}
        for middle, length in zip(position, weights.shape, strict=True)
    ]
    reference = max(weights[pixel] for pixel in product(*nearest))
    return float(np.count_nonzero(weights > level * reference) ** (1 / weights.ndim))


def square_share(values: ArrayLike, center: Sequence[float], share: float) -> tuple[float, float]:
    """Gives the smallest square around a centre that holds at least a share of the map (Ding et al., 2022, table 8).

    Args:
        values: map with 1, 2 or 3 axes, no value below 0.
        center: a pixel position per axis.
        share: share of the map's sum; Ding et al. report 0.2, 0.3, 0.5 and 0.99.

    Returns:
        The square's side in pixels, and its share of the input: the pixels of the input within it over all pixels.
        That is side^D over all pixels while the square lies inside the input, and never above 1.

    Raises:
        ValueError: as :func:`radius_mass`, or if the share is not above 0 and up to 1.

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
    """Gives (sum M)^2 / sum M^2 of a map M: how many equal pixels would be as spread out.

    Args:
        values: map with 1, 2 or 3 axes, no value below 0.

    Returns:
        A number of pixels, from 1 (all in one pixel) to the size of the map (all equal).

    Raises:
        ValueError: if the map is zero everywhere, or has negative or non-finite values.

    Examples::

        >>> effective_pixels([0.0, 3.0, 3.0, 3.0])
        3.0
    """
    weights = as_mass_map(values)
    return float(weights.sum() ** 2 / np.square(weights).sum())
