"""The sheet that a figure is drawn on: its width, fonts, title, caption, and the height that its maps ask for.

Figures are made through Matplotlib's objects, so that nothing stays behind in pyplot's state. All sizes are in inches:
3.3 is one column of a paper, 7 its full width.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, cast

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure

from .words import text_width, wrapped

PAGE = 7.0
NARROW = 5.0  # below this width panels stand under each other and fonts are smaller
LOWEST, TALLEST = 0.3, 2.0  # height of a map's place over its width; other maps leave some of their place blank
DPI = 200
SLACK = 0.03  # inches by which a map's place is higher than it, so that its width alone sets its size
ROUNDS = 4  # of laying out; the first or second is close


class ERFFigure(Figure):
    """A figure that shows itself at the end of a notebook cell, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


class Sheet:
    """A figure with a title above and a caption beneath its parts, which stand under each other.

    Used as a context: on leaving it, the height of a figure of the package's own is set so that its maps fill their
    places. A figure that the user brought keeps its size.
    """

    def __init__(self, figure: FigureBase | None, width: float | None, title: str, caption: str) -> None:
        if figure is not None and not isinstance(figure, FigureBase):
            raise TypeError(f"figure must be a Matplotlib Figure or SubFigure, got {type(figure).__name__}.")
        if figure is not None and width is not None:
            raise ValueError("figure brings its own width; leave out one of figure and width.")
        if width is not None and not 1.5 <= width <= 40:
            raise ValueError(f"width must be in inches, such as 3.3 (one column) or 7 (a page), got {width!r}.")
        self.width = (width or PAGE) if figure is None else figure.get_window_extent().width / root_of(figure).dpi
        self.is_narrow = self.width < NARROW
        self.font = 7.0 if self.is_narrow else 8.0
        self.small = 0.85 * self.font
        self._context = matplotlib.rc_context(cast(Any, _settings(self.font, self.small)))
        self._is_own = figure is None
        self._words = title, caption
        self._given = figure

    def __enter__(self) -> Sheet:
        self._context.__enter__()
        self._place = place = self._given or ERFFigure(figsize=(self.width, self.width), dpi=DPI, layout="constrained")
        self.root = root_of(place)
        if self.root.get_layout_engine() is None:
            self.root.set_layout_engine("constrained")
        title, caption = self._words
        if title:
            place.suptitle(wrapped(title, self.width, 1.15 * self.font), fontsize=1.15 * self.font)
        if caption:
            words = wrapped(caption, 0.97 * self.width, self.small)
            place.supxlabel(words, x=0.015, ha="left", fontsize=self.small, color="0.3", linespacing=1.25)
        return self

    def split(self, count: int) -> list[Part]:
        """The parts of the sheet, from above; to be called once."""
        self._grid = self._place.add_gridspec(count, 1)
        self._parts = [Part(self, self._place.add_subfigure(self._grid[row, 0])) for row in range(count)]
        return self._parts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._settle()
        finally:
            self._context.__exit__(kind, error, trace)

    def _settle(self) -> None:
        """Lays the panels out; where the figure is ours, its height follows from the widths that this leaves."""
        heights = [part.estimate() for part in self._parts]
        self._grid.set_height_ratios(heights)
        engine = self.root.get_layout_engine()
        if not self._is_own or engine is None:
            return
        self.root.set_figheight(sum(heights) + 1.0)
        for _ in range(ROUNDS):
            engine.execute(self.root)
            missing = [part.missing() for part in self._parts]
            if max(map(abs, missing)) < SLACK / 2:
                return
            used = [part.figure.bbox.height / self.root.dpi for part in self._parts]
            heights = [max(0.3, height + more) for height, more in zip(used, missing, strict=True)]
            self._grid.set_height_ratios(heights)
            self.root.set_figheight(self.root.get_figheight() + sum(heights) - sum(used))


@dataclass
class Part:
    """Axes in rows and columns, a legend beneath them, and the height over the width of those that hold maps."""

    sheet: Sheet
    figure: SubFigure
    rows: int = 1
    shapes: dict[Axes, float] = field(default_factory=dict)

    def cells(self, rows: int = 1, columns: int = 1, **options: Any) -> list[Axes]:
        """The axes, row by row."""
        self.rows = rows
        return list(self.figure.subplots(rows, columns, squeeze=False, **options).flat)

    def fit(self, shapes: Mapping[Axes, float]) -> None:
        """Makes the part as high as its maps need."""
        self.shapes = {axes: min(max(shape, LOWEST), TALLEST) for axes, shape in shapes.items()}

    def legend(self, handles: Sequence[Artist], title: str | None = None) -> None:
        """A legend in as many columns as fit."""
        if not handles:
            return
        width, size = self.sheet.width, self.sheet.small
        longest = max(text_width(str(handle.get_label()), size) for handle in handles)
        columns = max(1, min(len(handles), int(width / (longest + 4.6 * size / 72))))
        columns = math.ceil(len(handles) / math.ceil(len(handles) / columns))
        style: dict[str, Any] = {"fontsize": size, "title_fontsize": size, "columnspacing": 1.5}
        self.figure.legend(handles=list(handles), ncols=columns, loc="outside lower center", title=title, **style)

    def estimate(self) -> float:
        """About the height in inches that the maps need, rather more: what fills its column shows its true width."""
        (axes, *_), shape = self.shapes, max(self.shapes.values())
        grid = axes.get_gridspec()
        return self.rows * (shape * self.sheet.width / (grid.ncols if grid else 1) + 0.35) + 0.8

    def missing(self) -> float:
        """Height in inches that the rows lack."""
        return self.rows * max(_height_missing(axes, shape) for axes, shape in self.shapes.items())


def _height_missing(axes: Axes, shape: float) -> float:
    figure = axes.figure
    box = axes.get_position(original=True).transformed(figure.transSubfigure)
    return float(shape * box.width - box.height) / figure.dpi + SLACK


def check_axes(ax: Any, width: float | None, figure: FigureBase | None) -> None:
    """Refuses what is no axes, and axes beside another place to draw."""
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be Matplotlib Axes, got {type(ax).__name__}.")
    if figure is not None or width is not None:
        raise ValueError("ax brings its own figure and width; leave out figure and width.")


def root_of(place: FigureBase) -> Figure:
    """The figure that a subfigure stands in."""
    while isinstance(place, SubFigure):
        place = place.figure
    assert isinstance(place, Figure)
    return place


def _settings(font: float, small: float) -> dict[str, Any]:
    return {
        "font.size": font,
        "axes.titlesize": font,
        "axes.labelsize": font,
        "xtick.labelsize": small,
        "ytick.labelsize": small,
        "legend.fontsize": small,
        "legend.frameon": False,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.pad": 2.0,
        "ytick.major.pad": 2.0,
        "axes.titlepad": 3.0,
        "axes.labelpad": 2.0,
    }
