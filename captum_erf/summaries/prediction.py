"""How much of a map a prediction explains."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .arrays import UndefinedStatistic, as_map


def share_of_theory(values: ArrayLike, prediction: ArrayLike, within: Sequence[slice] | None = None) -> float:
    """
    Gives R^2 of a map against a predicted one with one free scale.

    Args:
        values (array): Map with 1, 2 or 3 axes.
        prediction (array): Of the same shape; for a map of mean |dy/dx| the square root of what
            :func:`captum_erf.theory.random_weights` gives.
        within (sequence of slice, optional): Part of the map that is compared, one slice per axis; None for all of it.

    Returns:
        *float*: 1 where the map has the shape predicted, 0 where an even map would do as well. Noise in the map
        lowers it, which :meth:`captum_erf.ERFMap.share_of_theory` takes off.

    Raises:
        ValueError: The shapes differ, a map has non-finite values, or over the part the prediction is zero or the map
            even.

    Examples::

        >>> round(share_of_theory([0, 1.1, 1.9, 3.1, 2, 0.9, 0], [0, 1, 2, 3, 2, 1, 0]), 4)
        0.9949
    """
    measured, expected = as_map(values), as_map(prediction)
    if measured.shape != expected.shape:
        raise ValueError(f"got a prediction of shape {expected.shape}; expected {measured.shape}, the map's")
    part = tuple(within) if within is not None else ...
    measured, expected = measured[part], expected[part]
    if not expected.any():
        raise UndefinedStatistic("got a prediction that is zero everywhere; expected one of the unit that was measured")
    measured, expected = measured / (np.abs(measured).max() or 1), expected / np.abs(expected).max()
    spread = np.square(measured - measured.mean()).sum()
    if spread == 0:
        raise UndefinedStatistic("got a map that is the same everywhere; expected one with a shape to compare")
    scale = (measured * expected).sum() / np.square(expected).sum()
    return float(1 - np.square(measured - scale * expected).sum() / spread)
