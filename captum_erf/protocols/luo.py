"""Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016.

Section 3: mean |dy/dx|, and the side of a square of as many pixels as lie above 1 - 0.9545 of the centre's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from ..erfmap import ERFMap
from ..text import number
from .protocol import Protocol, ProtocolReport, known_trf, line, trf_words


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

    @staticmethod
    def _measure(field: ERFMap) -> dict[str, Any]:
        size, trf = field.threshold_size(), known_trf(field)
        return {"threshold_size": size, "ratio": trf and size / prod(trf) ** (1 / len(trf))}

    @staticmethod
    def _describe(field: ERFMap) -> dict[str, Any]:
        return {"trf_size": known_trf(field)}

    def _lines(self) -> list[str]:
        return [
            line("threshold size", f"{number(self.threshold_size, self.threshold_size_se)} px"),
            line("theoretical field", trf_words(self.trf_size)),
            line("ratio", number(self.ratio, self.ratio_se, 3)),
        ]


LUO2016 = Protocol({"magnitude": "abs"}, LuoReport)
