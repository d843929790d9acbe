"""The search for units' theoretical receptive fields: axis by axis, then proved on the whole input.

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
from ..network.network import Network
from ..network.readings import Settled, settle
from ..network.units import Position, resolve_position
from .bounds import AxisSearch, Unit
from .field import Box, TheoreticalReceptiveField
from .probing import Prober
from .proof import prove


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
    try:
        settled = settle(network, batch)
    except Exception as error:
        error.add_note(
            f"Raised by the network for one sample of shape {tuple(batch.measured.shape[1:])}, on which captum_erf "
            "looks for the theoretical receptive field; pass the shape or the inputs that the network takes."
        )
        raise
    return probe(settled, batch, [position])[0][0]


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


def probe(settled: Settled, batch: Batch, positions: Sequence[Position]) -> list[list[TheoreticalReceptiveField]]:
    """
    The fields of several units of several layers in shared passes, layer by layer and position by position.

    The batch holds real inputs, of which the first sample is used.

    Raises:
        ValueError: The first sample holds NaN, a layer makes NaN of it, or the input has no influence on a unit.
        IndexError: A position is outside a grid.

    Examples::

        >>> from torch import nn
        >>> network = Network.of(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv1d(2, 2, 5)), ["0", "1"])
        >>> batch = Batch((torch.randn(1, 1, 32),))
        >>> [[field.size for field in row] for row in probe(settle(network, batch), batch, ["center", "corner"])]
        [[(3,), (3,)], [(7,), (7,)]]
    """
    prober = Prober(settled, batch)
    units = [[resolve_position(position, grid) for position in positions] for grid in prober.grids]
    with prober.running():
        boxes = _find_boxes(prober, units)
    return [
        [
            TheoreticalReceptiveField.from_box(box, prober.size, grid, unit)
            for box, unit in zip(layer_boxes, layer_units, strict=True)
        ]
        for layer_boxes, layer_units, grid in zip(boxes, units, prober.grids, strict=True)
    ]


def _find_boxes(prober: Prober, units: Sequence[Sequence[Unit]]) -> list[list[Box]]:
    """The boxes of units, layer by layer; the last axis comes first, along which memory is read fastest."""
    searches: list[AxisSearch] = []
    for axis in reversed(range(len(prober.size))):
        searches.insert(0, AxisSearch(prober, axis, units, searches))
        searches[0].run()
    boxes = [
        [tuple(search.box(layer, unit[search.axis]) for search in searches) for unit in layer_units]
        for layer, layer_units in enumerate(units)
    ]
    prove(prober, units, boxes)
    for layer, layer_units, layer_boxes in zip(prober.network.layers, units, boxes, strict=True):
        for unit, box in zip(layer_units, layer_boxes, strict=True):
            if any(axis.upper <= 0 or axis.lower >= length for axis, length in zip(box, prober.size, strict=True)):
                raise ValueError(
                    f"The input has no influence on unit {unit} of layer {layer.name!r}: it sees only padding or "
                    "constants, or what reaches it swallows NaN, as sign() and quantised layers do. Choose another "
                    "position or layer."
                )
    return boxes
