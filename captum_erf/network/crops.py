"""Crops: what modules hand over is cut, on the way through the network, to the part that is still needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module


class CropError(RuntimeError):
    """A module hands over something else than it did when its crop was planned."""


@dataclass(frozen=True)
class Crop:
    """
    The part of one module's output that goes on.

    Attributes:
        module (Module): It runs once in a pass.
        axes (tuple[int, ...]): The output's spatial axes.
        size (tuple[int, ...]): What the output measures along them where nothing is cropped.
        start, shape (tuple[int, ...]): The part that goes on, counted in that.
        moved (tuple[int, ...]): What earlier crops have already taken away at the front.
    """

    module: Module
    axes: tuple[int, ...]
    size: tuple[int, ...]
    start: tuple[int, ...]
    shape: tuple[int, ...]
    moved: tuple[int, ...]

    def cut(self, output: Tensor) -> Tensor:
        """The part of what the module hands over behind the crops before."""
        return self._part(output, [start - moved for start, moved in zip(self.start, self.moved, strict=True)])

    def blanked(self, output: Tensor) -> Tensor:
        """A module's whole output, with NaN in all that would be cut away."""
        blank = torch.full_like(output, torch.nan)
        self._part(blank, self.start).copy_(self._part(output, self.start))
        return blank

    def _part(self, output: Tensor, start: Sequence[int]) -> Tensor:
        part = output
        for axis, first, length in zip(self.axes, start, self.shape, strict=True):
            if axis >= output.ndim or not 0 <= first <= first + length <= output.shape[axis]:
                raise CropError(f"no part of {self.shape} at {tuple(start)} in an output of {tuple(output.shape)}")
            part = part.narrow(axis, first, length)
        return part


@contextmanager
def cropping(blocks: Sequence[Sequence[Crop]]) -> Iterator[None]:
    """
    Crops what modules hand over in the passes inside; afterwards the modules are as before.

    The samples come in blocks of equal length, each with crops of its own, of the same modules and shapes.

    Examples::

        >>> from torch import nn
        >>> model = nn.Sequential(nn.ReLU(), nn.Identity())
        >>> crops = [[Crop(model[0], (2,), (6,), (start,), (2,), (0,))] for start in (0, 3)]
        >>> with cropping(crops):
        ...     print(model(torch.arange(6.0).repeat(2, 1, 1)))
        tensor([[[0., 1.]],
        <BLANKLINE>
                [[3., 4.]]])
    """

    def cut(alike: tuple[Crop, ...], output: Tensor) -> Tensor:
        # A copy, so that an operation in place further on changes no more than the part.
        if len({(crop.start, crop.moved) for crop in alike}) == 1:
            return alike[0].cut(output).clone()
        parts = zip(alike, output.chunk(len(alike)), strict=True)
        return torch.cat([crop.cut(part) for crop, part in parts])

    with _changing_outputs([(alike[0].module, alike) for alike in zip(*blocks, strict=True)], cut):
        yield


@contextmanager
def blanking(blocks: Sequence[Sequence[Crop]]) -> Iterator[None]:
    """Puts NaN, in each of the blocks of samples, into all that its crops would cut away, and cuts nothing."""
    by_module: dict[Module, list[tuple[int, Crop]]] = {}
    for number, crops in enumerate(blocks):
        for crop in crops:
            by_module.setdefault(crop.module, []).append((number, crop))

    def blank(crops: list[tuple[int, Crop]], output: Tensor) -> Tensor:
        parts = list(output.chunk(len(blocks)))
        for number, crop in crops:
            parts[number] = crop.blanked(parts[number])
        return torch.cat(parts)

    with _changing_outputs(list(by_module.items()), blank):
        yield


@contextmanager
def _changing_outputs(changes: Sequence[tuple[Module, Any]], change: Callable[[Any, Tensor], Tensor]) -> Iterator[None]:
    def hook(what: Any) -> Callable[..., Tensor]:
        def changed(_module: Module, _args: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise CropError(f"a {type(output).__name__} where a tensor was")
            return change(what, output)

        return changed

    with ExitStack() as stack:
        for module, what in changes:
            stack.callback(module.register_forward_hook(hook(what)).remove)
        yield
