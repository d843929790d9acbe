"""Units: a position of the grid with a choice of channels, or a neuron selector, as one scalar per sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral, Real
from typing import Any, Protocol

import torch
from captum._utils.common import _verify_select_neuron
from torch import Tensor

Position = str | Sequence[int | float]
Positions = str | Sequence[Position]
Channel = None | int | str | Sequence[int] | Callable[[Tensor], Tensor]
NeuronSelector = int | tuple[int | slice, ...] | Callable[..., Tensor]

NAMED_POSITIONS = ("center", "corner", "edge")
GRID = "grid"  # names many units at once
GRID_SIDE = 7  # units of an axis up to which all are taken


class SelectorError(AssertionError, ValueError):
    """A neuron selector that does not fit the layer; an AssertionError, as Captum's are."""


class SelectorIndexError(SelectorError, IndexError):
    """A neuron selector that points outside the layer's output."""


class Reader(Protocol):
    """Makes one scalar per sample of what a layer hands over."""

    def __call__(self, output: Any) -> Tensor: ...


def check_position(position: Position) -> str | tuple[int | float, ...]:
    """The position, lists as tuples; refuses what can name no unit of any grid."""
    if isinstance(position, str):
        if position not in NAMED_POSITIONS:
            raise ValueError(f"position must be one of {NAMED_POSITIONS} or a tuple, got {position!r}.")
        return position
    entries = list(position) if isinstance(position, Sequence) else [None]
    if not all(isinstance(entry, Real) for entry in entries):
        raise TypeError(f"position must be a name or a tuple with one number per axis, got {position!r}.")
    return tuple(position)


def resolve_position(position: Position, grid: Sequence[int]) -> tuple[int, ...]:
    """The index of the unit that ``position`` names in a grid."""
    position = check_position(position)
    if isinstance(position, str):
        center = tuple(length // 2 for length in grid)
        return {"center": center, "corner": (0,) * len(grid), "edge": (0, *center[1:])}[position]
    if len(position) != len(grid):
        raise ValueError(
            f"position {position} has {len(position)} entries, but the layer's grid {tuple(grid)} has "
            f"{len(grid)} axes; give one entry per axis."
        )
    entries: Sequence[Any] = position
    return tuple(_index(entry, length) for entry, length in zip(entries, grid, strict=True))


def check_positions(positions: Positions) -> Positions:
    """The positions, each checked; refuses what names no units."""
    if positions == GRID:
        return positions
    if isinstance(positions, str) or not positions:
        raise ValueError(
            f'positions must name one unit or more, such as ("center",), or be "{GRID}", got {positions!r}.'
        )
    return tuple(check_position(position) for position in positions)


def resolve_positions(positions: Positions, grid: Sequence[int]) -> list[tuple[int, ...]]:
    """The indices of the units that ``positions`` names in a grid."""
    if positions == GRID:
        return grid_positions(grid)
    return [resolve_position(position, grid) for position in positions]


def grid_positions(grid: Sequence[int]) -> list[tuple[int, ...]]:
    """
    Units all over a grid: every one where an axis has 7 or fewer, else the middle ones of 7 equal parts of the axis.

    The centre unit is always among them.

    Examples::

        >>> grid_positions((2, 2))
        [(0, 0), (0, 1), (1, 0), (1, 1)]
        >>> grid_positions((56,))
        [(4,), (12,), (20,), (28,), (36,), (44,), (52,)]
    """
    return list(product(*map(_spread, grid)))


def _spread(length: int) -> Sequence[int]:
    if length <= GRID_SIDE:
        return range(length)
    return [(2 * part + 1) * length // (2 * GRID_SIDE) for part in range(GRID_SIDE)]


def _index(entry: int | float, length: int) -> int:
    if not isinstance(entry, Integral):
        if not 0.0 <= entry <= 1.0:
            raise ValueError(f"A float in position is a share of the grid in [0, 1], got {entry}.")
        return round(float(entry) * (length - 1))
    index = int(entry) + length if entry < 0 else int(entry)
    if not 0 <= index < length:
        raise IndexError(f"position {entry} is outside an axis of {length} units; use {-length} to {length - 1}.")
    return index


def check_channel(channel: Channel) -> None:
    """Refuses what can name no channels of any layer."""
    entries = list(channel) if isinstance(channel, Sequence) and not isinstance(channel, str) else [channel]
    whole = len(entries) > 0 and all(isinstance(entry, Integral) and not isinstance(entry, bool) for entry in entries)
    random = isinstance(channel, str) and channel == "random"
    if not (channel is None or random or callable(channel) or whole):
        raise ValueError(
            'channel must be None, an int, a sequence of ints, "random" or a callable from (N, C) to (N,), '
            f"got {channel!r}."
        )


@dataclass(frozen=True)
class Units:
    """Units of one layer, one per block of samples: every sample of block ``b`` is read at ``positions[b]``.

    The batch holds ``len(positions)`` blocks of equal length, so that crops around several units can share a pass.
    """

    positions: tuple[Position, ...] = ("center",)
    channel: Channel = None

    def __call__(self, output: Tensor) -> Tensor:
        indices = [resolve_position(position, output.shape[2:]) for position in self.positions]
        blocks = output.chunk(len(indices))
        values = [block[_at(index)] for block, index in zip(blocks, indices, strict=True)]
        return read_channels(torch.cat(values), self.channel)


def _at(index: tuple[int, ...]) -> tuple[Any, ...]:
    return (..., *index)


def read_channels(values: Tensor, channel: Channel) -> Tensor:
    """One scalar per sample from a unit's values ``(N, C)``."""
    if channel is None:
        return values.sum(1)
    if isinstance(channel, str):
        signs = torch.randint(0, 2, values.shape).to(values, non_blocking=True) * 2 - 1
        return (values * signs).sum(1)
    if callable(channel):
        return _one_per_sample(channel(values), len(values), "channel")
    chosen: list[Any] = list(channel) if isinstance(channel, Sequence) else [int(channel)]
    count = values.shape[1]
    outside = [index for index in chosen if not -count <= index < count]
    if outside:
        raise IndexError(f"channel {outside[0]} is outside the layer's {count} channels; use 0 to {count - 1}.")
    return values.index_select(
        1, torch.tensor([index % count for index in chosen]).to(values.device, non_blocking=True)
    ).sum(1)


def mixed_channels(values: Tensor) -> Tensor:
    """A sum over channels in which none cancel."""
    return (values * torch.arange(1, values.shape[1] + 1, device=values.device).cos().to(values.dtype)).sum(1)


@dataclass(frozen=True)
class Selected:
    """The neurons that Captum's ``neuron_selector`` picks, one scalar per sample."""

    selector: NeuronSelector

    def __call__(self, output: Any) -> Tensor:
        outputs = tuple(output) if isinstance(output, (tuple, list)) else (output,)
        selected: Tensor
        try:
            selected = _verify_select_neuron(outputs, self.selector)
        except IndexError as error:
            raise SelectorIndexError(self._message(outputs, error)) from error
        except AssertionError as error:
            raise SelectorError(self._message(outputs, error)) from error
        samples = len(outputs[0])
        if callable(self.selector):
            return _one_per_sample(selected, samples, "neuron_selector")
        if selected.shape != (samples,):
            missing = outputs[0].ndim - 1
            raise SelectorError(
                f"neuron_selector {self.selector!r} leaves values of shape {tuple(selected.shape)} for {samples} "
                f"samples of an output of shape {tuple(outputs[0].shape)}; give an index or a slice for each of the "
                f"{missing} axes after the batch."
            )
        return selected

    def _message(self, outputs: tuple[Any, ...], error: Exception) -> str:
        shapes = [tuple(item.shape) if isinstance(item, Tensor) else type(item).__name__ for item in outputs]
        return f"neuron_selector {self.selector!r} does not fit the layer's output of shape {shapes}: {error}"


def make_reader(neuron_selector: NeuronSelector | None, position: Position, channel: Channel) -> Reader:
    """The reader that ``neuron_selector``, or else ``position`` and ``channel``, describe."""
    if neuron_selector is None:
        check_channel(channel)
        return Units((position,), channel)
    if position != "center" or channel is not None:
        raise SelectorError(
            "neuron_selector excludes position and channel: it picks the neuron by itself. Drop one or the other."
        )
    return Selected(neuron_selector)


def _one_per_sample(scalars: Any, samples: int, name: str) -> Tensor:
    if not isinstance(scalars, Tensor) or scalars.shape not in ((samples,), (samples, 1)):
        got = tuple(scalars.shape) if isinstance(scalars, Tensor) else type(scalars).__name__
        raise SelectorError(f"The callable {name} must return one scalar per sample, shape ({samples},), got {got}.")
    return scalars.reshape(samples)
