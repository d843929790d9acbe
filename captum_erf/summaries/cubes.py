"""Cubes anywhere on a map, wherever they hold most.

For a given side the best cube has, on every axis, one of its two faces on a pixel's face: moved along one axis, its
share is linear in between. So between the whole sides k and k + 1 the best cube lies in a corner of a cube of side
k + 1 with whole faces, and grows evenly. Cubes of whole sides are looked up in tables, and two bounds leave out most of
them but never the best: a cube leaves at least as much outside as its shadow on any axis does, and as the larger cube
around it does.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import numpy as np

from .arrays import FloatArray, margins
from .growth import Growth, Indices
from .mass import NODES, Interval, RadiusMass
from .outside import Outside, tails

SLACK = 1 + 1e-9  # above the rounding of any sum
FEW = 1024  # pixels of a map on which all cubes are soon looked through
TIE = 1e-9  # shares that differ by less are alike
AT_ONCE = 2**16  # intervals of an axis that are looked at together
FAINT = 1e-3  # a share outside that is too small to be told from what is inside


class Cubes(RadiusMass):
    """Cubes whose sides are whole at every step; they may stick out of the map."""

    def __init__(self, weights: FloatArray):
        self.num_dims = weights.ndim
        self.sides = np.arange(max(weights.shape) + 1.0)
        filled = [np.flatnonzero(line) for line in margins(weights)]
        self._origin = np.array([pixels[0] for pixels in filled])
        weights = weights[tuple(slice(pixels[0], pixels[-1] + 1) for pixels in filled)]
        self._map = Outside(weights)
        self._tails = [(below, _from_each(above)) for below, above in map(tails, margins(weights))]
        self._found: dict[int, tuple[float, list[int]]] = {}  # by side: the least share outside, and the lower faces

    @cached_property
    def beyond(self) -> FloatArray:  # type: ignore[override]
        at_once = max(AT_ONCE // len(self.sides), 1)
        for first in range(0, len(self.sides), at_once):
            self._search(range(first, min(first + at_once, len(self.sides))))
        return np.minimum.accumulate([self._found[side][0] for side in range(len(self.sides))])

    def _outside(self, step: int) -> float:
        if step not in self._found:
            self._search(range(step, step + 1))
        return self._found[step][0]

    def _growth(self, step: int, most: float) -> Growth:
        corners = self._grown(step, self._promising(step + 1, most)[:, None])
        return Growth(corners.coefficients.reshape(self.num_dims + 1, -1))

    def _place(self, step: int, grown: float) -> list[Interval]:
        side, most = step + grown, self._outside(step)
        outside = self._growth(step, most).outside(grown)
        alike = outside.min() + TIE * min(outside.min(), 1 - outside.min())
        shifts = (1 - grown) * np.array(list(product((0, 1), repeat=self.num_dims)))
        tied = (self._promising(step + 1, most)[:, None] + shifts).reshape(-1, self.num_dims)[outside <= alike]
        lower = tied.mean(0)
        if self._map.anywhere(lower, lower + side) > alike * SLACK:
            lower = tied[np.square(tied - lower).sum(1).argmin()]
        room = np.array(self._map.shape) - side
        lower = np.where(room < 0, room / 2, lower) + self._origin - 0.5
        return [(float(start), float(start + side)) for start in lower]

    def _averages(self) -> FloatArray:
        """
        As for any boxes, but on a map of many pixels only of the cubes next to the best ones of whole side.

        A better one elsewhere is rare and hardly better: where noise alone decides, 1e-6 in the sum over all steps.
        """
        if np.prod(self._map.shape) <= FEW:
            return super()._averages()
        best = np.array([self._found[side][1] for side in range(len(self.beyond))])
        steps = np.arange(len(best) - 1)[:, None]
        room = np.maximum(np.array(self._map.shape) - steps - 1, 0)
        near = np.stack([best[:-1] - 1, best[:-1], best[1:]], 1).clip(0, room[:, None])
        averages: FloatArray = self._grown(steps, near).outside(NODES).min(-1).mean(0)
        return averages

    def _search(self, sides: range) -> None:
        """Finds the best cube of each of several whole sides: only where no shadow says that it leaves too much."""
        shadows = [self._shadows(sides, axis) for axis in range(self.num_dims)]
        lower = np.stack([line.argmin(1) for line in shadows], 1)
        if self.num_dims > 1:
            bounds = self._shares(sides, lower)
            windows = [_window(line, bounds) for line in shadows]
            for number in np.flatnonzero(np.any([stop - start > 1 for start, stop in windows], 0)):
                faces = self._slices(sides[number], [(start[number], stop[number]) for start, stop in windows])
                shares = self._map.whole(*faces) if bounds[number] < FAINT else -self._map.inside(*faces)
                best = np.unravel_index(shares.argmin(), shares.shape)
                lower[number] = [line.start + step for line, step in zip(faces[0], best, strict=True)]
        found = zip(self._shares(sides, lower).tolist(), lower.tolist(), strict=True)
        self._found |= dict(zip(sides, found, strict=True))

    def _shares(self, sides: range, lower: Indices) -> FloatArray:
        """The share outside of one cube of each of several whole sides."""
        upper = np.minimum(lower + np.array(sides)[:, None], self._map.shape)
        return self._map.whole(list(lower.T), list(upper.T))

    def _promising(self, side: int, most: float) -> Indices:
        """The lower faces, ``(cubes, D)``, of the cubes of a whole side that leave no more than a share outside."""
        lines = [self._shadows(range(side, side + 1), axis) for axis in range(self.num_dims)]
        windows = [_window(line, np.array([most])) for line in lines]
        faces = self._slices(side, [(start[0], stop[0]) for start, stop in windows])
        hits = np.argwhere(self._map.whole(*faces) <= most * SLACK)
        return np.asarray(hits + [line.start for line in faces[0]], dtype=np.int64)

    def _grown(self, step: int | Indices, lower: Indices) -> Growth:
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

    def _shadows(self, sides: range, axis: int) -> FloatArray:
        """What is beyond the interval of each whole side from each face of an axis; infinite where it ends late."""
        below, above = self._tails[axis]
        last = len(below) - 1
        rows = above[sides.start : sides.stop] if sides.stop <= len(below) else above[np.minimum(sides, last)]
        faces = max(len(below) - sides.start, 1)
        shadows: FloatArray = below[:faces] + rows[:, :faces]
        return shadows

    def _slices(self, side: int, window: Sequence[tuple[int, int]]) -> tuple[list[slice], list[slice]]:
        """The lower and upper faces of the cubes of a whole side that start within a window."""
        sides = [min(side, length) for length in self._map.shape]
        upper = [slice(start + side, stop + side) for (start, stop), side in zip(window, sides, strict=True)]
        return [slice(start, stop) for start, stop in window], upper


def _from_each(line: FloatArray) -> FloatArray:
    """The part of a line from each of its places on, and infinity after its end."""
    return np.lib.stride_tricks.sliding_window_view(np.append(line, np.full(len(line) - 1, np.inf)), len(line))


def _window(shadows: FloatArray, most: FloatArray) -> tuple[Indices, Indices]:
    """For each row of shadows where the first and the last interval start that leave no more than a share beyond."""
    hits = shadows <= most[:, None] * SLACK
    return hits.argmax(1), hits.shape[1] - hits[:, ::-1].argmax(1)
