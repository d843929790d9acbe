"""Boxes around a point: cubes, and balls."""

from functools import reduce

import numpy as np

from .arrays import FloatArray, offsets
from .growth import Growth
from .mass import Interval, RadiusMass
from .outside import Outside

BINS = 8  # radii of a ball per pixel


class Pinned(RadiusMass):
    """Boxes around one point, which may lie outside the map."""

    def __init__(self, center: FloatArray):
        self.num_dims = len(center)
        self._center = center

    def _place(self, step: int, grown: float) -> list[Interval]:
        half = self._side(step, grown) / 2
        return [(float(middle - half), float(middle + half)) for middle in self._center]


class PinnedCubes(Pinned):
    """Cubes around a point; a step ends where a face meets a pixel's face."""

    def __init__(self, weights: FloatArray, center: FloatArray):
        super().__init__(center)
        self._map = Outside(weights)
        faces = [np.arange(length + 1) - 0.5 for length in weights.shape]
        distances = [np.abs(line - middle).round(9) for line, middle in zip(faces, center, strict=True)]
        self.sides = 2 * np.unique(np.concatenate([np.zeros(1), *distances]))
        places = [self._faces(axis, self.sides) for axis in range(self.num_dims)]
        self.beyond = np.minimum.accumulate(self._map.anywhere(*zip(*places, strict=True)))
        self.beyond[-1] = 0.0

    def _growth(self, step: int, most: float) -> Growth:
        places = [self._faces(axis, self.sides[[step + 1, step]]) for axis in range(self.num_dims)]
        lower, upper = (np.ix_(*lines) for lines in zip(*places, strict=True))
        last, first = np.array([[0], [1]])
        return Growth.of(self._map.anywhere(lower, upper), [(last, first)] * self.num_dims)

    def _faces(self, axis: int, sides: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Places of the cubes' faces, counted from the outer face of the first pixel; as exact as the centre is."""
        middle = self._center[axis] + 0.5
        return (middle - sides / 2).round(9), (middle + sides / 2).round(9)


class Balls(Pinned):
    """
    Balls around a point; their side is the diameter, and a step is a quarter pixel of it.

    Each axis of a pixel has the variance 1/12 about its middle. Across the radius this adds to the distance: a pixel d
    away counts from sqrt(d^2 + (D - 1) / 12). Along the radius it counts as spread evenly over half a pixel to either
    side, which has that variance. So the share rises without jumps, and is right where the radius is some pixels large.
    """

    metric = "euclidean"

    def __init__(self, weights: FloatArray, center: FloatArray):
        super().__init__(center)
        steps = offsets(weights.shape, center, [1] * weights.ndim)
        across = (self.num_dims - 1) / 12
        distances = BINS * np.sqrt(reduce(np.add, map(np.square, steps)) + across).ravel()
        nearest = max(int(distances.min()) - BINS, 0)
        sums = _shared_out(distances - nearest, weights.ravel())
        both_ways = np.concatenate([sums[:0:-1] / 2, sums[:1], sums[1:] / 2, np.zeros(BINS)])
        beyond = np.cumsum(both_ways[::-1])[::-1]
        spread = np.lib.stride_tricks.sliding_window_view(beyond, BINS).mean(1)
        self.beyond = np.append(2 * spread[len(sums) - BINS // 2 :], 0.0)
        self.sides = 2 * (nearest + np.arange(len(self.beyond))) / BINS

    def _growth(self, step: int, most: float) -> Growth:
        return Growth(self.beyond[[step + 1, step], None])


def _shared_out(places: FloatArray, weights: FloatArray) -> FloatArray:
    """Sums of weights at whole places; each weight is shared between the two that it lies between."""
    below = places.astype(np.int64)
    length = max(int(below.max()) + 2, BINS)
    part = places - below
    sums = np.bincount(below, weights * (1 - part), length) + np.bincount(below + 1, weights * part, length)
    return np.asarray(sums, dtype=np.float64)
