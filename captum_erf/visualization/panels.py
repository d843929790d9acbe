"""What figures are made of: a map with its marks, as slices or as a line, an inset, named axes and a colour bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ..result.mean_map import MeanMap
from ..spacing import Spacing
from ..summaries import GaussianFit
from .curves import INK, SHARES, Curve, is_signed, mass_box
from .look import Colours, Look
from .marks import FLAT, handles, marks
from .scales import LOG_FLOOR, Log, on_white, ticks
from .windows import Plane, Window, core, needs_inset, shape_of, whole

PLANES: dict[int, tuple[Plane, ...]] = {2: ((0, 1),), 3: ((1, 2), (0, 2), (0, 1))}
LINE_SHAPE = 0.62  # height over width of a map with one axis
INSET = 0.32  # side of an inset, as a share of the map's


@dataclass(frozen=True)
class Panel:
    """A map to be drawn in a look: the window of it that is seen, and what the shares are of, None for its maximum."""

    field: MeanMap
    look: Look
    window: Window
    top: float | None = None
    fit: GaussianFit | None = None

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The slices of a map; none of one that is a line."""
        return PLANES.get(self.field.values.ndim, ())

    @property
    def shape(self) -> float:
        """Height over width of the first slice."""
        return shape_of(self.window, self.planes[0]) if self.planes else LINE_SHAPE

    def draw(self, axes: Axes, line: float = 1.2) -> None:
        """The line, or the first slice, with all marks."""
        if self.planes:
            self.draw_plane(axes, self.planes[0], line)
        else:
            self._draw_line(axes)

    def draw_small(self, axes: Axes, line: float, inset: bool = True) -> None:
        """The same without ticks; where the map's core is a small part of the window, enlarged in a far corner."""
        self.draw(axes, line)
        axes.set(xticks=[], yticks=[])
        if not (inset and needs_inset(self.field, self.window)):
            return
        down, across = self._where(-2 if self.planes else -1), self._where(-1)
        left = 0.97 - INSET if across <= 0.5 else 0.03
        bottom = 0.97 - INSET if down > 0.5 or not self.planes else 0.03
        place = axes.inset_axes((left, bottom, INSET, INSET))
        near = Panel(self.field, self.look, core(self.field), self.top)
        near.draw_small(place, line, inset=False)
        place.spines[:].set_color("white" if self.planes else "0.6")

    def _where(self, axis: int) -> float:
        """The unit centre's place in the window, as a share."""
        low, high = self.window[axis]
        return (self.field.center[axis] - low) / (high - low)

    def draw_plane(self, axes: Axes, plane: Plane, line: float = 1.2) -> None:
        """A slice along two of the axes through the unit centre, with all marks."""
        field, look, (row, column) = self.field, self.look, plane
        slices = tuple(slice(None) if axis in plane else nearest(field, axis) for axis in range(field.values.ndim))
        edges = whole(field)
        extent = (edges[column][0], edges[column][1], edges[row][1], edges[row][0])
        if look.image is not None:
            axes.imshow(look.image, cmap="gray", vmin=-0.4, vmax=1.1, extent=extent)
        cmap, norm = look.colours([field])
        shares = field.values[slices] / (self.top or np.abs(field.values).max() or 1.0)
        axes.imshow(shares, cmap=cmap, norm=norm, interpolation="nearest", extent=extent)
        (first, last), (left, right) = self.window[row], self.window[column]
        axes.set(xlim=(left, right), ylim=(last, first), facecolor="0.92")
        for mark in marks(field, plane, self.fit, line):
            mark.set_in_layout(False)
            axes.add_artist(mark)

    def _draw_line(self, axes: Axes) -> None:
        """A map with one axis, its standard error, and all marks; linear unless the scale is logarithmic."""
        field, fit, peak = self.field, self.fit, np.abs(self.field.values).max() or 1.0
        places = np.arange(len(field.values))
        shares = field.values / peak
        axes.plot(places, shares, color=INK, lw=1.0)
        _, error = field.estimate(lambda field: field.values / peak)
        if error is not None:
            axes.fill_between(places, shares - error, shares + error, color=INK, alpha=0.3, lw=0)
        trf = field.theoretical
        if trf is not None and not trf.is_global:
            axes.axvspan(trf.lower[0] - 0.5, trf.upper[0] - 0.5, **FLAT["trf"])
        for share in SHARES:
            box = mass_box(field, share)
            for edge in box[0] if box is not None else ():
                axes.axvline(edge, **FLAT[share])
        axes.axvline(field.center[0], **FLAT["center"])
        if fit is not None:
            bell = np.exp(-0.5 * (places - fit.mean[0]) ** 2 / fit.covariance[0, 0])
            axes.plot(places, (fit.background + fit.amplitude * bell) / peak, **FLAT["gaussian"])
        axes.set_xlim(*self.window[0])
        if isinstance(self.look.scale, Log) and not is_signed([field]):
            axes.set(yscale="log", ylim=(LOG_FLOOR, 1.5))

    def handles(self, curve: Curve | None) -> list[Artist]:
        """Legend entries of the marks, with the sizes that the curve tells."""
        return handles(self.field, self.window, self.fit, curve)

    def name_axes(self, axes: Axes, plane: Plane | None = None) -> None:
        """Names the axes of a slice, or of a line, in the recipe's spacing."""
        names, field = "zyx"[-self.field.values.ndim :], self.field
        if plane is None:
            _name_axis(axes.xaxis, field, 0, "position in the input")
            axes.set_ylabel("share of the maximum")
            return
        for axis, number in ((axes.xaxis, plane[1]), (axes.yaxis, plane[0])):
            _name_axis(axis, field, number, names[number])
        for number in set(range(len(names))) - set(plane):
            step, unit = step_of(field, number)
            axes.set_title(f"{names[number]} = {nearest(field, number) * step:.6g}" + f" {unit}" * (unit != "px"))


class _Steps(MaxNLocator):
    """Ticks at round numbers of a length of a step."""

    def __init__(self, step: float) -> None:
        super().__init__(4, steps=[1, 2, 5, 10], integer=step == 1, min_n_ticks=2)
        self._step = step

    def tick_values(self, vmin: float, vmax: float) -> Any:
        return np.asarray(super().tick_values(vmin * self._step, vmax * self._step)) / self._step


def _name_axis(axis: Axis, field: MeanMap, number: int, name: str) -> None:
    step, unit = step_of(field, number)
    axis.set_label_text(f"{name} [{unit}]")
    axis.set_major_locator(_Steps(step))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * step:.6g}"))


def step_of(field: MeanMap, axis: int) -> tuple[float, str]:
    """The length of a pixel along an axis and its unit, as the recipe tells."""
    text = field.recipe.get("spacing")
    spacing = Spacing() if text is None else Spacing.read(text)
    return spacing.along(field.values.ndim)[axis], spacing.unit


def nearest(field: MeanMap, axis: int) -> int:
    """The pixel nearest to the unit centre along an axis."""
    return int(np.clip(round(field.center[axis]), 0, field.values.shape[axis] - 1))


def colour_bar(axes: Axes, colours: Colours, label: str = "") -> Axes:
    """A colour bar beside a map and of its height."""
    place = axes.inset_axes((1.03, 0, 0.045, 1))
    cmap, norm = colours
    bar = axes.figure.colorbar(ScalarMappable(norm, on_white(cmap)), cax=place, label=label)
    if bar.solids is not None:
        bar.solids.set(edgecolor="face", rasterized=False)
    bar.outline.set_linewidth(0.4)
    place.yaxis.set_major_locator(FixedLocator(ticks(norm, 0.22)))
    place.yaxis.set_minor_locator(NullLocator())
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return place
