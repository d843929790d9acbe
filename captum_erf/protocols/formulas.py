"""Formulas of other tools that :mod:`captum_erf.summaries` does not have, as pure functions on a map."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from .. import summaries
from ..summaries.arrays import FloatArray, offsets


def log_map(values: FloatArray) -> FloatArray:
    """The map that Ding et al. (CVPR 2022) draw: log10(A + 1) over its maximum."""
    logarithm: FloatArray = np.log1p(values)
    logarithm /= logarithm.max()
    return logarithm


def log_square(values: FloatArray, share: float) -> tuple[int, float] | tuple[None, None]:
    """Side of the square around ``(H // 2, W // 2)`` that holds more than a share of log10(A + 1), and its area.

    It is the smallest square of side 3, 5, ...; the area is over that of the input. As in the tool, a square reaches
    less than ``H // 2`` pixels from its centre; None where none of these holds as much.
    """
    curve = summaries.radius_mass(np.log1p(values), [length // 2 for length in values.shape])
    for radius, mass in zip(curve.radii, curve.mass, strict=True):
        if 1 <= radius < min(values.shape) // 2 and mass > share:
            side = 2 * int(radius) + 1
            return side, side**values.ndim / values.size
    return None, None


def euclidean_shares(values: FloatArray, center: Sequence[float], radii: Sequence[float]) -> list[float]:
    """Share of the map's sum within each Euclidean radius of a centre."""
    curve = summaries.radius_mass(values, center, "euclidean")
    last = np.searchsorted(curve.radii, radii, side="right") - 1
    return [float(curve.mass[index]) if index >= 0 else 0.0 for index in last]


def axis_aligned_gaussian(values: FloatArray, center: Sequence[float]) -> tuple[list[float], float]:
    """Standard deviation per axis and R^2 of the least-squares Gaussian along the axes.

    Its centre and a constant background are free; ``center`` is where to start from.

    Raises:
        ValueError: The map is constant or has too few pixels.
    """
    from scipy.optimize import least_squares

    num_dims = values.ndim
    start = summaries.gaussian_fit(values, center)
    target = (values - values.mean()) / np.ptp(values)
    limits = np.log([0.1, 1000 * max(values.shape)])

    def widths(params: FloatArray) -> FloatArray:
        sigmas: FloatArray = np.exp(params[num_dims:].clip(*limits))
        return sigmas

    def residuals(params: FloatArray) -> FloatArray:
        distances = offsets(values.shape, params[:num_dims], [1] * num_dims)
        scaled = zip(distances, widths(params), strict=True)
        bell = reduce(np.multiply, [np.exp(-0.5 * np.square(distance / width)) for distance, width in scaled])
        bell = bell - bell.mean()
        amplitude = (bell * target).sum() / (np.square(bell).sum() or 1.0)
        return np.ravel(target - amplitude * bell)

    params = np.concatenate([start.mean, 0.5 * np.log(np.diag(start.covariance))])
    found = least_squares(residuals, params, method="lm", ftol=1e-10, xtol=1e-10)
    return widths(found.x).tolist(), float(1 - 2 * found.cost / np.square(target).sum())


def half_widths(values: FloatArray, center: Sequence[float], share: float) -> list[float]:
    """Per axis the distance from a centre, along this axis alone, that holds a share of the map's sum."""
    lines = zip(_margins(values), center, strict=True)
    return [summaries.radius_mass(line, [middle]).radius(share) for line, middle in lines]


def second_moments(values: FloatArray, center: Sequence[float]) -> FloatArray:
    """Mean squared distance from a centre along each axis."""
    lines = zip(_margins(values), center, strict=True)
    sums = [(line * np.square(np.arange(len(line)) - middle)).sum() for line, middle in lines]
    moments: FloatArray = np.array(sums) / values.sum()
    return moments


def _margins(values: FloatArray) -> list[FloatArray]:
    """Sums of the map along all axes but one."""
    axes = range(values.ndim)
    return [values.sum(tuple(other for other in axes if other != axis)) for axis in axes]
