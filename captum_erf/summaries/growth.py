"""Boxes that grow evenly from one side to the next: the share that each leaves outside is a polynomial.

Along each axis such a box is a mixture of the interval that it starts with and the one that it ends with. With g the
part of the step grown, the share outside is the sum over m of c_m * g^(D - m) * (1 - g)^m, where c_m is the sum over
the boxes of which m axes are as at the start and the others as at the end. No term is negative, so that nothing is
rounded off. The polynomial falls and bends downwards, for each part of what is inside grows with a power of g.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import FloatArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Growth:
    """
    Boxes that grow together.

    Attributes:
        coefficients (ndarray): c_m of each box, of shape ``(D + 1, ..., boxes)``.
    """

    coefficients: FloatArray

    @classmethod
    def of(cls, mixed: FloatArray, ends: Sequence[tuple[Indices, Indices]]) -> "Growth":
        """
        Pairs intervals up.

        Args:
            mixed (ndarray): Share outside for each choice of one interval per axis, on the last D axes.
            ends (sequence): Per axis, the index of the interval that each box ends with and of that it starts with.
        """
        terms = [mixed]
        for axis, (last, first) in enumerate(ends, start=-len(ends)):
            ended = [term.take(last, axis) for term in terms]
            started = [term.take(first, axis) for term in terms]
            both = [one + other for one, other in zip(ended[1:], started[:-1], strict=True)]
            terms = [ended[0], *both, started[-1]]
        leading = mixed.shape[: mixed.ndim - len(ends)]
        return cls(np.stack([term.reshape(*leading, -1) for term in terms]))

    def outside(self, grown: float | FloatArray) -> FloatArray:
        """The share outside of each box with a part of the step grown, from 0 to 1; the part's axes come first."""
        still = np.arange(len(self.coefficients))
        part = np.asarray(grown)[..., None]
        shares: FloatArray = np.tensordot(part ** still[::-1] * (1 - part) ** still, self.coefficients, 1)
        return shares

    def least(self, most: float) -> float:
        """
        The smallest part grown at which a box leaves no more than a share outside; 1 if none does.

        Newton's method from above: the smallest of functions that fall and bend downwards does so as well, and its
        tangents meet the share no sooner than itself.
        """
        grown, step = 1.0, 1.0
        while grown > 0 and step > 1e-15:
            outside = self.outside(grown)
            best = outside.argmin()
            step = (outside[best] - most) / self._slope(grown, best)
            grown -= max(step, 0.0)
        return max(grown, 0.0)

    def _slope(self, grown: float, box: np.intp) -> float:
        still = np.arange(len(self.coefficients))
        moved = still[::-1]
        rise = moved * grown ** np.maximum(moved - 1, 0) * (1 - grown) ** still
        fall = grown**moved * still * (1 - grown) ** np.maximum(still - 1, 0)
        return float((rise - fall) @ self.coefficients[:, box])
