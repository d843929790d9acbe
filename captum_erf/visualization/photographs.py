"""Photographs to lie beneath a map: whatever holds an image, as levels of red, green and blue."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import read_image

CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency, which is left out


def levels(image: Any) -> NDArray[np.float64]:
    r"""
    The levels of an image, from 0 to 1.

    Args:
        image (array, Tensor, PIL image, str or Path): ``(H, W)``, ``(H, W, 3)``, ``(3, H, W)`` or one of these with one
            channel or one sample in front, or a file's path. Whole numbers run from 0 to 255, floats from 0 to 1 or
            from 0 to 255; other floats, such as normalised inputs, are stretched from their minimum to their maximum.

    Returns:
        *ndarray* of shape ``(H, W, 3)``.

    Raises:
        ValueError: The shape is none of these, or a value is not finite.

    Examples::

        >>> levels(np.array([[0.0, 1.0]])).tolist()
        [[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]]
        >>> levels(np.zeros((3, 4, 5))).shape
        (4, 5, 3)
    """
    if isinstance(image, (str, Path)):
        image = read_image(Path(image))
    values = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    shape = values.shape
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 3 and values.shape[-1] not in CHANNELS and values.shape[0] in CHANNELS:
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in CHANNELS or not values.size:
        raise ValueError(
            f"An image must be of shape (H, W), (H, W, 3) or (3, H, W), got {shape}; pass one or three of its channels."
        )
    colours = _scaled(values[..., :3])
    return np.repeat(colours, 3 // colours.shape[-1], axis=-1)


def _scaled(values: NDArray[Any]) -> NDArray[np.float64]:
    low, high = (0.0, 255.0) if values.dtype.kind in "iub" else (float(values.min()), float(values.max()))
    if not np.isfinite([low, high]).all():
        raise ValueError("An image must hold finite numbers; this one holds NaN or infinite values.")
    if low >= 0:
        low, high = (0.0, 1.0) if high <= 1 else (0.0, 255.0) if high <= 255 else (low, high)
    return (values.astype(np.float64).clip(low, high) - low) / ((high - low) or 1.0)


def name_of(image: Any, number: int) -> str:
    """A file's name, or the image's number from 1 on."""
    return bare(str(image)) if isinstance(image, (str, Path)) else f"image {number + 1}"


def bare(name: str) -> str:
    """The name without folders, which are nobody's business."""
    return re.split(r"[\\/]", name.rstrip("\\/"))[-1]
