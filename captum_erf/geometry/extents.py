"""Extents: the regions of the input in which units have a gradient, of which they see no less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from ..network.batch import Batch
from ..network.gradient import NoGradientPath, unit_gradients
from ..network.guards import gradients_enabled
from ..network.network import Network
from ..network.units import Units, mixed_channels
from .region import Region

Unit = tuple[int, ...]
Extents = list[list[Region | None]]


def gradient_extents(network: Network, batch: Batch, units: Sequence[Sequence[Unit]]) -> Extents:
    """Layer by layer the regions of the input in which units have a gradient for a batch; None where they have none.

    Examples::

        >>> from torch import nn
        >>> network = Network.of(nn.Conv1d(1, 2, 3, padding=1), [""])
        >>> gradient_extents(network, Batch((torch.ones(1, 1, 8),)), [[(0,), (4,)]])
        [[Region(offset=(0,), shape=(2,)), Region(offset=(3,), shape=(3,))]]
    """
    rows = []
    for place, row in enumerate(units):
        found = list(extents_one_by_one(network.only([place]), batch, row))
        rows.append(found + [None] * (len(row) - len(found)))
    return rows


def extents_one_by_one(network: Network, batch: Batch, units: Sequence[Unit]) -> Iterator[Region | None]:
    """Those of one layer, as long as they are asked for, in one forward pass; none where no gradient leads back."""
    readers = [Units((unit,), mixed_channels) for unit in units]
    with gradients_enabled(), suppress(NoGradientPath):
        for _, _, gradients in unit_gradients(network, [readers], batch):
            yield _extent(gradients[batch.index or 0])


def _extent(gradient: Tensor | None) -> Region | None:
    """The smallest region with all of a gradient but rounding errors."""
    if gradient is None:
        return None
    sizes = gradient.detach().abs().flatten(0, 1).amax(0)
    return Region.around((sizes > torch.finfo(sizes.dtype).eps * sizes.max()).cpu().numpy())
