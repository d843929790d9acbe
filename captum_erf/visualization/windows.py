"""The part of the input that a map is shown over: all of it, around the theoretical field, or its core."""

from __future__ import annotations

from collections.abc import Sequence

from ..result.mean_map import MeanMap
from .curves import mass_box

Plane = tuple[int, int]
Window = tuple[tuple[float, float], ...]

MARGIN = 0.25  # of a zoomed theoretical field to each side, as a share of its size
SMALL = 0.16  # share of what is shown below which the box with 90 % of a map gets an inset


def whole(field: MeanMap) -> Window:
    """The edges of the input along every axis."""
    return tuple((-0.5, length - 0.5) for length in field.values.shape)


def around_trf(field: MeanMap) -> Window:
    """The theoretical field with a margin, as far as it lies inside the input; all of it where that is most."""
    trf, edges = field.theoretical, whole(field)
    if trf is None or any(trf.global_axes):
        return edges
    sides = [_widened(lower - 0.5, upper - 0.5) for lower, upper in zip(trf.lower, trf.upper, strict=True)]
    near = tuple((max(a, low), min(b, high)) for (a, b), (low, high) in zip(sides, edges, strict=True))
    empty = any(stop - start < 1 for start, stop in near)
    full = all(stop - start > 0.8 * (high - low) for (start, stop), (low, high) in zip(near, edges, strict=True))
    return edges if empty or full else near


def joined(windows: Sequence[Window]) -> Window:
    """The smallest window that shows all of them."""
    axes = zip(*windows, strict=True)
    return tuple((min(low for low, _ in axis), max(high for _, high in axis)) for axis in axes)


def longest_side(window: Window) -> float:
    """The longest side of a window in pixels."""
    return max(stop - start for start, stop in window)


def shape_of(window: Window, plane: Plane) -> float:
    """Height over width of a slice."""
    (top, bottom), (left, right) = window[plane[0]], window[plane[1]]
    return (bottom - top) / (right - left)


def needs_inset(field: MeanMap, window: Window) -> bool:
    """Whether the core of a map is a small part of a window."""
    sides = zip(core(field), window, strict=True)
    return all(stop - start <= SMALL * (1 + 2 * MARGIN) * (high - low) for (start, stop), (low, high) in sides)


def core(field: MeanMap) -> Window:
    """The box with 90 % of the map and a margin, or the theoretical field where that is smaller."""
    near, box = around_trf(field), mass_box(field, 0.9)
    if box is None:
        return near
    around = tuple(_widened(low, high) for low, high in box)
    return tuple(min(pair, key=lambda side: side[1] - side[0]) for pair in zip(near, around, strict=True))


def _widened(low: float, high: float) -> tuple[float, float]:
    return low - MARGIN * (high - low), high + MARGIN * (high - low)


def shows_trf(field: MeanMap, window: Window) -> bool:
    """Whether an edge of the theoretical field lies within a window."""
    trf = field.theoretical
    if trf is None:
        return False
    sides = zip(trf.lower, trf.upper, trf.global_axes, window, strict=True)
    return any(not every and (low < a - 0.5 < high or low < b - 0.5 < high) for a, b, every, (low, high) in sides)
