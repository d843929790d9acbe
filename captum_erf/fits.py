"""Least-squares fits of radial shapes to a map: a Gaussian, and the families that rival it.

Luo et al. (NeurIPS 2016) call effective receptive fields Gaussian. Here that is measured: every family is a
profile of the same elliptical radius, with a free centre, covariance, amplitude and constant background, and
the families are ranked. For a given ellipse the amplitude and background follow from linear least squares, so
the iteration runs over the ellipse alone (variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10,
1973; Jacobian after Kaufman, BIT 15, 1975), first on block means of the map and last on all its pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from .maps import Ellipse, FloatArray, as_map, as_position, listed, offsets

Profile = Callable[[FloatArray, float], tuple[FloatArray, FloatArray, FloatArray | None]]

NARROWEST = 0.1  # sigma in pixels; a narrower peak looks the same on the pixel grid
WIDEST = 1000.0  # sigma over the longest axis; a wider one looks like a parabola
BETAS = (0.1, 30.0)
SLAB = 16384  # pixels worked on at a time, few enough to stay in the processor's cache
ZERO = 1e-24  # stands in for rho^2 = 0, where rho has no slope


@dataclass(frozen=True, eq=False, repr=False)
class ShapeFit(Ellipse):
    """The fit of ``background + amplitude * profile(rho)``, rho^2 = (q - mean)' covariance^-1 (q - mean).

    Attributes:
        family: name of the profile, one of those listed at :func:`compare_shapes`.
        amplitude: height over the background, in units of the map; negative for a hollow.
        background: constant level, in units of the map.
        mean: centre per axis, in pixels (0 is the middle of the first); it may lie outside the map.
        covariance: of shape ``(D, D)``, in squared pixels. The ellipse where rho is 1; only for the Gaussian is
            it the covariance of the shape itself.
        beta: exponent of the generalised Gaussian; None for the other families.
        r2: share of the map's variance over pixels that the fit explains.
        aic: Akaike's n log(RSS / n) + 2 k for n pixels and k free parameters. As neighbouring pixels are not
            independent, differences rank the families but are no odds.
        sigmas: square roots of the covariance's eigenvalues, in pixels, largest first.
        angle: direction of the longest axis in degrees from the last axis (x), above -90 and up to 90,
            counter-clockwise in the image seen with its first row at the top; None unless there are two axes.
    """

    family: str
    amplitude: float
    background: float
    mean: FloatArray
    covariance: FloatArray
    beta: float | None
    r2: float
    aic: float

    def __repr__(self) -> str:
        beta = "" if self.beta is None else f"beta {self.beta:.4g}; "
        return (
            f"{type(self).__name__}({self.family}: R^2 {self.r2:.4g}; {beta}mean {listed(self.mean)} px; "
            f"{self._report()}; amplitude {self.amplitude:.4g}; background {self.background:.4g})"
        )


class GaussianFit(ShapeFit):
    """The :class:`ShapeFit` of ``background + amplitude * exp(-rho^2 / 2)``."""


def gaussian_fit(values: ArrayLike, center: Sequence[float] | None = None) -> GaussianFit:
    """Fits a rotated Gaussian on a constant background to all pixels of a map, by least squares.

    Args:
        values: map with 1, 2 or 3 axes.
        center: a pixel position per axis to try as a start, beside those found in the map; the mean stays free.

    Returns:
        The fit, in pixels and units of the map. Widths below 0.1 pixel, which the grid cannot show, end there.

    Raises:
        ValueError: if the map is constant, not finite, or has too few pixels.

    Examples::

        >>> y, x = np.mgrid[:40, :40]
        >>> fit = gaussian_fit(0.5 + 2 * np.exp(-((y - 15) ** 2 / 18 + (x - 20) ** 2 / 50)))
        >>> fit.sigmas.round(3), round(fit.background, 3), round(fit.r2, 3)
        (array([5., 3.]), 0.5, 1.0)
    """
    levels = _levels(values)
    return GaussianFit(**vars(_minimise(levels, GAUSSIAN, _start(levels, center)).report()))


def compare_shapes(values: ArrayLike, center: Sequence[float] | None = None) -> list[ShapeFit]:
    """Fits five radial families to all pixels of a map and ranks them by Akaike's criterion.

    All have a free centre, covariance, amplitude and background. Their profiles are

    - ``gaussian``: exp(-rho^2 / 2);
    - ``laplace``: exp(-rho);
    - ``lorentzian``: 1 / (1 + rho^2);
    - ``uniform disc``: 1 where rho < 1, else 0, with an edge that falls from 90 to 10 % over about one pixel,
      as a jump has no slope to follow;
    - ``generalised gaussian``: exp(-rho^beta / beta) with a free beta from 0.1 to 30, which is the Gaussian at 2
      and the Laplace shape at 1.

    Args:
        values: map with 1, 2 or 3 axes.
        center: a pixel position per axis to try as a start, beside those found in the map.

    Returns:
        One fit per family, the best (lowest ``aic``) first; the Gaussian's is that of :func:`gaussian_fit`.

    Raises:
        ValueError: if the map is constant, not finite, or has too few pixels.

    Examples::

        >>> y, x = np.mgrid[:40, :40]
        >>> fits = compare_shapes(np.exp(-np.hypot(y - 15, x - 20) / 4))
        >>> describe_shapes(fits)
        'best: laplace, R^2 1.000; gaussian R^2 0.966'
    """
    levels = _levels(values)
    gaussian = _minimise(levels, GAUSSIAN, _start(levels, center))
    laplace, lorentzian, disc = (
        _minimise(levels, family, gaussian.params) for family in (LAPLACE, LORENTZIAN, DISC)
    )
    near, beta = min((gaussian, 2.0), (laplace, 1.0), key=lambda pair: pair[0].rss)
    generalised = _minimise(levels, GENERALISED, np.append(near.params, np.log(beta)))
    rivals = [solution.report() for solution in (laplace, lorentzian, disc, generalised)]
    return sorted([GaussianFit(**vars(gaussian.report())), *rivals], key=lambda fit: fit.aic)


def describe_shapes(fits: Sequence[ShapeFit]) -> str:
    """Says in one sentence which family of :func:`compare_shapes` fits best, and how well a Gaussian does."""
    best, gaussian = fits[0], next(fit for fit in fits if fit.family == "gaussian")
    beta = "" if best.beta is None else f", beta {best.beta:.2f}"
    rest = "" if best is gaussian else f"; gaussian R^2 {gaussian.r2:.3f}"
    return f"best: {best.family}{beta}, R^2 {best.r2:.3f}{rest}"


def _gaussian(rho2: FloatArray, _: float) -> tuple[FloatArray, FloatArray, None]:
    value = np.exp(-0.5 * rho2)
    return value, -0.5 * value, None


def _laplace(rho2: FloatArray, _: float) -> tuple[FloatArray, FloatArray, None]:
    rho = np.sqrt(np.maximum(rho2, ZERO))
    value = np.exp(-rho)
    return value, -0.5 * value / rho, None


def _lorentzian(rho2: FloatArray, _: float) -> tuple[FloatArray, FloatArray, None]:
    value = 1 / (1 + rho2)
    return value, -np.square(value), None


def _disc(rho2: FloatArray, edge: float) -> tuple[FloatArray, FloatArray, None]:
    rho = np.sqrt(np.maximum(rho2, ZERO))
    value = 0.5 + 0.5 * np.tanh((1 - rho) / (2 * edge))
    return value, -0.5 * value * (1 - value) / (edge * rho), None


def _generalised(rho2: FloatArray, log_beta: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    beta = _beta(log_beta)
    log_rho = 0.5 * np.log(np.maximum(rho2, ZERO))
    power = np.exp(np.minimum(beta * log_rho, 300.0))
    value = np.exp(-power / beta)
    slope = value * power
    return value, -0.5 * slope * np.exp(-2 * log_rho), slope * (1 / beta - log_rho)


def _beta(log_beta: float) -> float:
    return float(np.exp(np.clip(log_beta, *np.log(BETAS))))


@dataclass(frozen=True)
class _Family:
    """A profile: from rho^2 and a shape number to its value and its slopes along both (None: not fitted).

    ``scale`` is about its width over that of the Gaussian that fits it best, ``tolerance`` the share of the
    residual sum of squares that the last step may still gain.
    """

    name: str
    profile: Profile
    scale: float = 1.0
    tolerance: float = 1e-8


GAUSSIAN = _Family("gaussian", _gaussian)
LAPLACE = _Family("laplace", _laplace, 0.7)
LORENTZIAN = _Family("lorentzian", _lorentzian, 0.8)
DISC = _Family("uniform disc", _disc, 2.0, 1e-5)
GENERALISED = _Family("generalised gaussian", _generalised)


@dataclass(frozen=True)
class _Level:
    """A map's means over blocks of pixels, less its mean and divided by its height."""

    values: FloatArray
    block: tuple[int, ...]
    mean: float
    height: float


def _levels(values: ArrayLike) -> list[_Level]:
    """The map itself, then its means over blocks of twice the side, down to fewer than 8 along each axis."""
    array = as_map(values)
    num_params = 3 + array.ndim + array.ndim * (array.ndim + 1) // 2
    if min(array.shape) < 3 or array.size <= num_params:
        raise ValueError(
            f"got a map of shape {array.shape}; expected at least 3 pixels along every axis and more than "
            f"{num_params} in all: fit a larger map, or squeeze its short axes"
        )
    mean, height = float(array.mean()), float(np.ptp(array))
    if height <= 1e-12 * np.abs(array).max():
        raise ValueError(
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
    """Parameters of the round Gaussian that explains most, out of a width per level at each level's peak."""
    num_dims = levels[0].values.ndim
    places = [] if center is None else [as_position(center, num_dims)]
    for level in levels:
        peak = np.array(np.unravel_index(level.values.argmax(), level.values.shape), dtype=np.float64)
        places.append((peak + 0.5) * level.block - 0.5)
    level, mean = max(product(levels, places), key=lambda pair: _gain(*pair))
    shears = np.zeros(num_dims * (num_dims - 1) // 2)
    return np.concatenate([mean, np.full(num_dims, np.log(_width(level))), shears])


def _width(level: _Level) -> float:
    return 1.2 * max(level.block)


def _gain(level: _Level, mean: FloatArray) -> float:
    """How much of the map's squares a round Gaussian of the level's width over a background explains."""
    distances = offsets(level.values.shape, mean, level.block)
    lines = [np.exp(-0.5 * np.square(distance.ravel() / _width(level))) for distance in distances]
    covariance = reduce(np.matmul, reversed(lines), level.values - level.values.mean())
    total, squares = (float(np.prod([np.sum(line**power) for line in lines])) for power in (1, 2))
    variance = squares - total**2 / level.values.size
    return (
        float(np.prod(level.block) * covariance**2 / variance) if covariance > 0 and variance > ZERO else 0.0
    )


@dataclass(frozen=True)
class _Problem:
    """The fit of one family to one level.

    The parameters are the mean, the logarithms of the widths w, the shears T below the diagonal and, for the
    generalised Gaussian, log beta. With ones on T's diagonal, T / w is the lower Cholesky factor of the inverse
    covariance: rho is the length of (T / w)' (q - mean).
    """

    level: _Level
    family: _Family
    edge: float

    def factor(self, params: FloatArray) -> FloatArray:
        num_dims = self.level.values.ndim
        widest = WIDEST * max(np.multiply(self.level.values.shape, self.level.block))
        shear = np.eye(num_dims)
        below = np.tril_indices(num_dims, -1)
        shear[below] = params[2 * num_dims :][: len(below[0])]
        widths = np.exp(params[num_dims : 2 * num_dims].clip(np.log(NARROWEST), np.log(widest)))
        return np.asarray(shear / widths)

    def products(self, params: FloatArray) -> FloatArray:
        """Sums over pixels of the products of all pairs of: 1, the profile, the map, the profile's slopes."""
        level, factor = self.level, self.factor(params)
        first, *others = offsets(level.values.shape, params[: level.values.ndim], level.block)
        rows = max(1, SLAB * len(first) // level.values.size)
        gram = np.zeros((len(params) + 3, len(params) + 3))
        for row in range(0, len(first), rows):
            values = level.values[row : row + rows]
            table = np.empty((len(gram), *values.shape))
            table[0], table[2] = 1.0, values
            self._fill(table, [first[row : row + rows], *others], factor, params)
            flat = table.reshape(len(table), -1)
            gram += flat @ flat.T
        return gram

    def _fill(
        self, table: FloatArray, distances: list[FloatArray], factor: FloatArray, params: FloatArray
    ) -> None:
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
        for k, (i, j) in enumerate(zip(*np.tril_indices(len(axes), -1), strict=True)):
            by_shear[k] = slopes[j] * (factor[j, j] * distances[i])
        if shape_slope is not None:
            table[-1] = shape_slope

    def solve(self, params: FloatArray) -> tuple[FloatArray, float, float]:
        """Background and amplitude by linear least squares, and what products they leave.

        That is the Schur complement: squares of the residuals and of their slopes, and between the two.
        """
        gram = self.products(params)
        linear = np.linalg.pinv(gram[:2, :2], hermitian=True) @ gram[:2, 2:]
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

    def report(self) -> ShapeFit:
        """In pixels and in units of the map."""
        params, level, family = self.params, self.problem.level, self.problem.family
        num_dims, num_pixels = level.values.ndim, level.values.size
        inverse = np.linalg.inv(self.problem.factor(params))
        rest, background, amplitude = self.problem.solve(params)
        squares = float(np.square(level.values).sum())
        rss = max(rest[0, 0], np.finfo(np.float64).eps * squares)
        return ShapeFit(
            family=family.name,
            amplitude=level.height * amplitude,
            background=level.mean + level.height * background,
            mean=params[:num_dims],
            covariance=inverse.T @ inverse,
            beta=_beta(params[-1]) if family is GENERALISED else None,
            r2=1 - rss / squares,
            aic=num_pixels * float(np.log(rss / num_pixels) + 2 * np.log(level.height))
            + 2 * (len(params) + 2),
        )


def _minimise(levels: Sequence[_Level], family: _Family, start: FloatArray) -> _Solution:
    """The solution on the finest level, by way of the coarser ones whose blocks the shape spans."""
    num_dims = levels[0].values.ndim
    params = start.copy()
    params[num_dims : 2 * num_dims] += np.log(family.scale)
    narrowest = np.exp(params[num_dims : 2 * num_dims].min())
    for level in reversed(levels):
        block = max(level.block)
        if block == 1 or 3 * block <= narrowest:
            radius = np.exp(params[num_dims : 2 * num_dims].mean())
            problem = _Problem(level, family, edge=min(0.5, 0.25 * block / radius))
            params = problem.minimise(params, tolerance=family.tolerance if block == 1 else 1e-5)
    return _Solution(problem, params)
