"""Crops: what modules hand over is cut, on the way through the network, to the part that is still needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
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
        """A copy of what is left of the module's output behind the crops before."""
        before = [start - moved for start, moved in zip(self.start, self.moved, strict=True)]
        lengths = [output.shape[axis] for axis in self.axes if axis < output.ndim]
        behind = [size - first - length for size, first, length in zip(lengths, before, self.shape, strict=True)]
        if min(*before, *behind) < 0:
            raise CropError(f"no part of {self.shape} at {tuple(before)} in an output of {tuple(output.shape)}")
        return padded(output, self.axes, [-first for first in before], [-rest for rest in behind])

    def blanked(self, output: Tensor) -> Tensor:
        """A module's whole output, with NaN in all that would be cut away."""
        blank = torch.full_like(output, torch.nan)
        index = [slice(None)] * output.ndim
        for axis, first, length in zip(self.axes, self.start, self.shape, strict=True):
            index[axis] = slice(first, first + length)
        blank[tuple(index)] = output[tuple(index)]
        return blank


def padded(tensor: Tensor, axes: Sequence[int], before: Sequence[int], behind: Sequence[int]) -> Tensor:
    """A copy with zeros added along axes that follow each other; where the numbers are negative, with parts gone."""
    pads = [0, 0] * (tensor.ndim - 1 - axes[-1])
    for first, rest in reversed(list(zip(before, behind, strict=True))):
        pads += [first, rest]
    return torch.nn.functional.pad(tensor, pads)


@dataclass(frozen=True)
class Detour:
    """
    Crops within a branch, which another module closes: there the part is put back among zeros, where it belongs.

    Attributes:
        crops (tuple[Crop, ...]): In the order in which their modules run.
        end (Module): The module that closes the branch, on the same grid; it runs once in a pass.
        size (tuple[int, ...]): What its output measures where nothing is cropped.
    """

    crops: tuple[Crop, ...]
    end: Module
    size: tuple[int, ...]

    def back(self, part: Tensor, lengths: Sequence[int]) -> Tensor:
        """The part among zeros, in what the end would hand over for an opening of these lengths."""
        first, last = self.crops[0], self.crops[-1]
        before = [start - moved for start, moved in zip(last.start, first.moved, strict=True)]
        shrunk = [size - own for size, own in zip(first.size, self.size, strict=True)]
        whole = [length - less for length, less in zip(lengths, shrunk, strict=True)]
        left = [part.shape[axis] for axis in first.axes]
        behind = [length - start - own for length, start, own in zip(whole, before, left, strict=True)]
        if min(*before, *behind) < 0:
            raise CropError(f"a part of {tuple(part.shape)} does not fit back into {tuple(whole)}")
        return padded(part, first.axes, before, behind)


Step = Crop | Detour


@contextmanager
def cropping(blocks: Sequence[Sequence[Step]]) -> Iterator[None]:
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
    with ExitStack() as stack:
        for alike in zip(*blocks, strict=True):
            if isinstance(alike[0], Crop):
                stack.enter_context(_cut([alike]))
            else:
                stack.enter_context(_cut(list(zip(*(detour.crops for detour in alike), strict=True)), alike))
        yield


@contextmanager
def _cut(stages: Sequence[Sequence[Crop]], detours: Sequence[Detour] = ()) -> Iterator[None]:
    """Cuts in one stage after the other; at the end of detours, puts back."""
    lengths: list[int] = []

    def cut(stage: Sequence[Crop], output: Tensor) -> Tensor:
        if stage is stages[0]:
            lengths[:] = [output.shape[axis] for axis in stage[0].axes]
        if len({(crop.start, crop.moved) for crop in stage}) == 1:
            return stage[0].cut(output)
        return torch.cat([crop.cut(part) for crop, part in zip(stage, output.chunk(len(stage)), strict=True)])

    def put_back(output: Tensor) -> Tensor:
        if len({(detour.crops[0].moved, detour.crops[-1].start) for detour in detours}) == 1:
            return detours[0].back(output, lengths)
        parts = zip(detours, output.chunk(len(detours)), strict=True)
        return torch.cat([detour.back(part, lengths) for detour, part in parts])

    with ExitStack() as stack:
        for stage in stages:
            stack.enter_context(_changed(stage[0].module, partial(cut, stage)))
        if detours:
            stack.enter_context(_changed(detours[0].end, put_back))
        yield


@contextmanager
def blanking(blocks: Sequence[Sequence[Crop]]) -> Iterator[None]:
    """Puts NaN, in each of the blocks of samples, into all that its crops would cut away, and cuts nothing."""
    by_module: dict[Module, list[tuple[int, Crop]]] = {}
    for number, crops in enumerate(blocks):
        for crop in crops:
            by_module.setdefault(crop.module, []).append((number, crop))

    def blank(numbered: list[tuple[int, Crop]], output: Tensor) -> Tensor:
        parts = list(output.chunk(len(blocks)))
        for number, crop in numbered:
            parts[number] = crop.blanked(parts[number])
        return torch.cat(parts)

    with ExitStack() as stack:
        for module, numbered in by_module.items():
            stack.enter_context(_changed(module, partial(blank, numbered)))
        yield


@contextmanager
def _changed(module: Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Changes what a module hands over."""

    def hook(_module: Module, _args: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise CropError(f"a {type(output).__name__} where a tensor was")
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
