"""Theoretical receptive fields, of one unit or of a unit in each of many layers.

For a chain of convolutions the result equals the closed form of Araujo, Norris and Sim, "Computing Receptive Fields of
Convolutional Neural Networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor
from torch.nn import Module

from ..network.batch import Batch
from ..network.layers import ForwardFunc
from ..network.layouts import Layout
from ..network.listing import layers_with_grid
from ..network.network import Network
from ..network.readings import settle
from ..network.units import Position
from .field import TheoreticalReceptiveField
from .search import find_fields, probe
from .table import FieldTable


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
    NaN in one part (see :mod:`captum_erf.geometry`). What the unit can see by the network's wiring counts, also where
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
    network = Network.of(forward_func, [layer], call=call, layout=layout)
    batch = _batch(network, input_shape)
    return probe(settle(network, batch), batch, [position])[0][0]


def theoretical_receptive_fields(
    forward_func: ForwardFunc,
    layers: Sequence[Module | str] | None = None,
    input_shape: Sequence[int] | Tensor | None = None,
    position: Position = "center",
    *,
    layout: Layout = "channels_first",
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
    if layers is not None:
        network = Network.of(forward_func, layers, layout=layout)
        batch = _batch(network, input_shape)
        rows = probe(settle(network, batch), batch, [position], all_patterns=True)
        return FieldTable((layer.name for layer in network.layers), (field for (field,) in rows))
    if not isinstance(forward_func, Module):
        raise TypeError(
            f"Only a Module's layers can be listed, not those of a {type(forward_func).__name__}: name them."
        )
    batch = _batch(Network.of(forward_func, [""]), input_shape)
    network = Network.of(forward_func, layers_with_grid(forward_func, batch, layout), layout=layout)
    found = find_fields(settle(network, batch), batch, [position], all_patterns=True)
    reached = [(layer.name, field) for layer, (field,) in zip(network.layers, found, strict=True) if field is not None]
    return FieldTable(*zip(*reached, strict=True)) if reached else FieldTable((), ())


def _batch(network: Network, input_shape: Sequence[int] | Tensor) -> Batch:
    """The inputs, or one sample of noise in the precision of the network, where only its shape is given."""
    if isinstance(input_shape, Tensor):
        return Batch((input_shape,)).checked()
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
    noise = torch.randn(1, *input_shape, generator=torch.Generator().manual_seed(0))
    dtypes = [tensor.dtype for module in network.modules for tensor in module.parameters(recurse=False)]
    dtype = next((dtype for dtype in dtypes if dtype.is_floating_point), None)
    return Batch((noise.to(device=network.device, dtype=dtype),))
