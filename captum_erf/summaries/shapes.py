"""Least-squares fits of radial shapes to a map: a Gaussian, and the families that rival it.

Luo et al. (NeurIPS 2016) call effective receptive fields Gaussian. Here that is measured: every family is a
profile of the same elliptical radius, with a free centre, covariance, amplitude and constant background, and
the families are ranked. For a given ellipse the amplitude and background follow from linear least squares, so
the iteration runs over the ellipse alone (variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10,
1973; Jacobian after Kaufman, BIT 15, 1975), first on block means of the map and last on all its pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, reduce
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike

from .arrays import FloatArray, UndefinedStatistic, as_center, as_map, offsets
from .fits import GaussianFit, ShapeFit
from .profiles import DISC, GAUSSIAN, GENERALISED, LAPLACE, LORENTZIAN, Family, beta_of

LOG_WIDTHS = np.log([0.1, 1e6])  # pixels; narrower peaks look the same on the grid, wider ones like parabolas
EXACT = 1e-12  # share of the variance that counts as none, so that fewer parameters win a tie
SLAB = 16384  # pixels worked on at a time, few enough to stay in the processor's cache

Part = tuple[slice, ...]


def gaussian_fit(
    values: ArrayLike,
    center: Sequence[float] | None = None,
    within: Part | None = None,
    near: GaussianFit | None = None,
) -> GaussianFit:
    """
    Fits a rotated Gaussian on a constant background to all pixels of a map, by least squares.

    Args:
        values (array): Map with 1, 2 or 3 axes.
        center (sequence of float, optional): Pixel position per axis to try as a start, beside those found in
            the map. The mean stays free.
        within (tuple of slices, optional): Part of the map over which R^2 is taken, one slice with a start and a stop
            for each axis, so that it does not hang on how much empty input lies around. The fit is to all pixels.
        near (GaussianFit, optional): The fit of a map that differs little, from which alone to start; for the many maps
            of a jackknife.

    Returns:
        *GaussianFit*, in pixels and units of the map. A peak in one pixel gets a width of 0.1 to 0.2.

    Raises:
        UndefinedStatistic: The map is constant or has too few pixels.
        ValueError: It is not finite.

    Examples::

        >>> y, x = np.mgrid[:40, :40]
        >>> fit = gaussian_fit(0.5 + 2 * np.exp(-((y - 15) ** 2 / 18 + (x - 20) ** 2 / 50)))
        >>> fit.sigmas.round(3), round(fit.background, 3), round(fit.r2, 3)
        (array([5., 3.]), 0.5, 1.0)
    """
    levels = _levels(values)
    if near is None:
        solution = _minimise(levels, GAUSSIAN, _start(levels, center))
    else:
        solution = _minimise(levels[:1], GAUSSIAN, _ellipse(near))
    return GaussianFit(**vars(solution.report(within)))


def compare_shapes(
    values: ArrayLike, center: Sequence[float] | None = None, within: Part | None = None
) -> list[ShapeFit]:
    """
    Fits five radial families to all pixels of a map and ranks them by Akaike's criterion.

    All have a free centre, covariance, amplitude and background. Their profiles are

    - ``gaussian``: exp(-rho^2 / 2);
    - ``laplace``: exp(-rho);
    - ``lorentzian``: 1 / (1 + rho^2);
    - ``uniform disc``: 1 where rho < 1, else 0, with an edge that falls from 90 to 10 % over about one pixel,
      as a jump has no slope to follow;
    - ``generalised gaussian``: exp(-rho^beta / beta) with a free beta from 0.1 to 10, which is the Gaussian at 2
      and the Laplace shape at 1.

    Args:
        values (array): Map with 1, 2 or 3 axes.
        center (sequence of float, optional): Pixel position per axis to try as a start, beside those found in
            the map.
        within (tuple of slices, optional): Part of the map over which R^2 is taken, as in :func:`gaussian_fit`.

    Returns:
        *list* of **ShapeFit**, the best (lowest ``aic``) first; the Gaussian's is that of :func:`gaussian_fit`.

    Raises:
        UndefinedStatistic: The map is constant or has too few pixels.
        ValueError: It is not finite.

    Examples::

        >>> y, x = np.mgrid[:40, :40]
        >>> fits = compare_shapes(np.exp(-np.hypot(y - 15, x - 20) / 4))
        >>> fits[0].family
        'laplace'
    """
    levels = _levels(values)
    start = _start(levels, center)
    gaussian = _minimise(levels, GAUSSIAN, start)
    rivals = [_minimise(levels, family, gaussian.params) for family in (LAPLACE, LORENTZIAN, DISC)]
    if gaussian.is_near_border:
        rivals = _again(levels, rivals, start)
    near, beta = min((gaussian, 2.0), (rivals[0], 1.0), key=lambda pair: pair[0].rss)
    generalised = _minimise(levels, GENERALISED, np.append(near.params, np.log(beta)))
    if gaussian.is_near_border:
        rivals = _again(levels, rivals, generalised.params[:-1])
    fits = [solution.report(within) for solution in (*rivals, generalised)]
    return sorted([GaussianFit(**vars(gaussian.report(within))), *fits], key=lambda fit: fit.aic)


@dataclass(frozen=True)
class _Level:
    """A map's means over blocks of pixels, less its mean and divided by its height."""

    values: FloatArray
    block: tuple[int, ...]
    mean: float
    height: float

    @cached_property
    def products(self) -> FloatArray:
        """Sums over pixels of the products of all pairs of 1 and the values."""
        total = self.values.sum()
        return np.array([[self.values.size, total], [total, np.square(self.values).sum()]])


def _levels(values: ArrayLike) -> list[_Level]:
    """The map itself, then its means over blocks of twice the side, down to fewer than 8 along each axis."""
    array = as_map(values)
    num_params = 3 + array.ndim + array.ndim * (array.ndim + 1) // 2
    if min(array.shape) < 3 or array.size <= num_params:
        raise UndefinedStatistic(
            f"got a map of shape {array.shape}; expected at least 3 pixels along every axis and more than "
            f"{num_params} in all: fit a larger map, or squeeze its short axes"
        )
    mean, height = float(array.mean()), float(np.ptp(array))
    if height <= 1e-12 * np.abs(array).max():
        raise UndefinedStatistic(
            f"got a map that is {mean:.6g} everywhere; expected a peak to fit: a constant map has no shape "
            "(global average pooling of a linear model makes one)"
        )
    means, block = (array - mean) / height, [1] * array.ndim
    levels = [_Level(means, tuple(block), mean, height)]
    while max(means.shape) >= 8:
        for axis in range(array.ndim):
            if means.shape[axis] >= 8:
                lines = np.moveaxis(means, axis, 0)
                odd = lines[1::2]
                means = np.moveaxis(0.5 * (lines[::2][: len(odd)] + odd), 0, axis)
                block[axis] *= 2
        levels.append(_Level(means, tuple(block), mean, height))
    return levels


def _start(levels: Sequence[_Level], center: Sequence[float] | None) -> FloatArray:
    """Parameters of the Gaussian that explains most of those at a level's peak: round ones, then each axis' width."""
    num_dims = levels[0].values.ndim
    places = [] if center is None else [as_center(center, num_dims)]
    for level in levels:
        peak = np.array(np.unravel_index(level.values.argmax(), level.values.shape), dtype=np.float64)
        places.append((peak + 0.5) * level.block - 0.5)
    ladder = [_width(level) for level in levels]
    candidates = product(places, ([width] * num_dims for width in ladder))
    mean, widths = max(candidates, key=lambda candidate: _gain(levels, *candidate))
    for axis in range(num_dims):
        others = [[*widths[:axis], width, *widths[axis + 1 :]] for width in ladder]
        widths = max(others, key=lambda candidate: _gain(levels, mean, candidate))
    return np.concatenate([mean, np.log(widths), np.zeros(num_dims * (num_dims - 1) // 2)])


def _ellipse(fit: GaussianFit) -> FloatArray:
    """Parameters of a fit: those of :class:`_Problem`."""
    factor = np.linalg.cholesky(np.linalg.inv(fit.covariance))
    widths = 1 / np.diag(factor)
    shears = [factor[i, j] * widths[j] for j, i in combinations(range(len(widths)), 2)]
    return np.concatenate([fit.mean, np.log(widths), shears])


def _width(level: _Level) -> float:
    """The narrowest width that the level's blocks still show."""
    return 1.2 * max(level.block)


def _gain(levels: Sequence[_Level], mean: FloatArray, widths: Sequence[float]) -> float:
    """How much of the map's squares a Gaussian along the axes explains over a background; 0 for a hollow."""
    level = next(level for level in reversed(levels) if _width(level) <= min(widths))
    distances = offsets(level.values.shape, mean, level.block)
    lines = [
        np.exp(-0.5 * np.square(distance.ravel() / width)) for distance, width in zip(distances, widths, strict=True)
    ]
    covariance = reduce(np.matmul, reversed(lines), level.values - level.values.mean())
    total, squares = (float(np.prod([np.sum(line**power) for line in lines])) for power in (1, 2))
    variance = squares - total**2 / level.values.size
    return float(np.prod(level.block) * covariance**2 / variance) if covariance > 0 and variance > 0 else 0.0


@dataclass(frozen=True)
class _Problem:
    """The fit of one family to one level.

    The parameters are the mean, the logarithms of the widths w, the shears T below the diagonal and, for the
    generalised Gaussian, log beta. With ones on T's diagonal, T / w is the lower Cholesky factor of the
    inverse covariance: rho is the length of (T / w)' (q - mean).
    """

    level: _Level
    family: Family
    edge: float

    def factor(self, params: FloatArray) -> FloatArray:
        """T / w."""
        num_dims = self.level.values.ndim
        shear = np.eye(num_dims)
        for (j, i), number in zip(combinations(range(num_dims), 2), params[2 * num_dims :], strict=False):
            shear[i, j] = number
        return np.asarray(shear / np.exp(params[num_dims : 2 * num_dims].clip(*LOG_WIDTHS)))

    def products(self, params: FloatArray) -> FloatArray:
        """Sums over pixels of the products of all pairs of: 1, the profile, the map, the profile's slopes."""
        level, factor = self.level, self.factor(params)
        lines = [line.ravel() for line in offsets(level.values.shape, params[: level.values.ndim], level.block)]
        near = self._near(lines, factor)
        seen = level.values[near]
        first, *others = np.ix_(*(line[part] for line, part in zip(lines, near, strict=True)))
        rows = max(1, SLAB * len(first) // max(1, seen.size))
        gram = np.zeros((len(params) + 3, len(params) + 3))
        for row in range(0, len(first), rows):
            values = seen[row : row + rows]
            table = np.empty((len(gram), *values.shape))
            table[0], table[2] = 1.0, values
            self._fill(table, [first[row : row + rows], *others], factor, params)
            flat = table.reshape(len(table), -1)
            gram += flat @ flat.T
        gram[:3:2, :3:2] = level.products
        return gram

    def _near(self, lines: list[FloatArray], factor: FloatArray) -> Part:
        """The pixels around which there are only zeros of the profile, by their distances along each axis."""
        deviations = np.linalg.norm(np.linalg.inv(factor), axis=0)
        reaches = zip(lines, self.family.reach * deviations, strict=True)
        return tuple(slice(*np.searchsorted(line, [-reach, reach]).tolist()) for line, reach in reaches)

    def _fill(self, table: FloatArray, distances: list[FloatArray], factor: FloatArray, params: FloatArray) -> None:
        """Writes the profile into row 1 and its slopes by the parameters into rows 3 onwards."""
        axes = range(len(distances))
        parts = [reduce(np.add, [factor[i, j] * distances[i] for i in axes[j:]]) for j in axes]
        rho2 = reduce(np.add, [np.square(part) for part in parts])
        shape = params[-1] if self.family is GENERALISED else self.edge
        table[1], slope, shape_slope = self.family.profile(rho2, shape)
        slopes = [2 * slope * part for part in parts]
        by_mean, by_width, by_shear = table[3:], table[3 + len(axes) :], table[3 + 2 * len(axes) :]
        for i in axes:
            by_mean[i] = -reduce(np.add, [factor[i, j] * slopes[j] for j in axes[: i + 1]])
            by_width[i] = -slopes[i] * parts[i]
        for k, (j, i) in enumerate(combinations(axes, 2)):
            by_shear[k] = slopes[j] * (factor[j, j] * distances[i])
        if shape_slope is not None:
            table[-1] = shape_slope

    def solve(self, params: FloatArray) -> tuple[FloatArray, float, float]:
        """Background and amplitude by linear least squares, and what products they leave.

        That is the Schur complement: squares of the residuals and of their slopes, and between the two.
        """
        gram = self.products(params)
        linear = np.linalg.lstsq(gram[:2, :2], gram[:2, 2:], rcond=1e-15)[0]
        rest = gram[2:, 2:] - gram[2:, :2] @ linear
        background, amplitude = linear[:, 0].tolist()
        rest[1:] *= -amplitude
        rest[:, 1:] *= -amplitude
        return rest, background, amplitude

    def minimise(self, params: FloatArray, tolerance: float) -> FloatArray:
        """Levenberg-Marquardt on a few rows that have the same products as the residuals and slopes of all pixels."""
        from scipy.optimize import least_squares

        @lru_cache(maxsize=1)
        def rows(params: tuple[float, ...]) -> FloatArray:
            squares, axes = np.linalg.eigh(self.solve(np.array(params))[0])
            return np.asarray((axes * np.sqrt(squares.clip(0))).T)

        result = least_squares(
            lambda params: rows(tuple(params))[:, 0],
            params,
            lambda params: rows(tuple(params))[:, 1:],
            method="lm",
            x_scale="jac",
            ftol=tolerance,
            xtol=tolerance,
            gtol=tolerance,
            max_nfev=50,
        )
        return np.asarray(result.x)


@dataclass(frozen=True)
class _Solution:
    """The parameters that minimise a problem."""

    problem: _Problem
    params: FloatArray

    @property
    def rss(self) -> float:
        return float(self.problem.solve(self.params)[0][0, 0])

    @property
    def is_near_border(self) -> bool:
        """Whether the mean lies within a width of the map's border, or outside, where other shapes seldom follow."""
        shape = np.array(self.problem.level.values.shape)
        mean, width = self.params[: len(shape)], np.exp(self.params[len(shape) : 2 * len(shape)])
        return bool((np.minimum(mean, shape - 1 - mean) < width).any())

    def r2(self, within: Part | None, background: float, amplitude: float) -> float:
        """Share of the variance over a part of the map that the fit to all of it explains."""
        level = self.problem.level
        lines = within or [slice(0, length) for length in level.values.shape]
        part, moved = replace(level, values=level.values[tuple(lines)]), self.params.copy()
        moved[: len(lines)] -= [line.start for line in lines]
        gram = replace(self.problem, level=part).products(moved)[:3, :3]
        residual = np.array([-background, -amplitude, 1.0])
        variance = gram[2, 2] - gram[0, 2] ** 2 / gram[0, 0]
        return 1 - max(float(residual @ gram @ residual / variance), EXACT) if variance > 0 else 0.0

    def report(self, within: Part | None) -> ShapeFit:
        """In pixels and in units of the map."""
        params, level, family = self.params, self.problem.level, self.problem.family
        num_dims, num_pixels = level.values.ndim, level.values.size
        inverse = np.linalg.inv(self.problem.factor(params))
        rest, background, amplitude = self.problem.solve(params)
        squares = float(np.square(level.values).sum())
        unexplained = float(np.clip(rest[0, 0] / squares, EXACT, 1.0))
        log_rss = np.log(unexplained * squares) + 2 * np.log(level.height)
        return ShapeFit(
            family=family.name,
            amplitude=level.height * amplitude,
            background=level.mean + level.height * background,
            mean=params[:num_dims],
            covariance=inverse.T @ inverse,
            beta=beta_of(params[-1]) if family is GENERALISED else None,
            r2=self.r2(within, background, amplitude),
            aic=float(num_pixels * (log_rss - np.log(num_pixels)) + 2 * (len(params) + 2)),
        )


def _again(levels: Sequence[_Level], solutions: Sequence[_Solution], start: FloatArray) -> list[_Solution]:
    """The solutions, or those from another start where they are better."""
    others = (_minimise(levels, solution.problem.family, start) for solution in solutions)
    return [min(pair, key=lambda solution: solution.rss) for pair in zip(solutions, others, strict=True)]


def _minimise(levels: Sequence[_Level], family: Family, start: FloatArray) -> _Solution:
    """The solution on the finest level, by way of the coarser ones whose blocks the shape spans."""
    num_dims = levels[0].values.ndim
    widths = slice(num_dims, 2 * num_dims)
    params = start.copy()
    params[widths] += np.log(family.scale)
    narrowest = np.exp(params[widths].min())
    for level in reversed(levels):
        block = max(level.block)
        if block == 1 or 3 * block <= narrowest:
            problem = _Problem(level, family, edge=min(0.5, 0.25 * block / np.exp(params[widths].mean())))
            params = problem.minimise(params, tolerance=family.tolerance if block == 1 else 1e-5)
            params[widths] = params[widths].clip(*LOG_WIDTHS)
    return _Solution(problem, params)
