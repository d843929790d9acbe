"""Moments of a map, and sizes that other papers report, as pure functions on an array and a centre.

These are the threshold size of Luo et al. (NeurIPS 2016) and the square share of Ding et al. (RepLKNet, CVPR 2022).
Positions are in pixels, one per axis of the array; 0 is the middle of the first pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from ..text import listed
from .arrays import Ellipse, FloatArray, as_mass_map, as_position, margins, offsets
from .mass import radius_mass


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


def second_moments(values: FloatArray, center: Sequence[float]) -> FloatArray:
    """Mean squared distance from a centre along each axis; an error says why the map's sum has no shares."""
    weights = as_mass_map(values)
    lines = zip(margins(weights), center, strict=True)
    sums = [(line * np.square(np.arange(len(line)) - middle)).sum() for line, middle in lines]
    return np.asarray(np.array(sums) / weights.sum())


def threshold_size(
    values: ArrayLike,
    center: Sequence[float],
    level: float = 1 - 0.9545,
    cell: Sequence[float] | None = None,
) -> float:
    """
    Gives the side of a box of as many pixels as exceed a level of the centre's value (Luo et al., 2016, section 3).

    It hangs on one pixel: with another pixel of the same stride's cell as the centre it may be half as large again.
    A mean over that cell is steadier.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        center (sequence of float): Pixel position per axis. Its value is that of the nearest pixel of the map,
            the largest where several are equally near.
        level (float): Share of the centre's value that a pixel must exceed, from 0 to below 1.
        cell (sequence of float, optional): Sides of a box around the centre, such as the layer's stride: the centre's
            value is then the mean over the pixels whose middles lie in it.

    Returns:
        *float*, the D-th root of the number of pixels. Where the centre's value is 0, all pixels above 0 count.

    Raises:
        UndefinedStatistic: The map is zero everywhere or has negative values.
        ValueError: The level is out of bounds, or the map or centre is not finite or of another size.

    Examples::

        >>> threshold_size([[0.1, 0.1, 0.1], [0.1, 2.0, 0.1], [0.1, 0.1, 0.1]], (1, 1))
        3.0
    """
    if not 0 <= level < 1:
        raise ValueError(f"got level {level}; expected a share of the centre's value, from 0 to below 1")
    weights = as_mass_map(values)
    position = as_position(center, weights.ndim)
    reference = _nearest(weights, position) if cell is None else _mean_over(weights, position, cell)
    return float(np.count_nonzero(weights > level * reference) ** (1 / weights.ndim))


def _nearest(weights: FloatArray, position: FloatArray) -> float:
    """The value of the pixel nearest to a position, the largest where several are equally near."""
    nearest = [
        np.unique(np.clip([np.ceil(middle - 0.5), np.floor(middle + 0.5)], 0, length - 1).astype(int)).tolist()
        for middle, length in zip(position, weights.shape, strict=True)
    ]
    return float(max(weights[pixel] for pixel in product(*nearest)))


def _mean_over(weights: FloatArray, position: FloatArray, cell: Sequence[float]) -> float:
    """The mean of the pixels whose middles lie in a box around a position; one pixel at least along each axis."""
    lines = []
    for middle, side, length in zip(position, cell, weights.shape, strict=True):
        first = int(np.clip(np.ceil(middle - side / 2), 0, length - 1))
        lines.append(slice(first, max(first, int(np.ceil(middle + side / 2)) - 1) + 1))
    return float(weights[tuple(lines)].mean())


def square_share(values: ArrayLike, center: Sequence[float], share: float) -> tuple[float, float]:
    """
    Gives the smallest square around a centre that holds at least a share of a map (after Ding et al., 2022).

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        center (sequence of float): Pixel position per axis.
        share (float): Share of the map's sum; Ding et al. report 0.2, 0.3, 0.5 and 0.99.

    Returns:
        *tuple* ``(side, share of the input)``: the side in pixels, ``radius_mass(values, center).diameter(share)``,
        and how much of the input lies within the square: side^D over the number of pixels while the square lies inside
        the input, and never above 1.

    Raises:
        UndefinedStatistic: The map is zero everywhere or has negative values.
        ValueError: The share is out of bounds, or the map or centre is not finite or of another size.

    Examples::

        >>> square_share([[0, 1, 0, 0], [1, 4, 1, 0], [0, 1, 0, 0]], (1, 1), 0.5)
        (1.0, 0.08333333333333333)
    """
    box = radius_mass(values, center).box(share)
    lengths = np.shape(values)
    inside = [
        max(min(upper, length - 0.5) - max(lower, -0.5), 0.0)
        for (lower, upper), length in zip(box, lengths, strict=True)
    ]
    return box[0][1] - box[0][0], float(np.prod(inside) / np.prod(lengths))


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
