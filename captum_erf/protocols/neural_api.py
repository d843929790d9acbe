"""CAI Neural API: the report of ``TNNet.EffectiveReceptiveFieldReport``, around the geometric centre of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..erfmap import ERFMap
from ..summaries import SteppedRadiusMass, stepped_radius_mass
from ..summaries.arrays import FloatArray, margins
from ..summaries.moments import second_moments
from ..text import number
from .protocol import Protocol, ProtocolReport, known_trf, line, trf_words

SHARE = 0.9


@dataclass(frozen=True, repr=False)
class NeuralAPIReport(ProtocolReport):
    r"""
    CAI Neural API's numbers, around the geometric centre of the input, ``((H - 1) / 2, (W - 1) / 2)``.

    Attributes:
        trf_size (tuple[int, ...] or None): Theoretical field per axis; None where it is global or only known in part.
        radius (float), diameter (float): Chebyshev radius that holds 90 % of the mass, and 2 radius + 1. As the
            tool counts by whole pixels, they have no standard error.
        half_widths (tuple[float, ...]): The radius along each axis alone, (y, x).
        ratio (float or None): ``diameter`` over the theoretical field (its largest axis).
        sigma (float), sigmas (tuple[float, ...]): Root of the second moment about that centre, over all axes and each.
        radii (tuple[float, ...]), mass (tuple[float, ...]): Every Chebyshev radius up to the side of the input, and the
            share of the mass within: 0 to 13 for an input of 13 x 13, as the tool lists them.
    """

    protocol = "NEURAL_API"
    source = "TNNet.EffectiveReceptiveFieldReport"

    trf_size: tuple[int, ...] | None
    radius: float
    diameter: float
    half_widths: tuple[float, ...]
    ratio: float | None
    sigma: float
    sigma_se: float | None
    sigmas: tuple[float, ...]
    radii: tuple[float, ...]
    mass: tuple[float, ...]

    @staticmethod
    def _measure(field: ERFMap) -> dict[str, Any]:
        return {"sigma": float(second_moments(field.values, _middle(field.values)).mean() ** 0.5)}

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        curve, trf = _curve(field.values), known_trf(field)
        radii = np.arange(curve.radii[0], max(field.groups.size) + 1)
        return {
            "trf_size": trf,
            "radius": curve.radius(SHARE),
            "diameter": curve.diameter(SHARE),
            "ratio": trf and curve.diameter(SHARE) / max(trf),
            "half_widths": tuple(_curve(margin).radius(SHARE) for margin in margins(field.values)),
            "sigmas": tuple(np.sqrt(second_moments(field.values, _middle(field.values))).tolist()),
            "radii": tuple(radii.tolist()),
            "mass": tuple(np.interp(radii, curve.radii, curve.mass).tolist()),
        }

    def to_csv(self) -> str:
        """The table ``radius,mass_fraction``, the shares with 8 decimals."""
        rows = [f"{radius:g},{mass:.8f}\n" for radius, mass in zip(self.radii, self.mass, strict=True)]
        return "radius,mass_fraction\n" + "".join(rows)

    def _lines(self) -> list[str]:
        return [
            line("90 % of the mass", f"{number(self.diameter)} px square"),
            line("half widths", f"{number(self.half_widths)} px"),
            line("theoretical field", trf_words(self.trf_size)),
            line("ratio", number(self.ratio, digits=3)),
            line("second-moment sigma", f"{number(self.sigma, self.sigma_se, 2)} px"),
        ]


def _middle(values: FloatArray) -> list[float]:
    return [(length - 1) / 2 for length in values.shape]


def _curve(values: FloatArray) -> SteppedRadiusMass:
    return stepped_radius_mass(values, _middle(values))


NEURAL_API = Protocol({"channel": 0, "magnitude": "abs"}, NeuralAPIReport, central=True)
