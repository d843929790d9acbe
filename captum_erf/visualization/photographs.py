"""Photographs to lie beneath a map: whatever holds an image, as 8-bit pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def pixels(image: Any) -> Pixels:
    r"""
    The pixels of an image.

    Args:
        image (array, Tensor, PIL image, str or Path): ``(H, W)``, ``(H, W, 3)``, ``(3, H, W)`` or one of these with one
            channel or one sample in front, or a file's path. Whole numbers run from 0 to 255, floats from 0 to 1;
            other floats, such as normalised inputs, are stretched from their minimum to their maximum.

    Returns:
        *ndarray* of 8-bit integers, shape ``(H, W, 3)``.

    Raises:
        ValueError: The shape is none of these, or a value is not finite.

    Examples::

        >>> pixels(np.array([[0.0, 1.0]])).tolist()
        [[[0, 0, 0], [255, 255, 255]]]
        >>> pixels(np.zeros((3, 4, 5))).shape
        (4, 5, 3)
    """
    if isinstance(image, (str, Path)):
        from PIL import Image, ImageOps

        with Image.open(image) as opened:
            return pixels(ImageOps.exif_transpose(opened).convert("RGB"))
    values = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    shape = values.shape
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 3 and values.shape[-1] not in (1, 3) and values.shape[0] in (1, 3):
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 3):
        raise ValueError(
            f"An image must be (H, W), (H, W, 3) or (3, H, W), got shape {shape}; pass three of its channels, or one."
        )
    return np.repeat(_bytes(values), 3 // values.shape[-1], axis=-1)


def name_of(image: Any, number: int) -> str:
    """A file's name, or the image's number from 1 on."""
    return bare(str(image)) if isinstance(image, (str, Path)) else f"image {number + 1}"


def bare(name: str) -> str:
    """The name without folders, which are nobody's business."""
    return re.split(r"[\\/]", name.rstrip("\\/"))[-1]


def _bytes(values: NDArray[Any]) -> Pixels:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind in "iub":
        return values.clip(0, 255).astype(np.uint8)
    floats = values.astype(np.float64)
    if not np.isfinite(floats).all():
        raise ValueError("An image holds NaN or infinite values; pass it as it was before.")
    low, high = floats.min(), floats.max()
    if low < 0 or high > 1:
        floats = (floats - low) / ((high - low) or 1)
    return np.rint(255 * floats).astype(np.uint8)
