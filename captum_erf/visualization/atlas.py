"""Many maps in one picture: 8 bits on a power scale, cropped to what is not zero, side by side in a PNG file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

EXPONENT = 0.25  # of the scale from a share of the map's maximum to a level: fine where maps are faint
LEVELS = 255
GAP = 1  # pixels between tiles, so that a browser that smooths one does not see its neighbour

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tile:
    """Levels of a map from ``offset`` on; each stands for the mean of ``step`` x ``step`` input pixels."""

    levels: NDArray[np.uint8]
    offset: tuple[int, int]
    step: int


class Atlas(TypedDict):
    """A PNG file as a data URI, and for each map ``[x, y, width, height]`` in it and ``[left, top, step]`` outside."""

    src: str
    places: list[list[int]]


def tile(values: Array, side: int) -> Tile:
    r"""
    A map as levels, with no more than ``side`` of them along an axis.

    Args:
        values (ndarray): Map of shape ``(H, W)`` without negative values.
        side (int): Most levels along an axis; larger maps are reduced by a whole step.

    Returns:
        *Tile*; the largest level is 255, and that of a map of zeros 0.

    Examples::

        >>> tile(np.diag([0.0, 1.0, 0.25, 0.0]), 8)
        Tile(levels=array([[255,   0],
               [  0, 180]], dtype=uint8), offset=(1, 1), step=1)
    """
    (top, bottom), (left, right) = (_extent(values, axis) for axis in (0, 1))
    step = _step((bottom - top, right - left), side)
    return Tile(_levels(_reduced(values[top:bottom, left:right], step)), (top, left), step)


def finest_side(shapes: Sequence[tuple[int, int]], most: float) -> int:
    """The longest side of a tile at which maps of these shapes together have no more than ``most`` levels."""

    def num_levels(side: int) -> int:
        return sum(math.prod(math.ceil(length / _step(shape, side)) for length in shape) for shape in shapes)

    longest = max((max(shape) for shape in shapes), default=1)
    sides = (math.ceil(longest / step) for step in range(1, longest + 1))
    return next((side for side in sides if num_levels(side) <= most), 1)


def atlas(tiles: Sequence[Tile]) -> Atlas:
    """The tiles in rows, in their order."""
    height, width = (max(one.levels.shape[axis] for one in tiles) + GAP for axis in (0, 1))
    columns = math.ceil(math.sqrt(len(tiles)))
    picture = np.zeros((math.ceil(len(tiles) / columns) * height, columns * width), np.uint8)
    places = []
    for number, one in enumerate(tiles):
        y, x = number // columns * height, number % columns * width
        rows, cells = one.levels.shape
        picture[y : y + rows, x : x + cells] = one.levels
        places.append([x, y, cells, rows, one.offset[1], one.offset[0], one.step])
    return {"src": data_uri(picture, "PNG", optimize=True), "places": places}


def data_uri(pixels: NDArray[np.uint8], kind: str, **options: int) -> str:
    """An image file of pixels ``(H, W)`` or ``(H, W, 3)``, for a page to carry."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def extents(values: Array) -> tuple[int, int]:
    """Height and width of the part of a map that a tile shows."""
    height, width = (stop - start for start, stop in (_extent(values, axis) for axis in (0, 1)))
    return height, width


def _step(shape: tuple[int, int], side: int) -> int:
    return max(math.ceil(length / side) for length in shape)


def _extent(values: Array, axis: int) -> tuple[int, int]:
    """From the first to behind the last index with a level above 0."""
    faintest = (0.5 / LEVELS) ** (1 / EXPONENT) * values.max()
    found = np.flatnonzero((values > faintest).any(1 - axis))
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 1)


def _reduced(values: Array, step: int) -> Array:
    """Means of blocks; those at the end may be smaller."""
    if step == 1:
        return values
    for axis in (0, 1):
        starts = np.arange(0, values.shape[axis], step)
        lengths = np.diff(np.append(starts, values.shape[axis]))
        values = np.add.reduceat(values, starts, axis) / np.expand_dims(lengths, 1 - axis)
    return values


def _levels(values: Array) -> NDArray[np.uint8]:
    return np.rint(LEVELS * (values / (values.max() or 1)) ** EXPONENT).astype(np.uint8)
