"""Estimated fields: where NaN cannot tell what a unit sees, the extent of its gradients does, as far as it was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..network.batch import Batch
from ..network.guards import aside
from ..network.network import Network
from ..network.readings import Settled
from ..network.units import Position
from .extents import Extents, Unit, gradient_extents
from .field import TheoreticalReceptiveField
from .region import Region
from .search import SWALLOWED, Rows, find_fields, units_at, warn_of_estimates


def fields_seen(settled: Settled, batch: Batch, positions: Sequence[Position], *, all_patterns: bool = False) -> Rows:
    """
    The fields that NaN finds, and estimated ones where it does not; None for units that also have no gradient.

    What swallows NaN on the way to one layer does so on the way to deeper ones: the gradient of the layer that sees
    most is looked at as well, and where it reaches outside the field, those of all layers are.
    """
    units = units_at(settled, positions)
    rows, reason = find_fields(settled, batch, units, all_patterns=all_patterns)
    network, places = settled.network, range(len(rows))
    unknown = [place for place in places if None in rows[place]]
    if not unknown:
        widest = max(places, key=lambda place: max(math.prod(field.size) for field in rows[place] if field))
        if not _holds(rows[widest], _extents(network.only([widest]), batch, [units[widest]])[0]):
            unknown, reason = list(places), SWALLOWED
    extents = _extents(network.only(unknown), batch, [units[place] for place in unknown]) if unknown else []
    unprobed = TheoreticalReceptiveField.unprobed
    estimated: list[str] = []
    for place, seen in zip(unknown, extents, strict=True):
        if not _holds(rows[place], seen):
            rows[place] = [
                None if extent is None else unprobed(batch.size, settled.grids[place], unit).narrowed(extent)
                for unit, extent in zip(units[place], seen, strict=True)
            ]
            estimated += [network.layers[place].name] if any(rows[place]) else []
    warn_of_estimates(estimated, reason)
    return rows


def _holds(row: Sequence[TheoreticalReceptiveField | None], extents: Sequence[Region | None]) -> bool:
    """Whether all fields are known and hold the gradients."""
    return all(
        field is not None and (extent is None or field.holds(extent))
        for field, extent in zip(row, extents, strict=True)
    )


def _extents(network: Network, batch: Batch, units: Sequence[Sequence[Unit]]) -> Extents:
    with aside(network, batch):
        return gradient_extents(network, batch, units)
