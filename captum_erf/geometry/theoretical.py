"""Theoretical receptive fields, of one unit or of a unit in each of many layers.

For a chain of convolutions the result equals the closed form of Araujo, Norris and Sim, "Computing Receptive Fields of
Convolutional Neural Networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ..network.batch import Batch
from ..network.layers import ForwardFunc
from ..network.layouts import Layout
from ..network.listing import layers_with_grid
from ..network.network import Network
from ..network.readings import runs, settle
from ..network.rearrangements import InputLayout
from ..network.units import Position
from .estimate import fields_seen
from .field import TheoreticalReceptiveField
from .table import FieldTable


def theoretical_receptive_field(
    forward_func: ForwardFunc,
    layer: Module | str,
    input_shape: Sequence[int] | Tensor,
    position: Position = "center",
    *,
    layout: Layout = "channels_first",
    input_layout: Layout = "channels_first",
    call: int | None = None,
) -> TheoreticalReceptiveField:
    r"""
    Finds the box of input positions that can influence a unit, its stride and the point onto which it projects.

    No layer type is known or needed: the network is run, in eval mode and without gradients, on inputs that hold
    NaN in one part (see :mod:`captum_erf.geometry`). What the unit can see by the network's wiring counts, also where
    a weight or an attention mask happens to be zero.

    Args:
        forward_func (Module or Callable): The network.
        layer (Module or str): The unit's layer, or its dotted name in ``forward_func``.
        input_shape (Sequence[int] or Tensor): Shape of one sample, ``(C_in, *size)`` with one to three spatial
            axes, or a batch of real inputs ``(N, C_in, *size)`` for networks that need them. A batch axis of 1 in
            front of a shape is left out where the network does not take it.
        position (str or tuple, optional): The unit: ``"center"``, ``"corner"``, ``"edge"`` or a tuple with an int or
            a share in [0, 1] per axis.
        layout (str or Callable, optional): How the layer's output is read as ``(N, C, *grid)``.
        input_layout (str or Callable, optional): How the input is read as ``(N, C_in, *size)``, in the same words; the
            shape is then given as the network takes it.
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
    if isinstance(layer, (list, tuple)):
        raise TypeError(
            f"theoretical_receptive_field is for one layer, got a {type(layer).__name__} of {len(layer)}; use "
            "theoretical_receptive_fields, which takes many and prints as a table."
        )
    network = Network.of(forward_func, [layer], call=call, layout=layout, input_layout=InputLayout(input_layout))
    batch = _batch(network, input_shape)
    return _reached(network, position, _fields(network, batch, position, all_patterns=False))[0]


def theoretical_receptive_fields(
    forward_func: ForwardFunc,
    layers: Sequence[Module | str] | None = None,
    input_shape: Sequence[int] | Tensor | None = None,
    position: Position = "center",
    *,
    layout: Layout = "channels_first",
    input_layout: Layout = "channels_first",
) -> FieldTable:
    r"""
    Finds the boxes of one unit of each of many layers, in shared passes, with the halo that tiles need.

    Args:
        forward_func (Module or Callable): The network.
        layers (list of Module or str, optional): The layers, or their dotted names in ``forward_func``. None takes
            every layer that is called once, hands over a grid and sees the input.
        input_shape (Sequence[int] or Tensor): Shape of one sample, or a batch of real inputs, as in
            :func:`theoretical_receptive_field`.
        position (str or tuple, optional): The unit of every layer.
        layout (str or Callable, optional): How the layers' outputs are read as ``(N, C, *grid)``.
        input_layout (str or Callable, optional): How the input is read as ``(N, C_in, *size)``.

    Returns:
        *FieldTable*, a sequence of :class:`TheoreticalReceptiveField`, one for each layer, that prints as a table. Each
        carries its layer's ``halo``: how many pixels before and after its own cell any of its units sees.

    Raises:
        TypeError, ValueError, IndexError, RuntimeError: As in :func:`theoretical_receptive_field`.

    Examples::

        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 1, 5, padding=2), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten())
        >>> theoretical_receptive_fields(net, input_shape=(3, 32, 32))
        layer     grid  stride   size        center       halo
        0      32 x 32   1 x 1  5 x 5      (16, 16)  2 2 x 2 2
        1      32 x 32   1 x 1  5 x 5      (16, 16)  2 2 x 2 2
        2        8 x 8   4 x 4  8 x 8  (17.5, 17.5)  2 2 x 2 2
    """
    if input_shape is None:
        raise TypeError("input_shape is missing: pass one sample's shape, such as (3, 224, 224), or real inputs.")
    reading: dict[str, Any] = {"layout": layout, "input_layout": InputLayout(input_layout)}
    if layers is not None:
        network = Network.of(forward_func, layers, **reading)
        fields = _fields(network, _batch(network, input_shape), position, all_patterns=True)
        return FieldTable((layer.name for layer in network.layers), _reached(network, position, fields))
    if not isinstance(forward_func, Module):
        kind = type(forward_func).__name__
        raise TypeError(f"Only the layers of a Module can be listed, not those of a {kind}: name them.")
    batch = _batch(Network.of(forward_func, [""], **reading), input_shape)
    network = Network.of(forward_func, layers_with_grid(forward_func, batch, layout), **reading)
    fields = _fields(network, batch, position, all_patterns=True)
    found = [(layer.name, field) for layer, field in zip(network.layers, fields, strict=True) if field is not None]
    return FieldTable((name for name, _ in found), (field for _, field in found))


def _fields(
    network: Network, batch: Batch, position: Position, *, all_patterns: bool
) -> list[TheoreticalReceptiveField | None]:
    settled = settle(network, batch)
    return [field for (field,) in fields_seen(settled, batch, [position], all_patterns=all_patterns)]


def _reached(
    network: Network, position: Position, fields: Sequence[TheoreticalReceptiveField | None]
) -> list[TheoreticalReceptiveField]:
    """The fields; refuses a unit that sees nothing."""
    for layer, field in zip(network.layers, fields, strict=True):
        if field is None:
            raise ValueError(
                f"The input has no influence on unit {position!r} of layer {layer.name!r}: neither NaN nor a gradient "
                "leads from one to the other. It sees only padding or constants, it is dead, or what reaches it is "
                "rounded, as in quantised layers. Choose another position or layer, or pass real inputs instead of a "
                "shape."
            )
    return [field for field in fields if field is not None]


def _batch(network: Network, input_shape: Sequence[int] | Tensor) -> Batch:
    """The inputs, or one sample of noise in the precision of the network, where only its shape is given.

    A shape that starts with 1 may be that of a batch of one sample: where the network does not take the one, the other.
    """
    if isinstance(input_shape, Tensor):
        return Batch((input_shape,)).read_by(network.input_layout).checked()
    if isinstance(input_shape, (str, int)) or not all(isinstance(n, Integral) and n > 0 for n in input_shape):
        raise ValueError(
            f"input_shape must be one sample's shape (C_in, *size) of positive ints, got {input_shape!r}; "
            "for networks that need real inputs pass a batch of them instead."
        )
    shape = tuple(input_shape)
    shapes = [shape, shape[1:]] if shape[0] == 1 else [shape]
    shapes = [item for item in shapes if 2 <= len(item) <= 4]
    if not shapes:
        raise ValueError(
            f"input_shape must be (C_in, *size) with one to three spatial axes, got {shape}; leave the batch axis out."
        )
    first, *others = (_noise(network, item) for item in shapes)
    return next((batch for batch in others if not runs(network, first) and runs(network, batch)), first)


def _noise(network: Network, shape: tuple[int, ...]) -> Batch:
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    dtypes = [tensor.dtype for module in network.modules for tensor in module.parameters(recurse=False)]
    dtype = next((dtype for dtype in dtypes if dtype.is_floating_point), None)
    return Batch((noise.to(device=network.device, dtype=dtype),)).read_by(network.input_layout)
