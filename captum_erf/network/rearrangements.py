"""Rearrangements: an input read as ``(N, C, *size)`` by a layout, and given back in the order that the network takes.

What goes into the network is made of what is measured, so that all of the package's inside sees channels-first inputs,
of any size. A callable is inverted by an input that holds the number of each of its places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from math import prod
from typing import Any

import torch
from torch import Tensor

from .layouts import Layout, as_layout, channels_last, tokens

Back = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AxesBack:
    """Puts axes back to where they were, of an input of any size."""

    order: tuple[int, ...]

    def __call__(self, measured: Tensor) -> Tensor:
        return measured.permute(self.order)


@dataclass(frozen=True)
class TokensBack:
    """Lays places out in a row again, of a grid of any size."""

    def __call__(self, measured: Tensor) -> Tensor:
        return measured.flatten(2).movedim(1, -1)


@dataclass(frozen=True, eq=False)
class PlacesBack:
    """Puts every number of a sample back to its place, of inputs of one size."""

    places: Tensor
    read: tuple[int, ...]
    given: tuple[int, ...]

    def __call__(self, measured: Tensor) -> Tensor:
        if tuple(measured.shape[1:]) != self.read:
            raise ValueError(f"input_layout is known for samples of shape {self.read}, not {tuple(measured.shape[1:])}")
        return measured.flatten(1)[:, self.places.to(measured.device)].reshape(len(measured), *self.given)


@dataclass(frozen=True)
class InputLayout:
    """
    How an input is read as ``(N, C, *size)``, and how it is given back.

    Examples::

        >>> measured, back = InputLayout(lambda clips: clips.transpose(1, 2)).read(torch.zeros(2, 16, 3, 8, 8))
        >>> measured.shape, back(measured).shape
        (torch.Size([2, 3, 16, 8, 8]), torch.Size([2, 16, 3, 8, 8]))
    """

    layout: Layout = "channels_first"
    known: dict[Any, Back] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", as_layout(self.layout, "input_layout"))

    @property
    def is_plain(self) -> bool:
        """Whether inputs are taken as they come."""
        return self.layout == "channels_first"

    def read(self, given: Tensor) -> tuple[Tensor, Back]:
        """The input as ``(N, C, *size)``, and what makes the network's input of one like it."""
        read = self._apply(given)
        shape = tuple(given.shape[1:])
        if shape not in self.known:
            self.known[shape] = self._back(shape)
        return read, self.known[shape]

    def _apply(self, given: Tensor) -> Tensor:
        assert callable(self.layout)
        read = self.layout(given)
        if not isinstance(read, Tensor):
            raise TypeError(f"input_layout gives a {type(read).__name__}; it must make a tensor (N, C, *size).")
        return read

    def _back(self, shape: tuple[int, ...]) -> Back:
        if self.layout is channels_last:
            return AxesBack((0, *range(2, len(shape) + 1), 1))
        if isinstance(self.layout, tokens) and not self.layout.prefix:
            return TokensBack()
        numbered = torch.arange(2 * prod(shape), dtype=torch.float64).reshape(2, *shape)
        read = self._apply(numbered)
        order = _order(numbered, read)
        return _places(numbered, read) if order is None else AxesBack(order)


def _order(numbered: Tensor, read: Tensor) -> tuple[int, ...] | None:
    """The axes of what was read, in the order of what was given; None where it is no mere change of axes."""
    for order in permutations(range(1, numbered.ndim)):
        if torch.equal(numbered.permute(0, *order), read):
            return (0, *(1 + order.index(axis) for axis in range(1, numbered.ndim)))
    return None


def _places(numbered: Tensor, read: Tensor) -> PlacesBack:
    """Where every number of a sample has gone; refuses what has gone missing, doubled or to another sample."""
    one = read[:1].double().flatten()
    each = numbered[0].numel()
    moves_alike = len(read) == 2 and read.numel() == 2 * each and torch.equal(read[1].double().flatten(), one + each)
    places = one.argsort()
    if not moves_alike or not torch.equal(one[places], numbered[0].flatten()):
        raise ValueError(
            f"input_layout makes {tuple(read.shape)} of inputs of shape {tuple(numbered.shape)} by more than moving "
            "their numbers about: it must only re-arrange each sample, as permute, transpose and reshape do. Let "
            "forward_func do the rest, and pass inputs that are ready for it."
        )
    return PlacesBack(places, tuple(read.shape[1:]), tuple(numbered.shape[1:]))
