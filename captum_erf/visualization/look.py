"""How maps are to look, as users ask for it: colours, the photograph beneath them, and the part that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, Normalize
from numpy.typing import NDArray

from ..result.mean_map import MeanMap
from ..text import times
from .curves import is_signed
from .photographs import levels
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


def read_image(image: Any, fields: Sequence[MeanMap]) -> Array:
    """A photograph as grey levels from 0 to 1, of the inputs' proportions."""
    grey: Array = levels(image) @ GREY
    for field in fields:
        size = field.values.shape
        if len(size) != 2:
            raise ValueError(f"image lies beneath maps with two axes, and this one has {len(size)}; leave image out.")
        if abs(np.log(grey.shape[0] * size[1] / (grey.shape[1] * size[0]))) > 0.02:
            raise ValueError(
                f"image is {times(grey.shape)} and the map lies over inputs of {times(size)}; pass the crop that "
                "the network saw."
            )
    return grey
