"""The mean map of one unit, and its numbers with standard errors.

Definitions follow Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks"
(NeurIPS 2016), section 2; the formulas are those of :mod:`captum_erf.summaries`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import summaries
from ..geometry.field import TheoreticalReceptiveField
from .sums import Groups, GroupSums, standard_error


@dataclass(frozen=True, eq=False, repr=False)
class MeanMap:
    """Mean over samples of the maps of one unit; :class:`captum_erf.ERFMap` tells what it holds."""

    groups: Groups
    layer: str
    theoretical: TheoreticalReceptiveField | None
    recipe: dict[str, Any]

    @classmethod
    def from_sums(
        cls,
        sums: GroupSums,
        *,
        size: tuple[int, ...],
        layer: str,
        theoretical: TheoreticalReceptiveField | None,
        recipe: dict[str, Any],
    ) -> Self:
        """The mean of what has been summed up so far."""
        return cls(sums.finished(size), layer, theoretical, recipe)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        return self.groups.mean()

    @property
    def num_samples(self) -> int:
        return int(self.groups.counts.sum())

    @property
    def num_dead(self) -> int:
        return int(self.groups.dead.sum())

    @property
    def num_nonfinite(self) -> int:
        return self.groups.num_nonfinite

    @property
    def position(self) -> tuple[int, ...] | None:
        """Index of the unit in the layer's grid; None where there is none."""
        return None if self.theoretical is None else self.theoretical.position

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Units of the layer per axis; None where it has no grid."""
        return None if self.theoretical is None else self.theoretical.grid

    @property
    def center(self) -> tuple[float, ...]:
        """Unit centre in input pixels: where every radius starts."""
        if self.theoretical is None:
            return tuple((length - 1) / 2 for length in self.groups.size)
        return self.theoretical.center

    @property
    def center_source(self) -> str:
        """What the centre is the middle of: the theoretical field, the unit's grid cell, or the input."""
        return "input" if self.theoretical is None else self.theoretical.center_source

    def radius_mass(self, metric: str = "chebyshev") -> summaries.RadiusMass:
        """Share of the map's sum within each distance of the unit centre, see :func:`summaries.radius_mass`."""
        return self._box_mass if metric == "chebyshev" else summaries.radius_mass(self.values, self.center, metric)

    def gaussian_fit(self) -> summaries.GaussianFit:
        """Least-squares Gaussian with a constant background, see :func:`summaries.gaussian_fit`."""
        return self._gaussian

    def compare_shapes(self) -> list[summaries.ShapeFit]:
        """Fits of five radial families, best first, see :func:`summaries.compare_shapes`."""
        return list(self._shapes)

    def moments(self) -> summaries.Moments:
        """Centroid and covariance of the map, see :func:`summaries.moments`."""
        return summaries.moments(self.values)

    def threshold_size(self, level: float = 1 - 0.9545) -> float:
        """Luo et al.'s size, see :func:`summaries.threshold_size`."""
        return summaries.threshold_size(self.values, self.center, level)

    def square_share(self, share: float) -> tuple[float, float]:
        """Ding et al.'s square, its side and share of the input, see :func:`summaries.square_share`."""
        return summaries.square_share(self.values, self.center, share)

    def effective_pixels(self) -> float:
        """Number of pixels that an even map with the same concentration would cover."""
        return summaries.effective_pixels(self.values)

    def estimate(self, statistic: Callable[[Self], Any]) -> tuple[Any, Any]:
        r"""
        A statistic of the map with its standard error over samples (delete-a-group jackknife).

        Args:
            statistic (Callable): Any function of the map that gives a number, an array, a dict of these, or None. It
                may use the map's values or its ``num_samples`` and ``num_dead``, which are those of the groups that
                stay (``num_nonfinite`` stays as it is).

        Returns:
            *tuple* ``(value, standard_error)``, both as the statistic gives them. The error is None with fewer than
            two groups of samples, or where the statistic is None, or undefined, without one of the groups.

        Raises:
            UndefinedStatistic: The statistic is undefined for the map itself.

        Examples::

            >>> import torch
            >>> from captum_erf import EffectiveReceptiveField
            >>> erf = EffectiveReceptiveField(torch.nn.Conv1d(1, 1, 3), layer="")
            >>> field = erf.aggregate([torch.randn(20, 1, 9)])
            >>> field.estimate(lambda field: field.values.sum())[1] < 1e-6
            True
        """
        value = statistic(self)
        try:
            without = [statistic(other) for other in self.leave_one_out()]
        except summaries.UndefinedStatistic:
            without = []
        return value, standard_error(value, without)

    def leave_one_out(self) -> Iterator[Self]:
        """The map without each group of samples in turn; nothing with fewer than two groups."""
        for other in self._without_one:
            yield other
            vars(other).pop("values", None)  # their fits are kept, their values would fill the memory

    @cached_property
    def _without_one(self) -> list[Self]:
        return [replace(self, groups=groups) for groups in self.groups.leave_one_out()]

    @cached_property
    def _box_mass(self) -> summaries.RadiusMass:
        return summaries.radius_mass(self.values, self.center)

    @cached_property
    def _gaussian(self) -> summaries.GaussianFit:
        return summaries.gaussian_fit(self.values, self.center)

    @cached_property
    def _shapes(self) -> list[summaries.ShapeFit]:
        return summaries.compare_shapes(self.values, self.center)
