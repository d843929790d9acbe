"""The mean map of one unit, and its numbers with standard errors.

Definitions follow Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks"
(NeurIPS 2016), section 2; the formulas are those of :mod:`captum_erf.summaries`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import summaries
from ..geometry.field import TheoreticalReceptiveField, cell_center
from ..summaries.mass import Interval
from ..summaries.sizes import LUO_LEVEL
from .sums import Groups, corrected, standard_error


@dataclass(frozen=True, eq=False, repr=False)
class MeanMap:
    """Mean over samples of the maps of one unit; :class:`captum_erf.ERFMap` tells what it holds."""

    groups: Groups
    layer: str
    theoretical: TheoreticalReceptiveField | None
    recipe: dict[str, Any]
    whole: MeanMap | None = None  # the map from which this one leaves a group out

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
        """
        Unit centre in input pixels: the point onto which the unit projects.

        On an axis on which the theoretical field is global or clipped it is measured: the middle of the smallest box
        that holds half of the map.
        """
        expected = self.cell_center if self.theoretical is None else self.theoretical.center
        if all(self._known_axes) or self._measured_center is None:
            return expected
        axes = zip(expected, self._measured_center, self._known_axes, strict=True)
        return tuple(own if is_known else place for own, place, is_known in axes)

    @property
    def center_source(self) -> str:
        """
        Where the unit centre is from: ``"theoretical"``, ``"measured"``, or ``"mixed"`` by axis.

        A map with negative values holds no shares, so that the centre cannot be measured: there it is that of the
        unit's ``"grid cell"``, or of the ``"input"`` where the layer has no grid.
        """
        if all(self._known_axes):
            return "theoretical"
        if self._measured_center is None:
            return "input" if self.theoretical is None else self.theoretical.center_source
        return "mixed" if any(self._known_axes) else "measured"

    @property
    def cell_center(self) -> tuple[float, ...]:
        """Middle of the unit's own grid cell; of the input where the layer has no grid."""
        size, trf = self.groups.size, self.theoretical
        if trf is None:
            return tuple((length - 1) / 2 for length in size)
        return cell_center(trf.position, trf.grid, size)

    @property
    def displacement(self) -> tuple[float, ...]:
        """From the unit centre to the middle of the smallest box with half of the map. It jumps: doubt its error."""
        middles = _middles(self._mass.box(0.5))
        return tuple(middle - place for middle, place in zip(middles, self.center, strict=True))

    def radius_mass(
        self, metric: str = "chebyshev", center: Sequence[float] | str | None = None
    ) -> summaries.RadiusMass:
        r"""
        Share of the map's sum in a box of each side, see :func:`summaries.radius_mass`.

        Args:
            metric (str): ``"chebyshev"`` for boxes, ``"euclidean"`` for balls.
            center (sequence of float or str, optional): Where the boxes lie: None wherever they hold most, ``"unit"``
                around the unit centre, or around a point in pixels. Balls lie around the unit centre unless told.
        """
        if center is None and metric == "chebyshev":
            return self._mass
        if isinstance(center, str) and center != "unit":
            raise ValueError(f'center must be None, "unit" or a pixel position per axis, got {center!r}.')
        place = self.center if center is None or isinstance(center, str) else center
        return summaries.radius_mass(self.values, place, metric)

    def equivalent_width(self) -> float:
        """A size without threshold or fit, see :func:`summaries.equivalent_width`."""
        return self._mass.equivalent_width()

    def tail_ratio(self) -> float:
        """How long the tails are against the core, see :func:`summaries.tail_ratio`."""
        return self._mass.tail_ratio()

    def extent(self, share: float, spacing: float | Sequence[float] | None = None) -> list[Interval]:
        r"""
        How far the map reaches back and ahead on each axis, see :func:`summaries.extent`.

        Ends are counted from the middle of the unit's own grid cell (of the input where the layer has no grid). As they
        jump from one pixel's face to another, believe the standard error of an interval's length alone.
        """
        return summaries.extent(self.values, share, self.cell_center, spacing)

    def gaussian_fit(self) -> summaries.GaussianFit:
        """
        Least-squares Gaussian with a constant background, see :func:`summaries.gaussian_fit`.

        R^2 is that over the theoretical field with a margin of half its size, not over all the empty input around it.
        """
        return self._gaussian

    def compare_shapes(self) -> list[summaries.ShapeFit]:
        """Fits of five radial families, best first, see :func:`summaries.compare_shapes`."""
        return list(self._shapes)

    def moments(self) -> summaries.Moments:
        """Centroid and covariance of the map, see :func:`summaries.moments`."""
        return summaries.moments(self.values)

    def threshold_size(self, level: float = LUO_LEVEL, reference: str = "pixel") -> float:
        """
        Luo et al.'s size, see :func:`summaries.threshold_size`.

        Args:
            level (float): Share of the centre's value above which pixels count.
            reference (str): The ``"pixel"`` nearest to the unit centre, as in the paper, or the ``"cell"`` of the
                layer's stride around it, over which a mean is taken: one pixel more or less makes sizes of 89 to 143 px
                of one map.
        """
        if reference not in ("pixel", "cell"):
            raise ValueError(f'reference must be "pixel" or "cell", got {reference!r}.')
        cell = self.theoretical.stride if reference == "cell" and self.theoretical is not None else None
        return summaries.threshold_size(self.values, self.center, level, cell)

    def square_share(self, share: float) -> tuple[float, float]:
        """Ding et al.'s square around the unit centre, see :func:`summaries.square_share`."""
        return summaries.square_share(self.values, self.center, share)

    def effective_pixels(self) -> float:
        """Number of pixels that an even map with the same concentration would cover."""
        return summaries.effective_pixels(self.values)

    def share_of_theory(self, prediction: ArrayLike) -> float:
        r"""
        How much of the map the architecture alone explains.

        Args:
            prediction (array): Of the map's shape, the mean squared gradient that
                :func:`captum_erf.theory.random_weights` predicts; of a map of mean |dy/dx| its square root is taken.

        Returns:
            *float*: R^2 of the map against the prediction with one free scale, over the theoretical field with a margin
            of half its size; the part of it that is noise, which falls with the number of samples, is taken off.

        Raises:
            ValueError: The prediction has another shape or negative values, or the map's magnitude has no prediction.
        """
        magnitude = self.recipe.get("magnitude", "abs")
        squares = np.asarray(prediction, dtype=np.float64)
        if squares.shape != self.groups.size or not (squares >= 0).all():
            raise ValueError(
                f"got a prediction of shape {squares.shape}; expected mean squares of shape {self.groups.size}, as "
                "theory.random_weights gives them."
            )
        if magnitude not in ("abs", "square"):
            raise ValueError(f"There is no prediction for magnitude {magnitude!r}; measure with 'abs' or 'square'.")
        expected = np.sqrt(squares) if magnitude == "abs" else squares

        def r2(field: Self) -> float:
            return summaries.share_of_theory(field.values, expected, self._around_trf)

        return float(corrected(*self.replicates(r2), most=1.0))

    def estimate(self, statistic: Callable[[Self], Any]) -> tuple[Any, Any]:
        r"""
        A statistic of the map with its standard error over samples (delete-a-group jackknife).

        In simulations 95 % intervals, t(groups - 1) errors to both sides, hold the truth in 91 to 97 % of cases, and in
        88 to 95 % if few samples with large gradients carry the mean, which ``normalize=True`` mends. The tail ratio's
        over 6 or 3 images do not: 86 and 78 %.

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
        value, without = self.replicates(statistic)
        return value, standard_error(value, without)

    def difference(self, other: Self, statistic: Callable[[Self], Any]) -> tuple[Any, Any]:
        r"""
        How much larger a statistic is here than there, image by image.

        The same samples are left out of both maps in turn, so that what both networks owe to the images cancels.

        Args:
            other (ERFMap): Of another network, layer or unit, measured on the same samples in the same order.
            statistic (Callable): As in :meth:`estimate`.

        Returns:
            *tuple* ``(difference, standard_error)``.

        Raises:
            ValueError: The two did not see the same samples in the same order.
            UndefinedStatistic: The statistic is undefined for one of the maps.

        Examples::

            >>> import torch
            >>> from torch import nn
            >>> from captum_erf import EffectiveReceptiveField
            >>> images = list(torch.randn(4, 8, 1, 16))
            >>> one, two = (EffectiveReceptiveField(nn.Conv1d(1, 8, k), "").aggregate(images) for k in (3, 9))
            >>> value, error = two.difference(one, lambda field: field.equivalent_width())
            >>> value > 1
            True
        """
        return self._paired(operator.sub, other, statistic)

    def ratio(self, other: Self, statistic: Callable[[Self], Any]) -> tuple[Any, Any]:
        r"""
        How many times as large a statistic is here as there, image by image.

        Args:
            other (ERFMap), statistic (Callable): As in :meth:`difference`.

        Returns:
            *tuple* ``(ratio, standard error of its logarithm)``: a 95 % interval is the ratio times and over
            exp(t * error). None where the statistic is not positive.

        Raises:
            ValueError, UndefinedStatistic: As in :meth:`difference`.
        """
        value, error = self._paired(_log_ratio, other, statistic)
        return None if value is None else np.exp(value).tolist(), error

    def _paired(
        self, combine: Callable[[Any, Any], Any], other: Self, statistic: Callable[[Self], Any]
    ) -> tuple[Any, Any]:
        """The statistic here and there, combined, with the standard error; None where one of them is None."""
        self.groups.check_paired(other.groups)

        def combined(*pair: Self) -> Any:
            ours, theirs = map(statistic, pair)
            return None if ours is None or theirs is None else combine(ours, theirs)

        value, without = self.replicates(combined, other)
        return value, standard_error(value, without)

    def replicates(self, statistic: Callable[..., Any], *others: Self) -> tuple[Any, list[Any]]:
        """A statistic of the map, and its values without each group; of several maps without the same group in all."""
        maps = (self, *others)
        value = statistic(*maps)
        try:
            return value, [statistic(*rest) for rest in zip(*(one.leave_one_out() for one in maps), strict=True)]
        except summaries.UndefinedStatistic:
            return value, []

    def leave_one_out(self) -> Iterator[Self]:
        """The map without each group of samples in turn; nothing with fewer than two groups."""
        for other in self._without_one:
            yield other
            for large in ("values", "_mass"):  # fits are kept; these would fill the memory
                vars(other).pop(large, None)

    @cached_property
    def _without_one(self) -> list[Self]:
        return [replace(self, groups=groups, whole=self) for groups in self.groups.leave_one_out()]

    @cached_property
    def _mass(self) -> summaries.RadiusMass:
        return summaries.radius_mass(self.values)

    @cached_property
    def _gaussian(self) -> summaries.GaussianFit:
        near = None if self.whole is None else self.whole.gaussian_fit()
        return summaries.gaussian_fit(self.values, self.center, self._around_trf, near)

    @cached_property
    def _shapes(self) -> list[summaries.ShapeFit]:
        return summaries.compare_shapes(self.values, self.center, self._around_trf)

    @cached_property
    def _measured_center(self) -> tuple[float, ...] | None:
        try:
            return _middles(self._mass.box(0.5))
        except summaries.UndefinedStatistic:
            return None

    @property
    def _known_axes(self) -> tuple[bool, ...]:
        """Axes on which the theoretical field tells the unit centre."""
        if self.theoretical is None:
            return (False,) * len(self.groups.size)
        return tuple(not of_cell for of_cell in self.theoretical.cell_axes)

    @property
    def _around_trf(self) -> tuple[slice, ...] | None:
        """The theoretical field with a margin of half its size; None for the whole input."""
        trf = self.theoretical
        if trf is None or trf.is_clipped:
            return None
        margins = [(size + 1) // 2 for size in trf.size]
        axes = zip(trf.lower, trf.upper, margins, trf.global_axes, self.groups.size, strict=True)
        return tuple(
            slice(0, length) if everywhere else slice(max(lower - margin, 0), min(upper + margin, length))
            for lower, upper, margin, everywhere, length in axes
        )


def _middles(box: Sequence[Interval]) -> tuple[float, ...]:
    return tuple((lower + upper) / 2 for lower, upper in box)


def _log_ratio(ours: Any, theirs: Any) -> Any:
    positive = np.all(np.asarray(ours) > 0) and np.all(np.asarray(theirs) > 0)
    return np.log(ours) - np.log(theirs) if positive else None
