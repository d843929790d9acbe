"""Sight: whether a unit sees in a window of the input what it sees in the whole."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from ..geometry.field import TheoreticalReceptiveField
from ..geometry.nan_mode import safe_nan
from ..geometry.windows import Window, field_ends, field_inside
from ..network.batch import Batch
from ..network.network import Network
from ..network.passes import read
from .sample_maps import SampleMaps


def sees_its_field(
    network: Network, theoretical: TheoreticalReceptiveField, window: Window, sample: Batch, found: SampleMaps
) -> bool:
    """Whether the unit sees none of the window around its field, and something at each of the field's ends.

    What a map does not show, NaN does: it reaches the unit from wherever the unit sees.
    """
    crop = sample.measured[window.region.index]
    around = torch.full_like(crop, math.nan)
    inside = field_inside(theoretical, window).index
    around[inside] = crop[inside]
    at_ends = []
    for end in field_ends(theoretical, window):
        if not found.values[end.index].any():
            at_ends.append(crop.clone())
            at_ends[-1][end.index] = math.nan
    with torch.no_grad(), safe_nan():
        (output,) = read(network, replace(sample, inputs=(torch.cat([around, *at_ends]),)))
    index: tuple[Any, ...] = (..., *window.unit)
    reached: list[bool] = output[index].isnan().any(1).tolist()
    return reached == [False, *[True] * len(at_ends)]
