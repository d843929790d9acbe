"""Colour scales: how a share of a map's maximum becomes a colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colors

LOG_FLOOR = 1e-4
MIDDLE_DARK = "berlin" if "berlin" in matplotlib.colormaps else "RdBu_r"
PALETTES = {False: "magma", True: MIDDLE_DARK}
NICE = (0.5, 0.25, 0.1, 0.05, 0.01, 0.001, 1e-4, 1e-5)


@dataclass(frozen=True)
class Power:
    """Colours go with a power of the share: an exponent below one brings out faint tails, one is linear."""

    exponent: float

    @property
    def words(self) -> str:
        return "linear scale" if self.exponent == 1 else f"power scale (exponent {self.exponent:g})"

    def norm(self, signed: bool) -> colors.Normalize:
        if self.exponent == 1:
            return colors.Normalize(-1.0 if signed else 0.0, 1, clip=True)
        if not signed:
            return colors.PowerNorm(self.exponent, 0, 1, clip=True)
        return colors.FuncNorm((self._forward, self._back), -1, 1, clip=True)

    def _forward(self, values: Any) -> Any:
        return np.sign(values) * np.abs(values) ** self.exponent

    def _back(self, values: Any) -> Any:
        return np.sign(values) * np.abs(values) ** (1 / self.exponent)


@dataclass(frozen=True)
class Log:
    """Colours go with the logarithm of the share, from a floor on."""

    words: str = f"log scale (from {LOG_FLOOR:g} on)"

    def norm(self, signed: bool) -> colors.Normalize:
        if signed:
            return colors.SymLogNorm(LOG_FLOOR, vmin=-1, vmax=1, clip=True)
        return colors.LogNorm(LOG_FLOOR, 1, clip=True)


Scale = Power | Log
SCALES: dict[str, Scale] = {"power": Power(0.5), "log": Log(), "linear": Power(1.0)}


def read_scale(scale: str | float) -> Scale:
    """A scale by its name; a number is the exponent of a power scale."""
    if isinstance(scale, str) and scale in SCALES:
        return SCALES[scale]
    if isinstance(scale, (int, float)) and not isinstance(scale, bool) and 0 < scale < np.inf:
        return Power(float(scale))
    raise ValueError(
        f"scale must be one of {', '.join(map(repr, SCALES))}, or the exponent of a power scale such as 0.2, "
        f"got {scale!r}."
    )


def read_cmap(cmap: str | colors.Colormap | None, signed: bool) -> colors.Colormap:
    """A colour map; None takes a perceptually uniform one, with a middle where maps have negative values."""
    try:
        return matplotlib.colormaps.get_cmap(cmap or PALETTES[signed])
    except (ValueError, TypeError) as error:
        raise ValueError(f"cmap must be the name of a Matplotlib colour map or a Colormap, got {cmap!r}.") from error


def transparent(cmap: colors.Colormap, signed: bool) -> colors.Colormap:
    """The colour map from clear to opaque, for a map over a photograph; with a middle, clear there.

    Colours start at a third of the colour map: its dark end would only darken the photograph.
    """
    steps = np.linspace(0, 1, 256)
    table = cmap(steps if signed else (1 + 2 * steps) / 3)
    table[:, 3] = np.abs(2 * steps - 1) if signed else steps
    return colors.ListedColormap(table, f"clear {cmap.name}")


def on_white(cmap: colors.Colormap) -> colors.Colormap:
    """An opaque colour map that looks as this one does over white."""
    table = cmap(np.linspace(0, 1, 256))
    table[:, :3] = 1 - table[:, 3:] * (1 - table[:, :3])
    table[:, 3] = 1
    return colors.ListedColormap(table, cmap.name)


def ticks(norm: colors.Normalize, apart: float) -> list[float]:
    """Shares for the ticks of a colour bar, from the largest down, at least ``apart`` of its length from each other."""
    low = float(norm.vmin or 0)
    found = [1.0]
    for share in NICE:
        if norm(found[-1]) - norm(share) >= apart and norm(share) - norm(max(low, 0)) >= apart:
            found.append(share)
    if low < 0:
        return [*(-share for share in found), 0.0, *reversed(found)]
    return [low, *reversed(found)]


def sequence(count: int, cmap: str | colors.Colormap | None = None) -> Sequence[Any]:
    """Colours for lines from first to last, which grey tells apart as well."""
    return list(read_cmap(cmap or "viridis", False)(np.linspace(0, 0.88, count)))
