"""Cubes anywhere on a map, wherever they hold most.

For a given side the best cube has, on every axis, one of its two faces on a pixel's face: moved along one axis, its
share is linear in between. So between the whole sides k and k + 1 the best cube lies in a corner of a cube of side
k + 1 with whole faces, and grows evenly. Cubes of whole sides are looked up in tables, and two bounds leave out most of
them but never the best: a cube leaves at least as much outside as its shadow on any axis does, and as the larger cube
around it does.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from .arrays import FloatArray
from .growth import NODES, Boxes, Growth, Indices, Interval
from .outside import Outside, line_tails

SLACK = 1 + 1e-9  # above the rounding of any sum
FEW = 1024  # pixels of a map on which all cubes are soon looked through
TIE = 1e-9  # shares that differ by less are alike
FAINT = 1e-3  # a share outside that is too small to be told from what is inside


class Cubes(Boxes):
    """Cubes whose sides are whole at every step; they may stick out of the map."""

    def __init__(self, weights: FloatArray):
        self.num_dims = weights.ndim
        self.sides = np.arange(max(weights.shape) + 1.0)
        axes = range(weights.ndim)
        filled = [np.flatnonzero(weights.any(tuple(other for other in axes if other != axis))) for axis in axes]
        self._origin = np.array([pixels[0] for pixels in filled])
        weights = weights[tuple(slice(pixels[0], pixels[-1] + 1) for pixels in filled)]
        self._map = Outside(weights)
        self._tails = [line_tails(weights, axis) for axis in axes]
        self._found: dict[int, tuple[float, list[int]]] = {}

    def outside(self, step: int) -> float:
        return self._best(step)[0]

    def growth(self, step: int, most: float) -> Growth:
        corners = self._growing(step, self._promising(step + 1, most)[:, None])
        return Growth(corners.coefficients.reshape(self.num_dims + 1, -1))

    def place(self, step: int, grown: float) -> list[Interval]:
        side, most = step + grown, self.outside(step)
        outside = self.growth(step, most).outside(grown)
        alike = outside.min() + TIE * min(outside.min(), 1 - outside.min())
        shifts = (1 - grown) * np.array(list(product((0, 1), repeat=self.num_dims)))
        tied = (self._promising(step + 1, most)[:, None] + shifts).reshape(-1, self.num_dims)[outside <= alike]
        lower = tied.mean(0)
        if self._map.anywhere(lower, lower + side) > alike * SLACK:
            lower = tied[np.square(tied - lower).sum(1).argmin()]
        room = np.array(self._map.shape) - side
        lower = np.where(room < 0, room / 2, lower) + self._origin - 0.5
        return [(float(start), float(start + side)) for start in lower]

    def averages(self) -> FloatArray:
        """
        As for any boxes, but on a map of many pixels only of the cubes next to the best ones of whole side.

        A better one elsewhere is rare and hardly better: where noise alone decides, 1e-6 in the sum over all steps.
        """
        if np.prod(self._map.shape) <= FEW:
            return super().averages()
        best = np.array([self._best(side)[1] for side in range(len(self.sides))])
        steps = np.arange(len(best) - 1)[:, None]
        room = np.maximum(np.array(self._map.shape) - steps - 1, 0)
        near = np.stack([best[:-1] - 1, best[:-1], best[1:]], 1).clip(0, room[:, None])
        averages: FloatArray = self._growing(steps, near).outside(NODES).min(-1).mean(0)
        return averages

    def _best(self, side: int) -> tuple[float, list[int]]:
        """The least share outside any cube of a whole side, and the lower faces of that cube."""
        if side not in self._found:
            shadows = self._shadows(side)
            bound = self._outside(side, [int(line.argmin()) for line in shadows])
            faces = self._slices(side, _window(shadows, bound))
            shares = self._map.whole(*faces) if bound < FAINT else -self._map.inside(*faces)
            best = np.unravel_index(shares.argmin(), shares.shape)
            lower = [line.start + int(step) for line, step in zip(faces[0], best, strict=True)]
            self._found[side] = self._outside(side, lower), lower
        return self._found[side]

    def _outside(self, side: int, lower: Sequence[int]) -> float:
        """The share outside of one cube of a whole side."""
        upper = [min(face + side, length) for face, length in zip(lower, self._map.shape, strict=True)]
        return float(self._map.whole(lower, upper))

    def _promising(self, side: int, most: float) -> Indices:
        """The lower faces, ``(cubes, D)``, of the cubes of a whole side that leave no more than a share outside."""
        faces = self._slices(side, _window(self._shadows(side), most))
        hits = np.argwhere(self._map.whole(*faces) <= most * SLACK)
        return np.asarray(hits + [line.start for line in faces[0]], dtype=np.int64)

    def _growing(self, step: int | Indices, lower: Indices) -> Growth:
        """
        The cubes in all corners of cubes of side ``step + 1``.

        Args:
            step (int or ndarray): Side to start from.
            lower (ndarray): Lower faces of the cubes, of shape ``(..., m, D)``: m along each axis, in all combinations.
        """
        starts, stops, ends = [], [], []
        for axis, length in enumerate(self._map.shape):
            faces = lower[..., axis]
            at = (*faces.shape[:-1], *(1,) * axis, -1, *(1,) * (self.num_dims - axis - 1))
            starts.append(np.concatenate([faces, faces, faces + 1], -1).reshape(at))
            upper = np.concatenate([faces + step + 1, faces + step, faces + step + 1], -1)
            stops.append(np.minimum(upper, length).reshape(at))
            last, *first = np.split(np.arange(3 * faces.shape[-1]), 3)
            ends.append((np.tile(last, 2), np.concatenate(first)))
        return Growth.of(self._map.whole(starts, stops), ends)

    def _shadows(self, side: int) -> list[FloatArray]:
        """For each axis what is beyond the interval of a whole side that starts at each face."""
        return [below[: max(len(below) - side, 1)] + above[min(side, len(above) - 1) :] for below, above in self._tails]

    def _slices(self, side: int, window: Sequence[tuple[int, int]]) -> tuple[list[slice], list[slice]]:
        """The lower and upper faces of the cubes of a whole side that start within a window."""
        sides = [min(side, length) for length in self._map.shape]
        upper = [slice(start + side, stop + side) for (start, stop), side in zip(window, sides, strict=True)]
        return [slice(start, stop) for start, stop in window], upper


def _window(shadows: Sequence[FloatArray], most: float) -> list[tuple[int, int]]:
    """Where along each axis intervals start that leave no more than a share beyond."""
    hits = [np.flatnonzero(line <= most * SLACK) for line in shadows]
    return [(int(line[0]), int(line[-1]) + 1) for line in hits]
