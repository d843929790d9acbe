"""The centroid and covariance of a map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..text import listed
from .arrays import FloatArray, as_mass_map, margins, offsets
from .fits import Ellipse


@dataclass(frozen=True, eq=False, repr=False)
class Moments(Ellipse):
    """
    First and second moments of a map taken as a distribution over pixels.

    Attributes:
        centroid (ndarray): Mean position per axis, in pixels.
        covariance (ndarray): Of shape ``(D, D)``, in squared pixels.
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
