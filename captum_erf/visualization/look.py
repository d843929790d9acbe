"""How maps are to look, as users ask for it: colours, the photograph beneath them, and the part that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, Normalize
from numpy.typing import ArrayLike, NDArray

from ..result.mean_map import MeanMap
from ..text import times
from .curves import is_signed
from .scales import Scale, read_cmap, read_scale, transparent
from .windows import Window, around_trf, whole

Array = NDArray[np.float64]
Colours = tuple[Colormap, Normalize]

ZOOMS = ("field", "input")
GREY = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Look:
    """How maps are coloured, what lies beneath them and which part is shown."""

    scale: Scale
    cmap: Any
    zoom: str
    image: Array | None

    @classmethod
    def read(cls, fields: Sequence[MeanMap], scale: str | float, cmap: Any, zoom: str, image: Any) -> Look:
        if zoom not in ZOOMS:
            raise ValueError(f"zoom must be one of {', '.join(map(repr, ZOOMS))}, got {zoom!r}.")
        read_cmap(cmap, False)
        return cls(read_scale(scale), cmap, zoom, None if image is None else read_image(image, fields))

    def colours(self, fields: Sequence[MeanMap]) -> Colours:
        """The colours, and how a share of the maximum becomes one."""
        signed = is_signed(fields)
        cmap = read_cmap(self.cmap, signed)
        return cmap if self.image is None else transparent(cmap, signed), self.scale.norm(signed)

    def window(self, field: MeanMap) -> Window:
        return whole(field) if self.zoom == "input" else around_trf(field)


def read_image(image: ArrayLike, fields: Sequence[MeanMap]) -> Array:
    """A photograph as grey values from 0 to 1, of the inputs' proportions."""
    detached = image.detach().cpu() if hasattr(image, "detach") else image
    pixels = np.asarray(detached, dtype=np.float64)
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4)):
        raise ValueError(f"image must be of shape (H, W), (H, W, 3) or (3, H, W), got {pixels.shape}.")
    if not pixels.size or not np.isfinite(pixels).all():
        raise ValueError("image must hold finite numbers.")
    for field in fields:
        size = field.values.shape
        if len(size) != 2:
            raise ValueError(f"image lies beneath maps with two axes, and this one has {len(size)}; leave image out.")
        if abs(np.log(pixels.shape[0] * size[1] / (pixels.shape[1] * size[0]))) > 0.02:
            raise ValueError(
                f"image is {times(pixels.shape[:2])} and the map lies over inputs of {times(size)}; pass the crop that "
                "the network saw."
            )
    grey = pixels if pixels.ndim == 2 else pixels[..., :3] @ GREY if pixels.shape[-1] > 1 else pixels[..., 0]
    low, high = float(grey.min()), float(grey.max())
    if low < 0 or high > 255:
        return (grey - low) / (high - low)
    return grey / 255 if high > 1 else grey
