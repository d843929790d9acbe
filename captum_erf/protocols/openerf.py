"""OpenERF: the positive part of the mean gradient over input channels, and its sum within Euclidean radii."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from torch import Tensor

from .. import summaries
from ..attribution import EffectiveReceptiveField
from ..erfmap import ERFMap
from ..names import named
from ..network.layouts import tokens
from ..summaries.arrays import FloatArray, offsets
from ..text import number, place
from .protocol import Protocol, ProtocolReport, line

RADII = tuple(range(5, 85, 5))
BEFORE_MIDDLE = 0.499  # as a share of the grid: the middle of odd grids, of even ones the unit before it


@named("captum_erf.protocols.channel_mean")
def channel_mean(values: Tensor) -> Tensor:
    """Mean over channels of the values of a unit ``(N, C)``."""
    return values.mean(1)


@named("captum_erf.protocols.rectified_mean")
def rectified_mean(gradient: Tensor) -> Tensor:
    """Positive part of the mean over input channels of a gradient ``(N, C_in, *size)``."""
    return gradient.mean(1).clamp_min(0)


def euclidean_shares(values: FloatArray, center: Sequence[float], radii: Sequence[float]) -> FloatArray:
    """Share of the map's sum within each Euclidean radius of a centre."""
    curve = summaries.stepped_radius_mass(values, center, "euclidean")
    last = np.searchsorted(curve.radii, radii, side="right") - 1
    return np.where(last >= 0, curve.mass[last], 0.0)


def axis_aligned_gaussian(values: FloatArray, center: Sequence[float]) -> tuple[FloatArray, float]:
    """Standard deviation per axis and R^2 of the least-squares Gaussian along the axes.

    Its centre is free, and as in the tool it has no background, so that it is wider than that of
    :func:`captum_erf.summaries.gaussian_fit`; ``center`` is where to start from.

    Raises:
        UndefinedStatistic: The map is constant or has too few pixels.
    """
    from scipy.optimize import least_squares

    num_dims = values.ndim
    start = summaries.gaussian_fit(values, center)
    target = values / values.max()
    limits = np.log([0.1, 1000 * max(values.shape)])

    def widths(params: FloatArray) -> FloatArray:
        sigmas: FloatArray = np.exp(params[num_dims:].clip(*limits))
        return sigmas

    def residuals(params: FloatArray) -> FloatArray:
        distances = offsets(values.shape, params[:num_dims], [1] * num_dims)
        scaled = zip(distances, widths(params), strict=True)
        bell = reduce(np.multiply, [np.exp(-0.5 * np.square(distance / width)) for distance, width in scaled])
        amplitude = (bell * target).sum() / (np.square(bell).sum() or 1.0)
        return np.ravel(target - amplitude * bell)

    params = np.concatenate([start.mean, 0.5 * np.log(np.diag(start.covariance))])
    found = least_squares(residuals, params, method="lm", ftol=1e-10, xtol=1e-10)
    return widths(found.x), float(1 - 2 * found.cost / np.square(target - target.mean()).sum())


@dataclass(frozen=True, repr=False)
class OpenERFReport(ProtocolReport):
    r"""
    OpenERF's numbers, around ``(H // 2, W // 2)``.

    Attributes:
        center (tuple[int, ...]): That pixel.
        radii (tuple[int, ...]), shares (tuple[float, ...]): Euclidean radii in pixels, and the share of the sum within.
        center_of_mass (tuple[float, ...]), argmax (tuple[int, ...]): Mean position, and the largest value's.
        sigmas (tuple[float, ...]), r2 (float): Least-squares Gaussian along the axes, with a free centre and no
            background: its standard deviation per axis, in the map's order (y, x), and R^2. None for a constant map.
    """

    protocol = "OPENERF"
    source = "rectified mean gradient"

    center: tuple[int, ...]
    radii: tuple[int, ...]
    shares: tuple[float, ...]
    shares_se: tuple[float | None, ...]
    center_of_mass: tuple[float, ...]
    argmax: tuple[int, ...]
    sigmas: tuple[float, ...] | None
    sigmas_se: tuple[float | None, ...] | None
    r2: float | None
    r2_se: float | None

    @staticmethod
    def _measure(field: ERFMap) -> dict[str, Any]:
        shares = euclidean_shares(field.values, _middle(field), RADII)
        try:
            sigmas, r2 = axis_aligned_gaussian(field.values, field.center)
        except summaries.UndefinedStatistic:
            return {"shares": shares, "sigmas": None, "r2": None}
        return {"shares": shares, "sigmas": sigmas, "r2": r2}

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        return {
            "center": _middle(field),
            "radii": RADII,
            "center_of_mass": tuple(field.moments().centroid.tolist()),
            "argmax": tuple(map(int, np.unravel_index(field.values.argmax(), field.values.shape))),
        }

    def _lines(self) -> list[str]:
        rows = zip(self.radii, self.shares, self.shares_se, strict=True)
        return [
            line("centre of mass", place(self.center_of_mass, ".4g")),
            line("argmax", place(self.argmax, ".4g")),
            line("sigma per axis", f"{number(self.sigmas, self.sigmas_se, 2)} px"),
            line("Gaussian R²", number(self.r2, self.r2_se, 3)),
            f"  radius   share of the sum around {place(self.center, '.4g')}",
            *(f"  {radius:<8} {number(share, error, 4)}" for radius, share, error in rows),
        ]


def _middle(field: ERFMap) -> tuple[int, ...]:
    return tuple(length // 2 for length in field.groups.size)


class _OpenERF(Protocol[OpenERFReport]):
    """On an even grid of tokens the tool takes the upper left of the four in the middle."""

    def _position(self, erf: EffectiveReceptiveField) -> dict[str, Any]:
        return {"position": (BEFORE_MIDDLE,) * 2} if isinstance(erf.layout, tokens) else {}

    def _unit(self, grid: tuple[int, ...], recipe: Mapping[str, Any]) -> tuple[int, ...]:
        of_tokens = str(recipe.get("layout")).startswith(tokens.__name__)
        return tuple((length - of_tokens) // 2 for length in grid)


OPENERF = _OpenERF({"channel": channel_mean, "magnitude": rectified_mean}, OpenERFReport, central=True)
