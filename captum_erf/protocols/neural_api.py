"""CAI Neural API: the report of ``TNNet.EffectiveReceptiveFieldReport``, around the geometric centre of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..erfmap import ERFMap
from ..summaries.arrays import FloatArray
from ..summaries.sizes import RadiusMass, margins, radius_mass, second_moments
from ..text import line, number
from .protocol import WIDTH, Protocol, ProtocolReport, known_trf, trf_words

SHARE = 0.9


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

    @staticmethod
    def _measure(field: ERFMap) -> dict[str, Any]:
        diameter, trf = _curve(field.values).diameter(SHARE), known_trf(field)
        sigma = float(second_moments(field.values, _middle(field.values)).mean() ** 0.5)
        return {"diameter": diameter, "ratio": trf and diameter / max(trf), "sigma": sigma}

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        curve = _curve(field.values)
        return {
            "trf_size": known_trf(field),
            "radius": curve.radius(SHARE),
            "half_widths": tuple(_curve(margin).radius(SHARE) for margin in margins(field.values)),
            "sigmas": tuple(np.sqrt(second_moments(field.values, _middle(field.values))).tolist()),
            "radii": tuple(curve.radii.tolist()),
            "mass": tuple(curve.mass.tolist()),
        }

    def to_csv(self) -> str:
        """The table ``radius,mass_fraction``, the shares with 8 decimals."""
        rows = [f"{radius:g},{mass:.8f}\n" for radius, mass in zip(self.radii, self.mass, strict=True)]
        return "radius,mass_fraction\n" + "".join(rows)

    def _lines(self) -> list[str]:
        return [
            line("90 % of the mass", f"{number(self.diameter, self.diameter_se)} px square", WIDTH),
            line("half widths", f"{number(self.half_widths)} px", WIDTH),
            line("theoretical field", trf_words(self.trf_size), WIDTH),
            line("ratio", number(self.ratio, self.ratio_se, 3), WIDTH),
            line("second-moment sigma", f"{number(self.sigma, self.sigma_se, 2)} px", WIDTH),
        ]


def _middle(values: FloatArray) -> list[float]:
    return [(length - 1) / 2 for length in values.shape]


def _curve(values: FloatArray) -> RadiusMass:
    return radius_mass(values, _middle(values))


NEURAL_API = Protocol({"channel": 0, "magnitude": "abs"}, NeuralAPIReport, central=True)
