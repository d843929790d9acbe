"""The reports of :mod:`captum_erf.protocols`: each is the numbers of one tool, as that tool defines them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

from ..erfmap import ERFMap
from ..result.jackknife import delete_a_group
from ..result.report import number
from ..summaries.arrays import times
from ..summaries.sizes import radius_mass, square_share
from . import formulas

Numbers = Sequence[float | None]

SQUARE_SHARES = (0.2, 0.3, 0.5, 0.99)
EUCLIDEAN_RADII = tuple(range(5, 85, 5))
ENERGY_SHARES = (0.5, 0.9, 0.95)


@dataclass(frozen=True, repr=False)
class ProtocolReport(ABC):
    """What all reports tell: the layer, the size of the input, and over how much the map is a mean."""

    protocol: ClassVar[str]
    source: ClassVar[str]

    layer: str
    input_size: tuple[int, ...]
    num_samples: int
    num_draws: int | None

    @classmethod
    @abstractmethod
    def of(cls, field: ERFMap) -> Self:
        """The report of a field."""

    @abstractmethod
    def _lines(self) -> list[str]: ...

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON has them: lists in place of tuples."""
        row: dict[str, Any] = json.loads(json.dumps({"protocol": self.protocol} | asdict(self)))
        return row

    def __repr__(self) -> str:
        draws = "" if self.num_draws is None else f", {self.num_draws} draws of weights"
        title = f"{self.protocol} ({self.source}), layer {self.layer!r}"
        return "\n".join([title, f"  {self.num_samples} samples of {times(self.input_size)}{draws}", *self._lines()])


@dataclass(frozen=True, repr=False)
class LuoReport(ProtocolReport):
    r"""
    Luo et al., NeurIPS 2016, section 3.

    Attributes:
        trf_size (tuple[int, ...] or None): Theoretical field per axis; None where it is global or only known in part.
        threshold_size (float): D-th root of the number of pixels above 1 - 0.9545 of the unit centre's value.
        ratio (float or None): ``threshold_size`` over the side of a square (cube) as large as the theoretical field.
    """

    protocol = "LUO2016"
    source = "Luo et al., NeurIPS 2016"

    trf_size: tuple[int, ...] | None
    threshold_size: float
    threshold_size_se: float | None
    ratio: float | None
    ratio_se: float | None

    @classmethod
    def of(cls, field: ERFMap) -> Self:
        trf_size = _trf_size(field)
        (size,), (error,) = _with_errors(field, lambda field: [field.threshold_size()])
        side = None if trf_size is None else prod(trf_size) ** (1 / len(trf_size))
        return cls(*_facts(field), trf_size, size, error, _over(size, side), _over(error, side))

    def _lines(self) -> list[str]:
        return [
            _line("threshold size", f"{number(self.threshold_size, self.threshold_size_se)} px"),
            _line("theoretical field", _size_words(self.trf_size)),
            _line("ratio", number(self.ratio, self.ratio_se, 3)),
        ]


@dataclass(frozen=True)
class SquareRow:
    r"""
    The smallest square that holds a share of the map.

    Attributes:
        share (float): The share t.
        side (int or None), area (float or None): Of the map log10(A + 1), around ``(H // 2, W // 2)``: side of the
            square in pixels, and its area over the input's. None where no square inside the input holds as much.
        scale_free_side (float), scale_free_area (float): Of the map itself, around the unit centre.
    """

    share: float
    side: int | None
    area: float | None
    area_se: float | None
    scale_free_side: float
    scale_free_area: float
    scale_free_area_se: float | None


@dataclass(frozen=True, repr=False)
class RepLKNetReport(ProtocolReport):
    r"""
    Ding et al., CVPR 2022, table 8.

    Attributes:
        rows (tuple[SquareRow, ...]): One for each share, 0.2, 0.3, 0.5 and 0.99.
        area_of_larger_gradients (float or None): What the first row's area would be if all gradients were 1e4 times as
            large: log10(A + 1) is not scale-free.
    """

    protocol = "REPLKNET"
    source = "Ding et al., CVPR 2022"

    rows: tuple[SquareRow, ...]
    area_of_larger_gradients: float | None

    @classmethod
    def of(cls, field: ERFMap) -> Self:
        rows = tuple(_square_row(field, share) for share in SQUARE_SHARES)
        return cls(*_facts(field), rows, formulas.log_square(1e4 * field.values, SQUARE_SHARES[0])[1])

    def _lines(self) -> list[str]:
        first = self.rows[0]
        return [
            "         log10(A + 1), input's middle     A itself, unit centre",
            "  t      side    share of input           side    share of input",
            *(
                f"  {row.share:<6g} {row.side or 'none':<7} {number(row.area, row.area_se, 4):<24} "
                f"{row.scale_free_side:<7g} {number(row.scale_free_area, row.scale_free_area_se, 4)}"
                for row in self.rows
            ),
            f"  Warning: log10(A + 1) is not scale-free. With gradients 1e4 times as large the share of input at t = "
            f"{first.share:g} is {number(self.area_of_larger_gradients, None, 4)},",
            f"  not {number(first.area, None, 4)}. To compare networks, use the columns on the right.",
        ]


def _square_row(field: ERFMap, share: float) -> SquareRow:
    def measure(field: ERFMap) -> Numbers:
        side, area = formulas.log_square(field.values, share)
        return side, area, *square_share(field.values, field.center, share)

    (side, area, free_side, free_area), (_, area_se, _, free_area_se) = _with_errors(field, measure)
    return SquareRow(share, side, area, area_se, free_side, free_area, free_area_se)


@dataclass(frozen=True, repr=False)
class OpenERFReport(ProtocolReport):
    r"""
    OpenERF's numbers, around ``(H // 2, W // 2)``.

    Attributes:
        center (tuple[int, ...]): That pixel.
        radii (tuple[int, ...]), shares (tuple[float, ...]): Euclidean radii in pixels, and the share of the sum within.
        center_of_mass (tuple[float, ...]), argmax (tuple[int, ...]): Mean position, and the largest value's.
        sigmas (tuple[float, ...]), r2 (float): Least-squares Gaussian along the axes, with a free centre and a constant
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
    sigmas: tuple[float | None, ...]
    sigmas_se: tuple[float | None, ...]
    r2: float | None
    r2_se: float | None

    @classmethod
    def of(cls, field: ERFMap) -> Self:
        center = tuple(length // 2 for length in field.values.shape)
        shares, shares_se = _with_errors(
            field, lambda field: formulas.euclidean_shares(field.values, center, EUCLIDEAN_RADII)
        )
        (r2, *sigmas), (r2_se, *sigmas_se) = _with_errors(field, _axis_aligned)
        return cls(
            *_facts(field),
            center=center,
            radii=EUCLIDEAN_RADII,
            shares=tuple(shares),
            shares_se=tuple(shares_se),
            center_of_mass=tuple(field.moments().centroid.tolist()),
            argmax=tuple(map(int, np.unravel_index(field.values.argmax(), field.values.shape))),
            sigmas=tuple(sigmas),
            sigmas_se=tuple(sigmas_se),
            r2=r2,
            r2_se=r2_se,
        )

    def _lines(self) -> list[str]:
        rows = zip(self.radii, self.shares, self.shares_se, strict=True)
        return [
            _line("centre of mass", _place(self.center_of_mass)),
            _line("argmax", _place(self.argmax)),
            _line("sigma per axis", f"{_listed(self.sigmas, self.sigmas_se, 2)} px"),
            _line("Gaussian R²", number(self.r2, self.r2_se, 3)),
            f"  radius   share of the sum around {_place(self.center)}",
            *(f"  {radius:<8} {number(share, error, 4)}" for radius, share, error in rows),
        ]


def _axis_aligned(field: ERFMap) -> Numbers:
    try:
        sigmas, r2 = formulas.axis_aligned_gaussian(field.values, field.center)
    except ValueError:
        return [None] * (1 + field.values.ndim)
    return [r2, *sigmas]


@dataclass(frozen=True, repr=False)
class NeuralAPIReport(ProtocolReport):
    r"""
    CAI Neural API's numbers, around the geometric centre of the input, ``((H - 1) / 2, (W - 1) / 2)``.

    Attributes:
        trf_size (tuple[int, ...] or None): Theoretical field per axis; None where it is global or only known in part.
        radius (float), diameter (float): Chebyshev radius that holds 90 % of the mass, and 2 radius + 1.
        half_widths (tuple[float, ...]): The radius along each axis alone, (y, x).
        ratio (float or None): ``diameter`` over the theoretical field (its largest axis).
        sigma (float), sigmas (tuple[float, ...]): Root of the second moment about that centre, over all axes and each.
        radii (tuple[float, ...]), mass (tuple[float, ...]): Every Chebyshev radius, and the share of the mass within.
    """

    protocol = "NEURAL_API"
    source = "TNNet.EffectiveReceptiveFieldReport"

    trf_size: tuple[int, ...] | None
    radius: float
    diameter: float
    diameter_se: float | None
    half_widths: tuple[float, ...]
    ratio: float | None
    ratio_se: float | None
    sigma: float
    sigma_se: float | None
    sigmas: tuple[float, ...]
    radii: tuple[float, ...]
    mass: tuple[float, ...]

    @classmethod
    def of(cls, field: ERFMap) -> Self:
        middle = [(length - 1) / 2 for length in field.values.shape]

        def measure(field: ERFMap) -> Numbers:
            diameter = radius_mass(field.values, middle).diameter(0.9)
            return diameter, float(formulas.second_moments(field.values, middle).mean() ** 0.5)

        (diameter, sigma), (diameter_se, sigma_se) = _with_errors(field, measure)
        curve = radius_mass(field.values, middle)
        trf_size = _trf_size(field)
        side = None if trf_size is None else max(trf_size)
        return cls(
            *_facts(field),
            trf_size=trf_size,
            radius=curve.radius(0.9),
            diameter=diameter,
            diameter_se=diameter_se,
            half_widths=tuple(formulas.half_widths(field.values, middle, 0.9)),
            ratio=_over(diameter, side),
            ratio_se=_over(diameter_se, side),
            sigma=sigma,
            sigma_se=sigma_se,
            sigmas=tuple(np.sqrt(formulas.second_moments(field.values, middle)).tolist()),
            radii=tuple(curve.radii.tolist()),
            mass=tuple(curve.mass.tolist()),
        )

    def to_csv(self) -> str:
        """The table ``radius,mass_fraction``, the shares with 8 decimals."""
        rows = [f"{radius:g},{mass:.8f}\n" for radius, mass in zip(self.radii, self.mass, strict=True)]
        return "radius,mass_fraction\n" + "".join(rows)

    def _lines(self) -> list[str]:
        return [
            _line("90 % of the mass", f"{number(self.diameter, self.diameter_se)} px square"),
            _line("half widths", f"{_listed(self.half_widths, None, 1)} px"),
            _line("theoretical field", _size_words(self.trf_size)),
            _line("ratio", number(self.ratio, self.ratio_se, 3)),
            _line("second-moment sigma", f"{number(self.sigma, self.sigma_se, 2)} px"),
        ]


@dataclass(frozen=True, repr=False)
class EnergyReport(ProtocolReport):
    r"""
    How the squared gradients lie around the unit centre.

    Attributes:
        energy (float): Sum of the map, the mean squared length of the gradient.
        shares (tuple[float, ...]), diameters (tuple[float, ...]): Sides of the boxes that hold 50, 90 and 95 % of it.
        sigmas (tuple[float, ...]): Standard deviation about the unit centre per axis, in the map's order (y, x): the
            root of the variance in section 2 of Luo et al.
    """

    protocol = "ENERGY"
    source = "mean squared gradient"

    energy: float
    energy_se: float | None
    shares: tuple[float, ...]
    diameters: tuple[float, ...]
    diameters_se: tuple[float | None, ...]
    sigmas: tuple[float, ...]
    sigmas_se: tuple[float | None, ...]

    @classmethod
    def of(cls, field: ERFMap) -> Self:
        (energy, *rest), (energy_se, *rest_se) = _with_errors(field, _energy)
        split = len(ENERGY_SHARES)
        return cls(
            *_facts(field),
            energy=energy,
            energy_se=energy_se,
            shares=ENERGY_SHARES,
            diameters=tuple(rest[:split]),
            diameters_se=tuple(rest_se[:split]),
            sigmas=tuple(rest[split:]),
            sigmas_se=tuple(rest_se[split:]),
        )

    def _lines(self) -> list[str]:
        rows = zip(self.shares, self.diameters, self.diameters_se, strict=True)
        return [
            *(
                _line(f"{100 * share:g} % of the energy", f"{number(side, error)} px square")
                for share, side, error in rows
            ),
            _line("sigma per axis", f"{_listed(self.sigmas, self.sigmas_se, 2)} px"),
            _line("energy", f"{self.energy:.4g}" + ("" if self.energy_se is None else f" ± {self.energy_se:.2g}")),
        ]


def _energy(field: ERFMap) -> Numbers:
    curve = field.radius_mass()
    sigmas = np.sqrt(formulas.second_moments(field.values, field.center))
    return [float(field.values.sum()), *map(curve.diameter, ENERGY_SHARES), *sigmas.tolist()]


def _facts(field: ERFMap) -> tuple[str, tuple[int, ...], int, int | None]:
    return field.layer, field.values.shape, field.num_samples, field.recipe.get("draws")


def _with_errors(field: ERFMap, measure: Callable[[ERFMap], Numbers]) -> tuple[list[Any], list[float | None]]:
    """Several statistics of a map, and their standard errors over samples."""
    values = list(measure(field))
    try:
        columns = list(zip(*map(measure, field.leave_one_out()), strict=True))
    except ValueError:  # without one of its groups the map is zero
        columns = []
    errors = [None if None in column else delete_a_group(column) for column in columns]
    return values, errors or [None] * len(values)


def _trf_size(field: ERFMap) -> tuple[int, ...] | None:
    trf = field.theoretical
    return trf.size if trf is not None and trf.is_known else None


def _over(length: float | None, side: float | None) -> float | None:
    return None if length is None or side is None else length / side


def _line(label: str, value: str) -> str:
    return f"  {label:<20} {value}"


def _listed(values: Numbers, errors: Numbers | None, digits: int) -> str:
    pairs = zip(values, errors or [None] * len(values), strict=True)
    return ", ".join(number(value, error, digits) for value, error in pairs)


def _size_words(trf_size: Sequence[int] | None) -> str:
    return "global, or only known in part" if trf_size is None else f"{times(trf_size)} px"


def _place(position: Sequence[float]) -> str:
    return f"({', '.join(f'{place:.4g}' for place in position)})"
