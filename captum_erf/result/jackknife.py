"""Standard errors over samples: the delete-a-group jackknife (Kott, J. Official Statistics 17, 2001).

The samples are dealt into G groups and a statistic is computed again without each group in turn; the
spread of these estimates gives its standard error, however the statistic depends on the map.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def leave_one_out(sums: NDArray[np.float64], counts: Sequence[int]) -> Iterator[NDArray[np.float64]]:
    """
    Yields the mean map without each non-empty group in turn.

    The groups that stay are added up afresh, so a pixel reached by the left-out group alone is exactly 0.

    Args:
        sums (ndarray): Sum of the sample maps of each group, of shape ``(G, *size)``.
        counts (sequence of int): Number of samples in each group, of length G.

    Yields:
        *ndarray*, a mean map of shape ``size`` per non-empty group; nothing if fewer than two groups have samples.

    Raises:
        ValueError: Sums and counts differ in length, or a count is negative.

    Examples::

        >>> [mean.tolist() for mean in leave_one_out(np.array([[2.0], [0.0], [4.0]]), [1, 0, 2])]
        [[2.0], [2.0]]
    """
    if len(sums) != len(counts) or any(count < 0 for count in counts):
        raise ValueError(
            f"got {len(sums)} sums and counts {list(counts)}; expected a sum and a count of at least 0 per group"
        )
    groups = [group for group, count in enumerate(counts) if count > 0]
    if len(groups) < 2:
        return
    for left_out in groups:
        total, num_samples = np.zeros(sums.shape[1:]), 0
        for group in groups:
            if group != left_out:
                total += sums[group]
                num_samples += counts[group]
        yield total / num_samples


def delete_a_group(estimates: Sequence[float]) -> float | None:
    """
    Gives the standard error of a statistic from its values with one group of samples left out.

    It is sqrt((G - 1) / G * sum((estimate_g - mean)^2)) over the G non-empty groups. A 95 % interval
    is the statistic plus or minus this times the quantile of Student's t with G - 1 degrees of freedom.

    Args:
        estimates (sequence of float): The statistic of each map from :func:`leave_one_out`.

    Returns:
        *float*, the standard error in the units of the statistic, or None from fewer than two estimates.

    Examples::

        >>> round(delete_a_group([1.0, 2.0, 3.0, 4.0]), 4)
        1.9365
        >>> delete_a_group([1.0]) is None
        True
    """
    groups = len(estimates)
    if groups < 2:
        return None
    values = np.asarray(estimates, dtype=np.float64)
    return float(np.sqrt((groups - 1) / groups * np.square(values - values.mean()).sum()))
