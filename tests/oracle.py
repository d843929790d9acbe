"""Slow, plain computations with which the tests compare."""

import math

import torch


def hull(model, size, axis, unit, channels=2):
    """The interval of positions along an axis where a NaN, in double precision, reaches a unit."""
    batch = torch.zeros(size[axis], channels, *size, dtype=torch.float64)
    for position, image in enumerate(batch):
        image.select(axis + 1, position).fill_(math.nan)
    with torch.no_grad():
        output = model.double()(batch)
    model.float()
    seen = output[(slice(None), slice(None), *unit)].isnan().any(1).nonzero()
    return (int(seen[0]), int(seen[-1]) + 1) if len(seen) else None
