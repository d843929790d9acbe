"""Layouts: how a layer's output is read as units on a grid, ``(N, C, *grid)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Layout = str | Callable[[Any], Tensor]


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
class tokens:  # noqa: N801
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
        return output[:, self.prefix :].movedim(-1, 1).unflatten(2, grid)


def apply_layout(layout: Layout, output: Any, layer: str) -> Tensor:
    """The layer's output as ``(N, C, *grid)``."""
    if callable(layout):
        read = layout(output)
    elif layout == "channels_first":
        read = output
    else:
        raise ValueError(
            f'layout must be "channels_first", channels_last, tokens(...) or a callable, got {layout!r}.'
        )
    if not isinstance(read, Tensor):
        raise TypeError(
            f"Layer {layer!r} gives a {type(read).__name__}, not a tensor; pass a callable layout that picks the "
            "tensor, such as layout=lambda output: output[0] or layout=lambda output: output.last_hidden_state."
        )
    return read


def check_layout(layout: Layout, shape: Sequence[int], size: Sequence[int], layer: str) -> None:
    """Refuses an output shape that cannot be ``(N, C, *grid)`` for inputs with spatial axes ``size``.

    A channels-first reading is also refused where channels-last is the likelier one: reading the last axis as
    channels gives the same stride on every axis, reading the second one does not.
    """
    if len(shape) != len(size) + 2:
        raise ValueError(
            f"Layer {layer!r} gives an output of shape {tuple(shape)}, but inputs with spatial axes "
            f"{tuple(size)} need {len(size) + 2} axes, (N, C, *grid){_layout_hint(shape, size)}"
        )
    if layout == "channels_first" and _same_stride(shape[1:-1], size) and not _same_stride(shape[2:], size):
        raise ValueError(
            f"Layer {layer!r} gives an output of shape {tuple(shape)} for inputs with spatial axes {tuple(size)}: "
            "its last axis looks like the channels. Pass layout=captum_erf.channels_last, or, if the second axis "
            "really is the channels, layout=lambda output: output."
        )


def _layout_hint(shape: Sequence[int], size: Sequence[int]) -> str:
    if len(shape) == 3:
        return (
            "; for tokens (N, L, C) pass layout=captum_erf.tokens(prefix=..., grid=...), "
            "or use neuron_selector, which needs no grid."
        )
    return "; pass a callable layout that makes it so, or use neuron_selector, which needs no grid."


def _same_stride(grid: Sequence[int], size: Sequence[int]) -> bool:
    if len(size) < 2:
        return True
    strides = [length / units for length, units in zip(size, grid, strict=True)]
    return max(strides) <= 1.25 * min(strides)
