"""Standard errors over samples: the delete-a-group jackknife (Kott, J. Official Statistics 17, 2001).

The samples are dealt into G groups; a statistic is computed again without each group in turn, and the spread of these
estimates gives its standard error, however crooked the statistic.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def leave_one_out(sums: NDArray[np.float64], counts: Sequence[int]) -> Iterator[NDArray[np.float64]]:
    """Yields the mean map without each non-empty group in turn.

    The remaining groups are added up afresh, so a pixel that only the left-out group reached is exactly zero.

    Args:
        sums: sum of the sample maps of each group, of shape ``(G, *size)``.
        counts: number of samples of each group, of length G.

    Yields:
        One mean map of shape ``size`` for each non-empty group; none where fewer than two groups have samples.

    Raises:
        ValueError: if sums and counts differ in length, or a count is negative.

    Examples::

        >>> [mean.tolist() for mean in leave_one_out(np.array([[2.0], [0.0], [4.0]]), [1, 0, 2])]
        [[2.0], [2.0]]
    """
    if len(sums) != len(counts) or min(counts, default=0) < 0:
        raise ValueError(
            f"got sums of {len(sums)} groups and counts {list(counts)}; expected one count of at least 0 per group"
        )
    groups = [group for group, count in enumerate(counts) if count]
    if len(groups) < 2:
        return
    for left_out in groups:
        kept = [group for group in groups if group != left_out]
        total = np.zeros(sums.shape[1:])
        for group in kept:
            total += sums[group]
        yield total / sum(counts[group] for group in kept)


def delete_a_group(estimates: Sequence[float]) -> float | None:
    """Gives the standard error of a statistic from its values with one group of samples left out.

    It is sqrt((G - 1) / G * sum((estimate_g - mean)^2)) over the G non-empty groups; a 95 % interval takes the Student t with
    G - 1 degrees of freedom.

    Args:
        estimates: the statistic without each non-empty group, as from :func:`leave_one_out`.

    Returns:
        The standard error, in the units of the statistic; None from fewer than two estimates.

    Examples::

        >>> delete_a_group([1.0, 2.0, 3.0, 4.0])
        1.9364916731037085
        >>> delete_a_group([1.0]) is None
        True
    """
    groups = len(estimates)
    if groups < 2:
        return None
    values = np.asarray(estimates, dtype=np.float64)
    return float(np.sqrt((groups - 1) / groups * np.square(values - values.mean()).sum()))
