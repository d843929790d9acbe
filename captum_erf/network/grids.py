"""Which axes of a layer's output are its grid: a channels-first reading is refused where it would be wrong.

The shape settles it where only the last axes go with the input's by one stride. Where it does not, the network tells:
of an input twice as long, the output's axes that grow are the grid.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from .layers import ForwardFunc, Layer, all_modules, aside, batch_size, first_sample
from .layouts import Layout, channels_look_last, check_axes, fits_input
from .passes import layer_outputs

FEWEST_SUMS = 2  # of channels, over units and samples, from which cancellation can be told from chance
CANCELLATION = 1e-5  # a sum's share of its terms' sizes that counts as rounding


def check_grid(
    forward_func: ForwardFunc, layer: Layer, layout: Layout, read: Tensor, image: Tensor, arguments: tuple[Any, ...]
) -> None:
    """Refuses a layer's output, as read by the layout, that is no ``(N, C, *grid)`` over an image.

    ``image`` is one of the network's ``arguments``.

    Raises:
        ValueError: The output has not as many axes as the image, its last axis holds the channels, or its first axis
            is not the batch.
    """
    check_axes(read.shape, image.shape, layer.name)
    if layout == "channels_first" and not layer.is_channels_first:
        shape, size = read.shape, image.shape[2:]
        first, last = fits_input(shape[2:], size), fits_input(shape[1:-1], size)
        growing = [] if first and not last else _growing_axes(forward_func, layer, read, image, arguments)
        if growing == [1] or (growing != [2] and last and not first):
            raise channels_look_last(shape, size, layer.name)
        layer.is_channels_first = True


def check_sum(layer: Layer, read: Tensor) -> None:
    """Warns where the channels sum to zero at every unit: the sum's gradient is then nothing but rounding errors."""
    if layer.has_sum or read.dtype not in (torch.float32, torch.float64):
        return
    sums, sizes = read.detach().sum(1).abs(), read.detach().abs().sum(1)
    if sums.numel() < FEWEST_SUMS:
        return
    layer.has_sum = True
    if bool((sums <= CANCELLATION * sizes).all() and sizes.any() and sizes.isfinite().all()):
        warnings.warn(
            f"The channels of layer {layer.name!r} sum to zero at every unit, as they do after a normalisation over "
            'them: the gradient of their sum is mostly rounding errors. Pass channel="random", an index or a callable, '
            "or choose the layer before it.",
            stacklevel=2,
        )


def _growing_axes(
    forward_func: ForwardFunc, layer: Layer, output: Tensor, image: Tensor, arguments: tuple[Any, ...]
) -> list[int]:
    """The axes of the output that change when the first spatial axis of the input doubles; none if it may not."""

    def doubled(item: Any) -> Any:
        alike = isinstance(item, Tensor) and item.ndim == image.ndim and item.shape[2:] == image.shape[2:]
        return torch.cat([item, item], 2) if alike else item

    samples = [first_sample(item, batch_size(arguments)) for item in arguments]
    modules = all_modules(forward_func, [layer])
    with aside(modules, image.device):
        try:
            longer = layer_outputs(forward_func, [layer], tuple(map(doubled, samples)))[0]
        except Exception:
            return []
    if not isinstance(longer, Tensor) or longer.ndim != output.ndim:
        return []
    return [axis for axis in range(1, output.ndim) if longer.shape[axis] != output.shape[axis]]
