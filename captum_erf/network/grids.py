"""Until geometry/ takes networks and batches."""

from typing import Any

from .layouts import check_axes


def check_grid(forward_func: Any, layer: Any, layout: Any, read: Any, image: Any, arguments: Any) -> None:
    check_axes(read.shape, image.shape, layer.name)
