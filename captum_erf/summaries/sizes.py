"""Sizes of a map, as pure functions on an array: box mass, and what other papers report.

The threshold size is that of Luo et al. (NeurIPS 2016), the square share that of Ding et al. (RepLKNet, CVPR 2022).
Positions are in pixels, one per axis of the array; 0 is the middle of the first pixel.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, as_center, as_mass_map, as_position, margins
from .cubes import Cubes
from .mass import Interval, RadiusMass
from .pinned import Balls, PinnedCubes

METRICS = ("chebyshev", "euclidean")
LUO_LEVEL = 1 - 0.9545  # of the centre's value, above which a pixel counts in Luo et al.'s threshold size


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
        return Cubes(weights)
    around = Balls if metric == "euclidean" else PinnedCubes
    return around(weights, as_center(center, weights.ndim))


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


def extent(
    values: ArrayLike,
    share: float,
    center: Sequence[float] | None = None,
    spacing: float | Sequence[float] | None = None,
) -> list[Interval]:
    """
    Gives, for each axis, the shortest interval that holds a share of the map, whatever lies along the other axes.

    One of its ends lies on a pixel's face, and may jump to another face where the map changes a little; its length
    does not jump.

    Args:
        values (array): Map with 1, 2 or 3 axes, no value below 0.
        share (float): Share of the map's sum, above 0 and up to 1.
        center (sequence of float, optional): Pixel position from which the ends are counted; None for the middle of the
            first pixel.
        spacing (float or sequence of float, optional): Length of a pixel, per axis, such as 0.7 for mm.

    Returns:
        *list* of ``(lower, upper)``, one for each axis, in pixels or in units of the spacing.

    Raises:
        ValueError: The share is out of bounds, the spacing is not one positive length per axis, or the map is zero
            everywhere, or has negative or non-finite values.

    Examples::

        >>> extent([[1, 1, 1, 1], [0, 0, 0, 0]], 0.5)
        [(-0.25, 0.25), (0.5, 2.5)]
    """
    weights = as_mass_map(values)
    origin = np.zeros(weights.ndim) if center is None else as_position(center, weights.ndim)
    lengths = np.asarray(1.0 if spacing is None else spacing, dtype=np.float64)
    if lengths.shape not in ((), origin.shape) or not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError(f"spacing must be a positive length, or one per axis, got {spacing!r}.")
    intervals = np.array([radius_mass(margin).box(share)[0] for margin in margins(weights)])
    ends = (intervals - origin[:, None]) * np.broadcast_to(lengths, origin.shape)[:, None]
    return [(lower, upper) for lower, upper in ends.tolist()]


def threshold_size(
    values: ArrayLike,
    center: Sequence[float],
    level: float = LUO_LEVEL,
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
    position = as_center(center, weights.ndim)
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
