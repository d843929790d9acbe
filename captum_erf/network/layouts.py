"""Layouts: how a layer's output is read as units on a grid, ``(N, C, *grid)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from ..names import named

Layout = str | Callable[[Any], Tensor]
NO_BATCH_AXIS = " One image (C, H, W) without a batch axis is passed as image[None]."


@named("captum_erf.layouts.channels_last")
def channels_last(output: Tensor) -> Tensor:
    r"""
    Reads ``(N, *grid, C)``, the layout of Swin or MaxViT blocks, as ``(N, C, *grid)``.

    Args:
        output (Tensor): A layer's output of shape ``(N, *grid, C)``.

    Returns:
        *Tensor* of shape ``(N, C, *grid)``, a view.

    Examples::

        >>> import torch
        >>> channels_last(torch.zeros(1, 7, 7, 768)).shape
        torch.Size([1, 768, 7, 7])
    """
    return output.movedim(-1, 1)


@dataclass(frozen=True)
class tokens:
    r"""
    Reads a sequence of tokens ``(N, L, C)``, the layout of vision transformers, as ``(N, C, *grid)``.

    Args:
        prefix (int): Number of tokens at the front that stand for no place in the input (class token,
            registers). They are dropped.
        grid (tuple[int, ...], optional): Shape into which the other tokens fold, row by row. None means a
            square, where their number allows it.

    Raises:
        ValueError: The tokens do not fold into the grid.

    Examples::

        >>> import torch
        >>> tokens(prefix=1)(torch.zeros(2, 1 + 14 * 14, 768)).shape
        torch.Size([2, 768, 14, 14])
        >>> tokens(grid=(8,))(torch.zeros(2, 8, 32)).shape
        torch.Size([2, 32, 8])
    """

    prefix: int = 0
    grid: Sequence[int] | None = None

    def __call__(self, output: Tensor) -> Tensor:
        if output.ndim != 3:
            raise ValueError(
                f"tokens() reads (N, L, C), got an output of shape {tuple(output.shape)}; "
                'use layout="channels_first", channels_last or a callable.'
            )
        length = output.shape[1] - self.prefix
        grid = (math.isqrt(max(length, 0)),) * 2 if self.grid is None else tuple(self.grid)
        if math.prod(grid) != length:
            wanted = "a square" if self.grid is None else f"the grid {grid}"
            raise ValueError(
                f"{output.shape[1]} tokens less prefix={self.prefix} leave {length}, which do not fold into "
                f"{wanted}; set prefix= to the number of class and register tokens, or grid= to the shape."
            )
        return output[:, self.prefix :].movedim(-1, 1).reshape(len(output), -1, *grid)


def as_layout(layout: Any, name: str = "layout") -> Layout:
    """
    A layout as it was meant: also by its name, or as ``tokens`` without the call.

    Examples::

        >>> as_layout("tokens:1"), as_layout(tokens), as_layout("channels_last") is channels_last
        (tokens(prefix=1, grid=None), tokens(prefix=0, grid=None), True)
    """
    if isinstance(layout, str):
        kind, _, prefix = layout.partition(":")
        if kind == "tokens" and (prefix.isdecimal() or layout == kind):
            return tokens(int(prefix or 0))
        if layout == "channels_last":
            return channels_last
    if layout is tokens:
        return tokens()
    if layout != "channels_first" and not callable(layout):
        raise ValueError(f'{name} must be "channels_first", channels_last, tokens(...) or a callable, got {layout!r}.')
    return layout  # type: ignore[no-any-return]


def contiguous(output: Any) -> Any:
    """What a layer hands over, in the order of memory that code of the user's may count on."""
    return tree_map(lambda item: item.contiguous() if isinstance(item, Tensor) else item, output)


def apply_layout(layout: Layout, output: Any, layer: str) -> Tensor:
    """The layer's output as ``(N, C, *grid)``."""
    read, layout = output, as_layout(layout)
    if callable(layout):
        takes_tensors = layout is channels_last or isinstance(layout, tokens)
        read = layout(contiguous(output)) if isinstance(output, Tensor) or not takes_tensors else output
    if not isinstance(read, Tensor):
        raise TypeError(
            f"Layer {layer!r} gives a {type(read).__name__}, not a tensor; pass a callable layout that picks the "
            "tensor, such as layout=lambda output: output[0] or layout=lambda output: output.last_hidden_state "
            "(inside tokens(...) or channels_last where it needs one)."
        )
    if read.is_complex():
        raise complex_units(layer, "layout=lambda output: torch.cat([output.real, output.imag], 1)")
    return read


def complex_units(layer: str, fix: str) -> TypeError:
    """The error for units whose values are complex."""
    return TypeError(
        f"Layer {layer!r} gives complex numbers, and the gradient of a unit is that of a real number. Pass {fix}, or "
        "one of abs, real and imag of it."
    )


def check_axes(shape: Sequence[int], inputs: Sequence[int], layer: str) -> None:
    """Refuses an output shape that cannot be ``(N, C, *grid)`` for inputs ``(N, C_in, *size)``."""
    if len(shape) != len(inputs):
        raise ValueError(
            f"Layer {layer!r} gives an output of shape {tuple(shape)}, but inputs with spatial axes "
            f"{tuple(inputs[2:])} need {len(inputs)} axes, (N, C, *grid); {_hint(shape, inputs)}, or use "
            "neuron_selector, which needs no grid."
        )
    if shape[0] != inputs[0]:
        raise ValueError(
            f"Layer {layer!r} gives an output of shape {tuple(shape)} for {inputs[0]} sample(s): its first axis is "
            "not the batch. Pass a callable layout that makes it (N, C, *grid), or choose the layer around it."
            + NO_BATCH_AXIS
            * (len(inputs) == 3)
        )


def check_layout(layout: Layout, shape: Sequence[int], inputs: Sequence[int], layer: str) -> None:
    """Refuses an output shape that cannot be ``(N, C, *grid)``, or is not likely to be, for inputs of a shape."""
    check_axes(shape, inputs, layer)
    size = inputs[2:]
    if layout == "channels_first" and (fits_input(shape[1:-1], size) and not fits_input(shape[2:], size)):
        raise channels_look_last(shape, size, layer)


def fits_input(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Whether units would lie equally far apart on every axis, on a single one no closer than the input's positions."""
    strides = [length / units for length, units in zip(size, grid, strict=True)]
    return min(strides) >= 1 if len(strides) == 1 else max(strides) <= 1.25 * min(strides)


def channels_look_last(shape: Sequence[int], size: Sequence[int], layer: str) -> ValueError:
    """The error for an output that is channels-last, but to be read channels-first."""
    return ValueError(
        f"Layer {layer!r} gives an output of shape {tuple(shape)} for inputs with spatial axes {tuple(size)}: "
        "its last axis looks like the channels. Pass layout=captum_erf.channels_last, or, if the second axis "
        "really is the channels, layout=lambda output: output."
    )


def _hint(shape: Sequence[int], inputs: Sequence[int]) -> str:
    if len(shape) == 3:
        return "for tokens (N, L, C) pass layout=captum_erf.tokens(prefix=..., grid=...)"
    if len(shape) == 4 and len(inputs) == 5:
        return "for tokens pass layout=captum_erf.tokens(grid=...) with a grid of three axes"
    return "pass a callable layout that makes it so"
