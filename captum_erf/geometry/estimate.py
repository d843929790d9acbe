"""Estimated fields: where NaN cannot tell what a unit sees, the extent of its gradients does, as far as it was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from ..network.batch import Batch
from ..network.gradient import NoGradientPath, unit_gradients
from ..network.guards import aside, gradients_enabled
from ..network.network import Network
from ..network.readings import Settled
from ..network.units import Position, Units, mixed_channels
from .bounds import Unit
from .field import TheoreticalReceptiveField
from .region import Region
from .search import SWALLOWED, Rows, find_fields, units_at, warn_of_estimates

Extents = list[list[Region | None]]


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
        if not _holds(rows[widest], gradient_extents(network.only([widest]), batch, [units[widest]])[0]):
            unknown, reason = list(places), SWALLOWED
    extents = gradient_extents(network.only(unknown), batch, [units[place] for place in unknown]) if unknown else []
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


def gradient_extents(network: Network, batch: Batch, units: Sequence[Sequence[Unit]]) -> Extents:
    """Layer by layer the regions of the input in which units have a gradient for a batch; None where they have none.

    Examples::

        >>> from torch import nn
        >>> network = Network.of(nn.Conv1d(1, 2, 3, padding=1), [""])
        >>> gradient_extents(network, Batch((torch.ones(1, 1, 8),)), [[(0,), (4,)]])
        [[Region(offset=(0,), shape=(2,)), Region(offset=(3,), shape=(3,))]]
    """
    extents: Extents = [[None] * len(row) for row in units]
    with aside(network, batch), gradients_enabled():
        for place, row in enumerate(units):
            readers = [Units((unit,), mixed_channels) for unit in row]
            with suppress(NoGradientPath):
                for _, number, gradients in unit_gradients(network.only([place]), [readers], batch):
                    extents[place][number] = _extent(gradients[batch.index or 0])
    return extents


def _extent(gradient: Tensor | None) -> Region | None:
    """The smallest region with all of a gradient but rounding errors."""
    if gradient is None:
        return None
    sizes = gradient.detach().abs().flatten(0, 1).amax(0)
    return Region.around((sizes > torch.finfo(sizes.dtype).eps * sizes.max()).cpu().numpy())
