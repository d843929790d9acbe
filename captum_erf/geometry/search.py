"""The search for units' theoretical receptive fields: axis by axis, then proved on the whole input."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ..network.batch import Batch
from ..network.readings import Settled
from ..network.units import Positions, resolve_positions
from .bounds import AxisSearch
from .extents import Unit
from .field import Box, TheoreticalReceptiveField
from .line import LineSearch
from .probing import CannotProbe, Prober, Refused
from .proof import prove

Rows = list[list[TheoreticalReceptiveField | None]]
SWALLOWED = (
    "nothing of it reaches the unit, as where torch.where, nan_to_num or sign() swallow it, or where the unit sees "
    "only padding"
)


def probe(settled: Settled, batch: Batch, positions: Positions) -> list[list[TheoreticalReceptiveField]]:
    """
    The fields of several units of several layers in shared passes, layer by layer and position by position.

    The batch holds real inputs, of which the first sample is used. Where NaN cannot probe the network, a warning says
    why, and the fields are estimated ones that still hold the whole input.

    Raises:
        ValueError: The first sample holds NaN, or a layer makes NaN of it.
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
    units = units_at(settled, positions)
    rows, reason = find_fields(settled, batch, units)
    warn_of_estimates(
        [layer.name for layer, row in zip(settled.network.layers, rows, strict=True) if None in row], reason
    )
    return [
        [
            field or TheoreticalReceptiveField.unprobed(batch.size, grid, unit)
            for field, unit in zip(row, its, strict=True)
        ]
        for row, its, grid in zip(rows, units, settled.grids, strict=True)
    ]


def units_at(settled: Settled, positions: Positions) -> list[list[Unit]]:
    """The units at the positions, layer by layer."""
    return [resolve_positions(positions, grid) for grid in settled.grids]


def find_fields(
    settled: Settled, batch: Batch, units: Sequence[Sequence[Unit]], *, all_patterns: bool = False
) -> tuple[Rows, str]:
    """The fields that NaN finds, None for units of which it tells nothing, and the reason for that."""
    prober = Prober(settled, batch)
    try:
        with prober.running():
            boxes = _find_boxes(prober, units, all_patterns)
    except (CannotProbe, Refused) as error:
        return [[None] * len(row) for row in units], str(error)
    return [
        [
            TheoreticalReceptiveField.from_box(box, prober.size, grid, unit) if _is_reached(box, prober.size) else None
            for box, unit in zip(layer_boxes, layer_units, strict=True)
        ]
        for layer_boxes, layer_units, grid in zip(boxes, units, prober.grids, strict=True)
    ], SWALLOWED


def warn_of_estimates(layers: Sequence[str], reason: str) -> None:
    """Says of which layers the theoretical fields are estimated, and why."""
    if layers:
        names = ", ".join(map(repr, layers))
        warnings.warn(
            f"NaN cannot tell what layer {names} sees: {reason}. The theoretical field is estimated from the gradients "
            "that are seen, and the whole input is used. The map is right all the same.",
            stacklevel=4,
        )


def _find_boxes(prober: Prober, units: Sequence[Sequence[Unit]], all_patterns: bool) -> list[list[Box]]:
    """The boxes of units, layer by layer; the last axis comes first, along which memory is read fastest."""
    searches: list[AxisSearch] = []
    kind = LineSearch if len(prober.size) == 1 else AxisSearch
    for axis in reversed(range(len(prober.size))):
        searches.insert(0, kind(prober, axis, units, searches))
        searches[0].run(all_patterns=all_patterns)
    boxes = [
        [tuple(search.box(layer, unit[search.axis]) for search in searches) for unit in layer_units]
        for layer, layer_units in enumerate(units)
    ]
    if prober.folds or not (len(searches) == 1 and searches[0].is_proved):
        prove(prober, units, boxes, ends=len(searches) > 1 and any(search.is_on_whole_input for search in searches))
    return boxes


def _is_reached(box: Box, size: Sequence[int]) -> bool:
    """Whether a box holds any of the input."""
    return all(axis.upper > 0 and axis.lower < length for axis, length in zip(box, size, strict=True))
