"""Slow, plain computations with which the tests compare: three lines of autograd, and a NaN at every position."""

import math

import torch


def gradient(model, layer, inputs, scalar, *arguments):
    """Gradient of ``scalar(layer's output)``, summed over samples, with respect to the input, or to each of several."""
    leaves, kept = [item.clone().requires_grad_() for item in (inputs if isinstance(inputs, tuple) else (inputs,))], []
    with layer.register_forward_hook(lambda _module, _args, output: kept.append(output.clone())):
        model(*leaves, *arguments)
    found = torch.autograd.grad(scalar(kept[0]).sum(), leaves)
    return found if isinstance(inputs, tuple) else found[0]


def at(*unit):
    """The sum over channels of the unit at a position."""
    return lambda output: output[(slice(None), slice(None), *unit)].sum(1)


def mean_map(model, layer, inputs, unit):
    """The definition: the mean over samples of the sum over input channels of |dy/dx|, float64."""
    return gradient(model, layer, inputs, at(*unit)).abs().sum(1).double().mean(0).numpy()


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
