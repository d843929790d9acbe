"""What summaries and fits of a map share: its checks, distances from a position, and principal axes."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..text import listed

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
    """The position as float64, to a billionth of a pixel; an error if it does not suit the map."""
    array = np.array(list(position), dtype=np.float64)
    if array.shape != (num_dims,) or not np.isfinite(array).all():
        raise ValueError(f"got center {array.tolist()}; expected {num_dims} finite pixel positions, one per axis")
    return np.asarray(array.round(9))


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


class Ellipse:
    """Principal axes of a covariance over the spatial axes."""

    covariance: FloatArray

    @property
    def sigmas(self) -> FloatArray:
        """Square roots of the covariance's eigenvalues, in pixels, largest first."""
        return np.asarray(np.sqrt(np.linalg.eigvalsh(self.covariance)[::-1].clip(0)))

    @property
    def angle(self) -> float | None:
        """Direction of the longest axis in degrees, above -90 and up to 90; None unless there are two axes.

        0 is along the last axis (x, to the right). Positive angles turn counter-clockwise in the image as
        seen with its first row at the top: at 45 the ellipse points to the upper right.
        """
        if len(self.covariance) != 2:
            return None
        down, right = np.linalg.eigh(self.covariance)[1][:, -1]
        return float(90 - (90 - np.degrees(np.arctan2(-down, right))) % 180)

    def _axes(self) -> str:
        angle = "" if self.angle is None else f"; angle {self.angle:.4g} degrees"
        return f"sigmas {listed(self.sigmas)} px{angle}"
