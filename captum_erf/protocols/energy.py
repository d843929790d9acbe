"""Squared gradients, of which the variance analysis of Luo et al. (NeurIPS 2016, section 2) speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..erfmap import ERFMap
from ..summaries.moments import second_moments
from ..text import number
from .protocol import Protocol, ProtocolReport, line

SHARES = (0.5, 0.9, 0.95)


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

    @staticmethod
    def _measure(field: ERFMap) -> dict[str, Any]:
        curve = field.radius_mass()
        return {
            "energy": float(field.values.sum()),
            "diameters": [curve.diameter(share) for share in SHARES],
            "sigmas": np.sqrt(second_moments(field.values, field.center)),
        }

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        return {"shares": SHARES}

    def _lines(self) -> list[str]:
        rows = zip(self.shares, self.diameters, self.diameters_se, strict=True)
        energy_se = "" if self.energy_se is None else f" ± {self.energy_se:.2g}"
        return [
            *(
                line(f"{100 * share:g} % of the energy", f"{number(side, error)} px square")
                for share, side, error in rows
            ),
            line("sigma per axis", f"{number(self.sigmas, self.sigmas_se, 2)} px"),
            line("energy", f"{self.energy:.4g}{energy_se}"),
        ]


ENERGY = Protocol({"magnitude": "square"}, EnergyReport)
