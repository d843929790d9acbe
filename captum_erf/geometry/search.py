"""The search for units' theoretical receptive fields: axis by axis, then proved on the whole input."""

from __future__ import annotations

from collections.abc import Sequence

from ..network.batch import Batch
from ..network.readings import Settled
from ..network.units import Positions, resolve_positions
from .bounds import AxisSearch, Unit
from .field import Box, TheoreticalReceptiveField
from .probing import Prober
from .proof import prove


def probe(
    settled: Settled, batch: Batch, positions: Positions, *, all_patterns: bool = False
) -> list[list[TheoreticalReceptiveField]]:
    """
    The fields of several units of several layers in shared passes, layer by layer and position by position.

    The batch holds real inputs, of which the first sample is used. With ``all_patterns`` every field carries its
    layer's halo, which takes more passes.

    Raises:
        ValueError: The first sample holds NaN, a layer makes NaN of it, or the input has no influence on a unit.
        IndexError: A position is outside a grid.

    Examples::

        >>> import torch
        >>> from torch import nn
        >>> from captum_erf.network.network import Network
        >>> from captum_erf.network.readings import settle
        >>> network = Network.of(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv1d(2, 2, 5)), ["0", "1"])
        >>> batch = Batch((torch.randn(1, 1, 32),))
        >>> [[field.size for field in row] for row in probe(settle(network, batch), batch, ["center", "corner"])]
        [[(3,), (3,)], [(7,), (7,)]]
    """
    found = find_fields(settled, batch, positions, all_patterns=all_patterns)
    for layer, row, grid in zip(settled.network.layers, found, settled.grids, strict=True):
        for unit, field in zip(resolve_positions(positions, grid), row, strict=True):
            if field is None:
                raise ValueError(
                    f"The input has no influence on unit {unit} of layer {layer.name!r}: it sees only padding or "
                    "constants, or what reaches it swallows NaN, as sign() and quantised layers do. Choose another "
                    "position or layer."
                )
    return [[field for field in row if field is not None] for row in found]


def find_fields(
    settled: Settled, batch: Batch, positions: Positions, *, all_patterns: bool = False
) -> list[list[TheoreticalReceptiveField | None]]:
    """The fields that NaN finds, None for units that none of it reaches."""
    prober = Prober(settled, batch)
    units = [resolve_positions(positions, grid) for grid in prober.grids]
    with prober.running():
        boxes = _find_boxes(prober, units, all_patterns)
    return [
        [
            TheoreticalReceptiveField.from_box(box, prober.size, grid, unit) if is_reached(box, prober.size) else None
            for box, unit in zip(layer_boxes, layer_units, strict=True)
        ]
        for layer_boxes, layer_units, grid in zip(boxes, units, prober.grids, strict=True)
    ]


def _find_boxes(prober: Prober, units: Sequence[Sequence[Unit]], all_patterns: bool) -> list[list[Box]]:
    """The boxes of units, layer by layer; the last axis comes first, along which memory is read fastest."""
    searches: list[AxisSearch] = []
    for axis in reversed(range(len(prober.size))):
        searches.insert(0, AxisSearch(prober, axis, units, searches))
        searches[0].run(all_patterns=all_patterns)
    boxes = [
        [tuple(search.box(layer, unit[search.axis]) for search in searches) for unit in layer_units]
        for layer, layer_units in enumerate(units)
    ]
    prove(prober, units, boxes)
    return boxes


def is_reached(box: Box, size: Sequence[int]) -> bool:
    """Whether a box holds any of the input."""
    return all(axis.upper > 0 and axis.lower < length for axis, length in zip(box, size, strict=True))
