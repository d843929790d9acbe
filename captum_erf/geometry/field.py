"""Theoretical receptive fields: the part of the input that can influence a unit, for any network.

The box is measured, not derived from layer types: a NaN placed in the input reaches exactly the units that it can
influence (see :mod:`captum_erf.probing`). For a chain of convolutions the result equals the closed form of Araujo,
Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ..network.layers import ForwardFunc, Layer, all_modules, find_layers, model_device
from ..network.layouts import Layout
from ..network.units import Position, resolve_position
from ..text import times
from .bounds import Box, find_boxes
from .probing import Prober


@dataclass(frozen=True, repr=False)
class TheoreticalReceptiveField:
    r"""
    The box of input positions that can influence one unit.

    Attributes:
        lower, upper (tuple[int, ...]): Per axis the half-open interval ``[lower, upper)`` of input indices, not
            clipped: it may reach outside the input. On a global axis, ``[0, size of the input)``.
        size (tuple[int, ...]): ``upper - lower``, in pixels.
        stride (tuple[int | float, ...]): Input steps from one unit to the next; below one on upsampled grids.
        center (tuple[float, ...]): The input position onto which the unit projects, in pixels: the middle of the
            box, and on an axis that is global or of which a side is clipped the middle of the unit's own grid cell,
            ``(u + 0.5) * size / grid - 0.5``.
        is_clipped (bool): Whether a side of the box was found only as far as the input reaches, because the
            network takes no other input size.
        outside (float, optional): Share of the box that lies outside the input; None where ``is_clipped``.
        input_size, grid, position (tuple[int, ...]): Shape of the input and of the layer's grid, and the unit.
        global_axes (tuple[bool, ...]): Axes on which every input position can influence the unit.
    """

    lower: tuple[int, ...]
    upper: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int | float, ...]
    center: tuple[float, ...]
    is_clipped: bool
    outside: float | None
    input_size: tuple[int, ...]
    grid: tuple[int, ...]
    position: tuple[int, ...]
    global_axes: tuple[bool, ...]

    @property
    def is_global(self) -> bool:
        """Whether every input position can influence the unit."""
        return all(self.global_axes)

    @property
    def is_known(self) -> bool:
        """Whether the whole box was found: no axis is global, no side clipped."""
        return not (any(self.global_axes) or self.is_clipped)

    @property
    def center_source(self) -> str:
        """Where ``center`` comes from: ``"theoretical"`` (the box), ``"grid cell"``, or ``"mixed"`` by axis."""
        sides = zip(self.lower, self.upper, self.center, self.global_axes, strict=True)
        of_cell = [everywhere or center != _middle(low, high) for low, high, center, everywhere in sides]
        return "grid cell" if all(of_cell) else "mixed" if any(of_cell) else "theoretical"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TheoreticalReceptiveField:
        """The inverse of :meth:`to_dict`."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)

    def __repr__(self) -> str:
        rows = [
            f"TheoreticalReceptiveField of unit {self.position} in a grid of {times(self.grid)}",
            f"  size       {self._axes(_interval_size)}{' (clipped by the input)' if self.is_clipped else ''}",
            f"  box        {self._axes(_interval)} in an input of {times(self.input_size)}",
            f"  stride     {times(self.stride)}",
            f"  center     ({', '.join(f'{c:g}' for c in self.center)}), {self.center_source}",
        ]
        if self.outside is not None:
            rows.append(f"  outside    {self.outside:.1%} of the box lies outside the input")
        return "\n".join(rows)

    def _axes(self, form: Any) -> str:
        sides = zip(self.lower, self.upper, self.global_axes, strict=True)
        return " x ".join("global" if everywhere else form(low, high) for low, high, everywhere in sides)


def _middle(low: int, high: int) -> float:
    return (low + high - 1) / 2


def _interval(low: int, high: int) -> str:
    return f"[{low}, {high})"


def _interval_size(low: int, high: int) -> str:
    return str(high - low)


def theoretical_receptive_field(
    forward_func: ForwardFunc,
    layer: Module | str,
    input_shape: Sequence[int] | Tensor,
    position: Position = "center",
    *,
    layout: Layout = "channels_first",
    call: int | None = None,
) -> TheoreticalReceptiveField:
    r"""
    Finds the box of input positions that can influence a unit, its stride and the point onto which it projects.

    No layer type is known or needed: the network is run, in eval mode and without gradients, on inputs that hold
    NaN in one part (see :mod:`captum_erf.probing`). What the unit can see by the network's wiring counts, also where
    a weight or an attention mask happens to be zero.

    Args:
        forward_func (Module or Callable): The network.
        layer (Module or str): The unit's layer, or its dotted name in ``forward_func``.
        input_shape (Sequence[int] or Tensor): Shape of one sample, ``(C_in, *size)`` with one to three spatial
            axes, or a batch of real inputs ``(N, C_in, *size)`` for networks that need them.
        position (str or tuple, optional): The unit: ``"center"``, ``"corner"``, ``"edge"`` or a tuple with an int or
            a share in [0, 1] per axis.
        layout (str or Callable, optional): How the layer's output is read as ``(N, C, *grid)``.
        call (int, optional): Which call of a layer that is used several times in one forward pass; -1 is the last.

    Returns:
        *TheoreticalReceptiveField*, in input pixels.

    Raises:
        ValueError: ``input_shape`` is no shape, the layer has no grid or no such name, the input has no influence on
            the unit, or the network makes NaN of finite inputs.
        IndexError: The position is outside the grid.
        TypeError: The layer is no Module and no name, or hands over no tensor.
        RuntimeError: The forward pass does not run the layer.

    Examples::

        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> field = theoretical_receptive_field(net, "2", (3, 32, 32))
        >>> field.size, field.stride, field.center
        ((8, 8), (2, 2), (16.5, 16.5))
        >>> theoretical_receptive_field(net, "2", (3, 32, 32), "corner").lower
        (-3, -3)
    """
    found = find_layers(forward_func, [layer], call)
    sample = _sample(input_shape, all_modules(forward_func, found))
    return probe(forward_func, found, [position], sample, layout=layout)[0][0]


def _sample(input_shape: Sequence[int] | Tensor, modules: Sequence[Module]) -> Tensor:
    if isinstance(input_shape, Tensor):
        return input_shape
    if isinstance(input_shape, (str, int)) or not all(isinstance(n, Integral) and n > 0 for n in input_shape):
        raise ValueError(
            f"input_shape must be one sample's shape (C_in, *size) of positive ints, got {input_shape!r}; "
            "for networks that need real inputs pass a batch of them instead."
        )
    if not 2 <= len(input_shape) <= 4:
        raise ValueError(
            f"input_shape must be (C_in, *size) with one to three spatial axes, got {tuple(input_shape)}; "
            "leave the batch axis out."
        )
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, *input_shape, generator=generator)
    dtypes = [tensor.dtype for module in modules for tensor in module.parameters(recurse=False)]
    dtype = next((dtype for dtype in dtypes if dtype.is_floating_point), None)
    return values.to(device=model_device(modules), dtype=dtype)


def probe(
    forward_func: ForwardFunc,
    layers: Sequence[Layer],
    positions: Sequence[Position],
    sample: Tensor | tuple[Tensor, ...],
    *,
    layout: Layout = "channels_first",
    additional_forward_args: tuple[Any, ...] = (),
    input_index: int = 0,
) -> list[list[TheoreticalReceptiveField]]:
    """The fields of several units of several layers in shared passes, layer by layer and position by position.

    ``sample`` holds real inputs, of which the first sample is used; of several inputs that at ``input_index`` is
    probed.
    """
    inputs = sample if isinstance(sample, tuple) else (sample,)
    prober = Prober(forward_func, layers, layout, inputs, additional_forward_args, input_index)
    with prober.running():
        units = [[resolve_position(position, grid) for position in positions] for grid in prober.grids]
        boxes = find_boxes(prober, units)
    return [
        [_field(box, prober.size, grid, unit) for box, unit in zip(boxes[index], units[index], strict=True)]
        for index, grid in enumerate(prober.grids)
    ]


def _field(box: Box, size: tuple[int, ...], grid: tuple[int, ...], unit: tuple[int, ...]) -> TheoreticalReceptiveField:
    clipped = any(axis.is_clipped for axis in box)
    cells = [(u + 0.5) * length / units - 0.5 for u, length, units in zip(unit, size, grid, strict=True)]
    inside = [
        (min(axis.upper, length) - max(axis.lower, 0)) / (axis.upper - axis.lower)
        for axis, length in zip(box, size, strict=True)
    ]
    return TheoreticalReceptiveField(
        lower=tuple(axis.lower for axis in box),
        upper=tuple(axis.upper for axis in box),
        size=tuple(axis.upper - axis.lower for axis in box),
        stride=tuple(axis.stride for axis in box),
        center=tuple(
            cell if axis.is_global or axis.is_clipped else _middle(axis.lower, axis.upper)
            for axis, cell in zip(box, cells, strict=True)
        ),
        is_clipped=clipped,
        outside=None if clipped else 1 - math.prod(max(share, 0.0) for share in inside),
        input_size=size,
        grid=grid,
        position=unit,
        global_axes=tuple(axis.is_global for axis in box),
    )
