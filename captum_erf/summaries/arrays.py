"""What summaries and fits of a map share: its checks and distances from a position."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


class UndefinedStatistic(ValueError):
    """
    A number that a map does not have: a share of a map with negative values, a fit to a constant one.

    Examples::

        >>> from captum_erf.summaries import gaussian_fit
        >>> try:
        ...     gaussian_fit(np.ones((9, 9)))
        ... except UndefinedStatistic:
        ...     print("no fit")
        no fit
    """


def as_map(values: ArrayLike) -> FloatArray:
    """The values as float64; an error says why they are not a map."""
    array = np.asarray(values, dtype=np.float64)
    if not 1 <= array.ndim <= 3 or array.size == 0:
        raise ValueError(f"got an array of shape {array.shape}; expected a map with 1, 2 or 3 non-empty axes")
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise ValueError(
            f"got a map with {bad} values that are not finite; expected none: "
            "look for overflow in the model, such as half precision, and leave out the samples that cause it"
        )
    return array


def as_mass_map(values: ArrayLike) -> FloatArray:
    """The values as float64, divided by the largest; an error says why their sum has no shares."""
    array = as_map(values)
    if array.min() < 0:
        raise UndefinedStatistic(
            f"got a map with negative values (lowest {array.min():.3g}), whose sum has no shares; "
            "expected values of at least 0: aggregate with magnitude='abs'"
        )
    if array.max() == 0:
        raise UndefinedStatistic(
            "got a map that is zero everywhere: every sample is dead; expected a unit that "
            "depends on the input: choose another channel, position or layer"
        )
    return np.asarray(array / array.max())


def as_position(position: Iterable[float], num_dims: int) -> FloatArray:
    """The position as float64; an error if it does not suit the map."""
    array = np.array(list(position), dtype=np.float64)
    if array.shape != (num_dims,) or not np.isfinite(array).all():
        raise ValueError(f"got center {array.tolist()}; expected {num_dims} finite pixel positions, one per axis")
    return array


def as_center(position: Iterable[float], num_dims: int) -> FloatArray:
    """The position to a billionth of a pixel, so that pixels equally far from it are known as such."""
    return np.asarray(as_position(position, num_dims).round(9))


def margins(values: FloatArray) -> list[FloatArray]:
    """Sums of a map along all axes but one, axis by axis."""
    axes = range(values.ndim)
    return [values.sum(tuple(other for other in axes if other != axis)) for axis in axes]


def offsets(shape: Sequence[int], position: Iterable[float], block: Iterable[int]) -> list[FloatArray]:
    """Distances along each axis from a position to the middles of blocks of pixels, shaped to broadcast."""
    lines = [
        (np.arange(length) + 0.5) * side - 0.5 - middle
        for length, middle, side in zip(shape, position, block, strict=True)
    ]
    return list(np.ix_(*lines))
