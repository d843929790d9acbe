"""The sheet that a figure is drawn on: its width, fonts, title, caption, and the height that its maps ask for.

Figures are made through Matplotlib's objects, so that nothing stays behind in pyplot's state. All sizes are in inches:
3.3 is one column of a paper, 7 its full width.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any, cast

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure

from .words import text_width, wrapped

PAGE = 7.0
NARROW = 5.0  # below this width panels stand under each other and fonts are smaller
TALLEST = 2.0  # height of a map over its width, beyond which it is drawn narrower instead
DPI = 200


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

    def __init__(
        self, figure: FigureBase | None, width: float | None, title: str, caption: str, heights: Sequence[float]
    ) -> None:
        if figure is not None and not isinstance(figure, FigureBase):
            raise TypeError(f"figure must be a Matplotlib Figure or SubFigure, got {type(figure).__name__}.")
        if figure is not None and width is not None:
            raise ValueError("figure brings its own width; leave out one of figure and width.")
        if width is not None and not 1.5 <= width <= 40:
            raise ValueError(f"width must be in inches, such as 3.3 (one column) or 7 (a page), got {width!r}.")
        self.width = width_of(figure, width)
        self.heights = list(heights)
        self.font = font_size(self.width)
        self._context = matplotlib.rc_context(cast(Any, _settings(self.font)))
        self._fits: dict[int, tuple[int, dict[Axes, float]]] = {}
        self._is_own = figure is None
        self._words = title, caption
        self._place = figure

    def __enter__(self) -> Sheet:
        self._context.__enter__()
        size = (self.width, sum(self.heights) + 1.0)
        place = self._place or ERFFigure(figsize=size, dpi=DPI, layout="constrained")
        self.root = root_of(place)
        if self.root.get_layout_engine() is None:
            self.root.set_layout_engine("constrained")
        title, caption = self._words
        if title:
            place.suptitle(wrapped(title, self.width, 1.15 * self.font), fontsize=1.15 * self.font)
        if caption:
            size_ = 0.85 * self.font
            words = wrapped(caption, 0.97 * self.width, size_)
            place.supxlabel(words, x=0.015, ha="left", fontsize=size_, color="0.3", linespacing=1.25)
        self._grid = place.add_gridspec(len(self.heights), 1, height_ratios=self.heights)
        self.parts: list[SubFigure] = [place.add_subfigure(self._grid[row, 0]) for row in range(len(self.heights))]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._settle()
        finally:
            self._context.__exit__(kind, error, trace)

    def fit(self, part: int, rows: int, shapes: dict[Axes, float]) -> None:
        """Makes a part as high as its maps need: the height over the width of each, in ``rows`` rows."""
        self._fits[part] = rows, {axes: min(shape, TALLEST) for axes, shape in shapes.items()}

    def _settle(self) -> None:
        """Lays the panels out; where the figure is ours, its height follows from the widths that this leaves."""
        engine = self.root.get_layout_engine()
        for _ in range(3 if self._is_own else 1):
            if engine is not None:
                engine.execute(self.root)
            missing = [self._missing(part) for part in range(len(self.parts))] if self._is_own else [0.0]
            if max(map(abs, missing)) < 0.01:
                return
            used = [part.bbox.height / self.root.dpi for part in self.parts]
            heights = [max(0.3, height + more) for height, more in zip(used, missing, strict=True)]
            self._grid.set_height_ratios(heights)
            self.root.set_figheight(self.root.get_figheight() + sum(heights) - sum(used))

    def _missing(self, part: int) -> float:
        rows, shapes = self._fits.get(part, (0, {}))
        if not shapes:
            return self.heights[part] - self.parts[part].bbox.height / self.root.dpi
        return rows * max(_height_missing(axes, shape) for axes, shape in shapes.items())


def _height_missing(axes: Axes, shape: float) -> float:
    figure = axes.figure
    box = axes.get_position(original=True).transformed(figure.transSubfigure)
    return float(shape * box.width - box.height) / figure.dpi


def root_of(place: FigureBase) -> Figure:
    """The figure that a subfigure stands in."""
    while isinstance(place, SubFigure):
        place = place.figure
    assert isinstance(place, Figure)
    return place


def width_of(figure: FigureBase | None, width: float | None) -> float:
    """The width in inches that there is to draw in."""
    return (width or PAGE) if figure is None else float(figure.get_window_extent().width / root_of(figure).dpi)


def font_size(width: float) -> float:
    return 7.0 if width < NARROW else 8.0


def is_narrow(width: float) -> bool:
    return width < NARROW


def legend(part: SubFigure, handles: Sequence[Artist], width: float, size: float) -> None:
    """A legend beneath a part, in as many columns as fit."""
    if not handles:
        return
    longest = max(text_width(str(handle.get_label()), size) for handle in handles)
    columns = max(1, min(len(handles), int(width / (longest + 4.6 * size / 72))))
    columns = math.ceil(len(handles) / math.ceil(len(handles) / columns))
    part.legend(handles=list(handles), ncols=columns, loc="outside lower center", fontsize=size, columnspacing=1.5)


def _settings(font: float) -> dict[str, Any]:
    small = 0.85 * font
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
